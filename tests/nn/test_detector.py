"""Targets, losses and answers of a detector."""

import numpy as np
import torch

from graft.core.boxes import CLASS, SCORE, iou
from graft.nn.box_losses import box_loss, focal_heat, generalised_iou
from graft.nn.detector import BoxHead, boxes_of, peaks, targets
from graft.nn.linear_detector import LinearDetector

OBJECTS = np.array([[0.1, 0.1, 0.5, 0.6, 0], [0.55, 0.4, 0.95, 0.9, 1]])


def test_answers_that_are_the_targets_give_the_objects_back():
    wanted = targets(OBJECTS, (12, 16), 2)
    heat, box = (torch.from_numpy(wanted[key])[None] for key in ("heat", "box"))
    found = peaks(heat, box)[0]
    found = found[found[:, SCORE] == 1]
    assert sorted(found[:, CLASS].tolist()) == [0, 1]
    assert (iou(found[:, :4], OBJECTS[:, :4]).max(axis=1) > 0.999).all()


def test_the_smaller_object_owns_the_cells_where_two_meet():
    both = np.array([[0.0, 0, 1, 1, 0], [0.4, 0.4, 0.6, 0.6, 0]])
    wanted = targets(both, (10, 10), 1)
    assert np.allclose(wanted["box"][:, 5, 5], [4, 4, 6, 6])
    assert np.isclose(wanted["heat"].max(), 1)
    empty = targets(np.zeros((0, 5)), (4, 4), 1)
    assert not any(empty[key].any() for key in empty)


def test_losses_are_least_at_the_truth_and_zero_for_background():
    wanted = {key: torch.from_numpy(value)[None] for key, value in targets(OBJECTS, (12, 16), 2).items()}
    assert float(box_loss(wanted["box"], wanted["box"], wanted["share"])) < 1e-5
    assert float(box_loss(wanted["box"] + 1, wanted["box"], wanted["share"])) > 0.1
    background = torch.zeros(1, 4, 3, 3)
    assert float(box_loss(background, background, torch.zeros(1, 3, 3))) == 0
    logits = torch.zeros(2, 1, 3, 3, requires_grad=True)
    loss = focal_heat(logits, torch.zeros(2, 1, 3, 3))
    loss.sum().backward()
    assert loss.shape == (2,)
    assert (logits.grad > 0).all()
    one = torch.tensor([[0.0, 0, 2, 2]])
    assert float(generalised_iou(one, one)) > 0.9999


def test_a_head_reads_maps_of_any_size_and_starts_without_objects():
    head = BoxHead([4, 8, 16], classes=3, width=8).eval()
    maps = [torch.randn(2, 4, 15, 20), torch.randn(2, 8, 8, 10), torch.randn(2, 16, 4, 5)]
    with torch.no_grad():
        heat, edges = head(maps)
    assert (heat.shape, edges.shape) == ((2, 3, 15, 20), (2, 4, 15, 20))
    assert float(heat.sigmoid().max()) < 0.2
    assert float(edges.min()) > 0
    with torch.no_grad():
        alone = head([one[:1] for one in maps])[0]
    assert torch.allclose(alone, heat[:1], atol=1e-5)


def test_a_linear_map_finds_what_the_features_say():
    rng = np.random.default_rng(0)
    wanted, features = [], []
    for _ in range(6):
        corner = rng.uniform(0.05, 0.5, 2)
        one = targets(np.array([[*corner, *(corner + 0.35), 0]]), (16, 16), 1)
        wanted.append(one)
        boxes, cells = one["box"], boxes_of(torch.zeros(1, 4, 16, 16))[0, :2].numpy()
        logs = np.log(np.concatenate([cells - boxes[:2], boxes[2:] - cells]).clip(0.05))
        features.append(np.concatenate([one["heat"], logs, rng.normal(size=(3, 16, 16))]))
    fitted = LinearDetector.fit(lambda: iter(features), wanted, seed=0)
    again = LinearDetector.from_arrays(fitted.arrays())
    for one, each in zip(wanted, features, strict=True):
        found = again.find(each)
        assert found[0, SCORE] > 0.7
        at = np.unravel_index(one["heat"].argmax(), one["heat"].shape)
        assert iou(found[:1, :4] * 16, one["box"][:, at[1], at[2]][None])[0, 0] > 0.6
