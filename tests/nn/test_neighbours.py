import numpy as np
import pytest

from graft.core.errors import DataError, UsageError
from graft.core.task import Task
from graft.core.types import Features, ModelSpec
from graft.nn import neighbours
from graft.nn.calibration import fit_temperature, nll
from graft.nn.neighbours import COUNTS, NeighbourHead, fit_neighbours

CLASSES = Task("classification", "text", ("a", "b", "c"))
WEIGHTED = Task("classification", "text", ("a", "b", "c"), "macro_f1")
NUMBERS = Task("regression", "text", (), "r2")


def features_of(values, sizes=None):
    values = np.asarray(values, np.float32)
    return Features(values, sizes or (values.shape[1],), np.arange(len(values)), ModelSpec("x:y", "y", "text"), "")


def made(n=70, d=6, seed=0, spread=2.5):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    return features_of(rng.normal(size=(n, d)) + spread * np.eye(3, d)[y] + 4), y


def answer(head, row, others, answers, count, *, classes):
    """One row by an explicit loop in float64."""
    close = sorted(((float(row @ head.rows[j].astype(float)), j) for j in others), key=lambda pair: (-pair[0], pair[1]))
    beyond = close[count][0]
    total, said = 0.0, np.zeros(answers.shape[1])
    for value, j in close[:count]:
        weight = (value - beyond) / (close[0][0] - beyond)
        total += weight
        said += weight * answers[j]
    if classes:
        return np.log((said + 1 / len(said)) / (said.sum() + 1))
    return said / total


@pytest.mark.parametrize("task", [CLASSES, WEIGHTED, NUMBERS], ids=["classes", "weighted", "numbers"])
def test_leave_one_out_is_an_explicit_loop(task):
    features, y = made()
    y = y if task.is_classification else features.values[:, 0].astype(float)
    if task is WEIGHTED:
        y[:40] = 0
    head = fit_neighbours(features, y, task, layers="last")
    weight = task.sample_weights(y)
    answers = np.eye(3)[y] * (1 if weight is None else weight[:, None]) if task.is_classification else y[:, None]
    assert (weight is not None) == (task is WEIGHTED)
    errors = {}
    for count in [count for count in COUNTS if count < 69]:
        scores = np.stack(
            [
                answer(head, head.rows[i].astype(float), [j for j in range(70) if j != i], answers, count,
                       classes=task.is_classification)
                for i in range(70)
            ]
        )  # fmt: skip
        if task.is_classification:
            errors[count] = nll(scores / fit_temperature(scores, y, prior=1), y)
        else:
            errors[count] = float(np.square(scores[:, 0] - y).mean())
        if count == head.count:
            np.testing.assert_allclose(head.loo, scores, atol=1e-4)
    assert min(errors, key=errors.get) == head.count
    assert head.error == pytest.approx(errors[head.count], rel=1e-3)
    assert head.strength == head.count


def test_new_rows_are_answered_by_all_training_rows():
    features, y = made()
    new, _ = made(n=9, seed=5)
    head = fit_neighbours(features, y, CLASSES, layers="last")
    rows = new.values / head.scale - head.centre
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    wanted = np.stack(
        [answer(head, row, range(70), np.eye(3)[y], head.count, classes=True) for row in rows.astype(float)]
    )
    np.testing.assert_allclose(head.scores(new, CLASSES), wanted, atol=1e-4)
    outputs = head.outputs(new, CLASSES)
    np.testing.assert_allclose(outputs.sum(1), 1)
    alone = head.outputs(new.select(np.array([4])), CLASSES)
    np.testing.assert_allclose(alone[0], outputs[4], atol=1e-6)


def test_rows_are_kept_in_two_bytes_as_directions_from_their_mean():
    features, y = made()
    head = fit_neighbours(features, y, CLASSES)
    assert head.rows.dtype == np.float16
    np.testing.assert_allclose(np.linalg.norm(head.rows.astype(float), axis=1), 1, atol=1e-3)
    moved = features_of(3 * features.values + 100)
    other = fit_neighbours(moved, y, CLASSES)
    np.testing.assert_allclose(other.outputs(moved, CLASSES), head.outputs(features, CLASSES), atol=0.02)


def test_wrong_labels_take_many_neighbours_and_rings_a_few():
    rng = np.random.default_rng(1)
    features, y = made(n=300, spread=6.0)
    noisy = np.where(rng.random(300) < 0.4, rng.integers(0, 3, 300), y)
    head = fit_neighbours(features, noisy, CLASSES)
    assert head.count >= 13
    outputs = head.outputs(features, CLASSES)
    assert np.mean(outputs.argmax(1) == y) > 0.95
    assert 0.6 < outputs.max(1).mean() < 0.85  # of the labels 0.73 are right
    angle = rng.uniform(0, 2 * np.pi, 300)
    sectors = (angle / (2 * np.pi) * 12).astype(int) % 3  # twelve sectors of three classes: no line separates them
    ring = features_of(np.stack([np.cos(angle), np.sin(angle)], 1))
    head = fit_neighbours(ring, sectors, CLASSES)
    assert head.count <= 21
    assert np.mean(head.loo.argmax(1) == sectors) > 0.85


def test_layers_are_chosen_by_leave_one_out():
    rng = np.random.default_rng(0)
    good, y = made(n=100)
    both = features_of(np.hstack([rng.normal(size=(100, 6)), good.values]), (6, 6))
    assert fit_neighbours(both, y, CLASSES).layers == (1,)
    both = features_of(np.hstack([good.values, rng.normal(size=(100, 6))]), (6, 6))
    assert fit_neighbours(both, y, CLASSES).layers == (0, 1)
    assert fit_neighbours(both, y, CLASSES, layers=(0,)).layers == (0,)
    assert fit_neighbours(both, y, CLASSES, layers="concatenated").layers == (0, 1)
    with pytest.raises(UsageError, match="no layers"):
        fit_neighbours(both, y, CLASSES, layers="mix")


def test_block_by_block_gives_the_same(monkeypatch):
    features, y = made()
    whole = fit_neighbours(features, y, CLASSES)
    monkeypatch.setattr(neighbours, "CLOSE", 500)
    parts = fit_neighbours(features, y, CLASSES)
    np.testing.assert_allclose(parts.loo, whole.loo, atol=1e-5)
    np.testing.assert_allclose(parts.outputs(features, CLASSES), whole.outputs(features, CLASSES), atol=1e-5)


def test_arrays_and_back():
    features, y = made()
    head = fit_neighbours(features, y, CLASSES)
    again = NeighbourHead.from_arrays(head.arrays())
    assert np.array_equal(again.outputs(features, CLASSES), head.outputs(features, CLASSES))


@pytest.mark.parametrize("n", [2, 3, 4])
def test_a_handful_of_rows(n):
    features, _ = made(n=n)
    y = np.arange(n) % 2
    head = fit_neighbours(features, y, CLASSES)
    assert np.isfinite(head.outputs(features, CLASSES)).all()
    assert np.isfinite(fit_neighbours(features, y.astype(float), NUMBERS).outputs(features, NUMBERS)).all()


def test_equal_rows_and_a_single_one():
    y = np.array([0, 1, 1, 0, 1, 0])
    head = fit_neighbours(features_of(np.ones((6, 3))), y, CLASSES)
    assert np.isfinite(head.outputs(features_of(np.ones((2, 3))), CLASSES)).all()
    with pytest.raises(DataError, match="two rows or more"):
        fit_neighbours(features_of(np.ones((1, 3))), y[:1], CLASSES)
