"""Average precision of boxes agrees with the COCO tools, under weights too."""

import contextlib
import io

import numpy as np
import pytest

from graft.core.boxes import CLASS, SCORE, to_corner
from graft.core.ragged import ragged
from graft.nn.box_metrics import (
    average_precision,
    curve,
    matches,
    mean_average_precision,
    recall_of_objects,
    thresholds,
)


def random_boxes(pictures=12, classes=3, seed=0, digits=1):
    """Objects, and boxes near some of them, some doubled, some with equal scores, some nowhere."""
    rng = np.random.default_rng(seed)
    y, outputs = [], []
    for place in range(pictures):
        count = 0 if place == 3 else int(rng.integers(1, 9))
        corner = rng.uniform(0, 80, (count, 2))
        true = np.column_stack([corner, corner + rng.uniform(8, 40, (count, 2)), rng.integers(0, classes, count)])
        near = np.repeat(true, 2, axis=0)[rng.random(2 * count) < 0.7]
        near[:, :4] += rng.normal(0, 3, (len(near), 4))
        near[:, 2:4] = np.maximum(near[:, 2:4], near[:, :2] + 1)
        stray = rng.uniform(0, 60, (3, 2))
        stray = np.column_stack([stray, stray + 20, rng.integers(0, classes, 3)])
        found = np.vstack([near, stray])
        y.append(true)
        outputs.append(np.column_stack([found, rng.random(len(found)).round(digits)]))
    return ragged(y), ragged(outputs)


def judged_by_coco(y, outputs):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth, found, number = [], [], 0
    for place, (true, row) in enumerate(zip(y, outputs, strict=True), 1):
        for one, box in zip(true, to_corner(true), strict=True):
            number += 1
            area = float(box[2] * box[3])
            truth.append({"id": number, "image_id": place, "category_id": int(one[CLASS]) + 1, "bbox": box.tolist(), "area": area, "iscrowd": 0})  # fmt: skip
        found += [
            {"image_id": place, "category_id": int(one[CLASS]) + 1, "bbox": box.tolist(), "score": float(one[SCORE])}
            for one, box in zip(row, to_corner(row), strict=True)
        ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "info": {}, "images": [{"id": place} for place in range(1, len(y) + 1)], "annotations": truth,
            "categories": [{"id": 1}, {"id": 2}, {"id": 3}],
        }  # fmt: skip
        coco.createIndex()
        judge = COCOeval(coco, coco.loadRes(found), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge.stats[:3]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_is_the_value_of_the_coco_tools(seed):
    y, outputs = random_boxes(seed=seed)
    ones = np.ones((1, len(y)))
    ours = [mean_average_precision(y, outputs, *overlaps)(ones)[0] for overlaps in ((), ((0.5,),), ((0.75,),))]
    assert np.allclose(ours, judged_by_coco(y, outputs), atol=1e-6)


def test_a_weight_counts_a_picture_several_times():
    y, outputs = random_boxes(pictures=6, digits=9)  # of equal scores the order would hang on the copies
    weight = np.array([2, 0, 1, 3, 1, 0])
    rows = np.repeat(np.arange(6), weight)
    statistic = mean_average_precision(y, outputs)
    both = statistic(np.stack([weight, np.ones(6)]).astype(float))
    assert np.isclose(both[0], mean_average_precision(y[rows], outputs[rows])(np.ones((1, len(rows))))[0])
    assert np.isclose(both[1], statistic(np.ones((1, 6)))[0])


def test_perfect_and_empty_answers():
    y, _ = random_boxes()
    perfect = ragged([np.column_stack([row, np.ones(len(row))]) for row in y])
    none = ragged([np.zeros((0, 6)) for _ in y])
    ones = np.ones((1, len(y)))
    for prepare in (mean_average_precision, recall_of_objects):
        assert np.isclose(prepare(y, perfect)(ones)[0], 1)
        assert prepare(y, none)(ones)[0] == 0
    nothing = ragged([np.zeros((0, 5)) for _ in y])
    assert mean_average_precision(nothing, none)(ones)[0] == 0
    assert np.isnan(average_precision(matches(nothing, perfect)[0], ones)).all()


def test_thresholds_have_the_best_f1_and_curves_fall():
    y, outputs = random_boxes(pictures=30)
    one = matches(y, outputs, (0.5,))[0]
    chosen = thresholds(y, outputs, 4, 0.3)

    def f1(limit):
        given = one.scores >= limit
        return 2 * one.hits[0][given].sum() / (given.sum() + one.objects.sum())

    assert f1(chosen[0]) >= max(map(f1, np.linspace(0, 1, 11))) - 1e-9
    assert chosen[3] == 0.3
    precision = [point[1] for point in curve(one)]
    assert precision == sorted(precision, reverse=True)
