import numpy as np
import pytest

from graft.core.errors import UsageError
from graft.core.task import Task
from graft.core.types import Features, ModelSpec
from graft.nn import layer_rows
from graft.nn.heads import LinearHead, fit_probe, targets, to_outputs
from graft.nn.layer_rows import LayerRows, MixedRows

CLASSES = Task("classification", "text", ("a", "b", "c"))
NUMBERS = Task("regression", "text", (), "r2")


def made(n=120, sizes=(4, 6, 5), good=1, seed=0, scales=(1.0, 1.0, 1.0)):
    """Random layers of which ``good`` tells the classes apart."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    layers = [rng.normal(size=(n, size)) for size in sizes]
    layers[good][:, :3] += 4 * np.eye(3)[y]
    values = np.hstack([layer * scale for layer, scale in zip(layers, scales, strict=True)]).astype(np.float32)
    return Features(values, sizes, np.arange(n), ModelSpec("x:y", "y", "text"), ""), y


def test_softmax_with_a_temperature():
    scores = np.array([[1.0, 2.0, 3.0], [1000.0, 0.0, 0.0]])
    outputs = to_outputs(scores, CLASSES, 2.0)
    wanted = np.exp(scores[0] / 2) / np.exp(scores[0] / 2).sum()
    np.testing.assert_allclose(outputs[0], wanted)
    np.testing.assert_allclose(outputs[1], [1, 0, 0], atol=1e-12)  # no overflow
    np.testing.assert_allclose(to_outputs(scores + 7, CLASSES, 2.0), outputs)  # a shift does not matter
    assert to_outputs(scores, NUMBERS).tolist() == [1.0, 1000.0]


def test_targets():
    assert targets(np.array([2, 0]), CLASSES)[:].tolist() == [[0, 0, 1], [1, 0, 0]]
    assert targets(np.array([0.5, -1.0]), NUMBERS).tolist() == [[0.5], [-1.0]]


def test_layers_are_chosen_by_leave_one_out():
    features, y = made(good=2)
    assert fit_probe(features, y, CLASSES).layers == (2,)
    features, y = made(good=0)
    assert fit_probe(features, y, CLASSES).layers == (0, 1, 2)
    features, y = made(good=1)
    head = fit_probe(features, y, CLASSES)
    assert head.layers == (1, 2)
    options = [fit_probe(features, y, CLASSES, layers=layers).error for layers in ((2,), (1, 2), (0, 1, 2))]
    assert head.error == min(options)


def test_a_layer_of_large_numbers_does_not_silence_the_others():
    plain, y = made()
    scaled, _ = made(scales=(1000.0, 1.0, 0.001))
    one, other = (fit_probe(f, y, CLASSES, layers=(0, 1, 2)) for f in (plain, scaled))
    np.testing.assert_allclose(one.scores(plain), other.scores(scaled), atol=1e-3)


def test_a_constant_layer_does_no_harm():
    features, y = made(scales=(0.0, 1.0, 1.0))
    head = fit_probe(features, y, CLASSES, layers=(0, 1, 2))
    assert np.isfinite(head.scores(features)).all()
    assert np.mean(head.outputs(features, CLASSES).argmax(1) == y) > 0.9


def test_left_out_scores_are_those_of_a_model_without_the_row():
    features, y = made(n=40)
    head = fit_probe(features, y, CLASSES, layers=(1,))
    for row in (0, 17, 39):
        rest = np.delete(np.arange(40), row)
        rows = LayerRows(features, (1,), head.scale)
        from graft.nn.ridge import fit_ridge

        penalty = fit_ridge(rows[:], targets(y, CLASSES), strengths=(head.strength,)).penalty
        X, Y = rows[rest].astype(float), targets(y[rest], CLASSES)[:]
        centre = X.mean(0)
        coef = np.linalg.solve((X - centre).T @ (X - centre) + penalty * np.eye(6), (X - centre).T @ (Y - Y.mean(0)))
        wanted = (rows[np.array([row])][0] - centre) @ coef + Y.mean(0)
        np.testing.assert_allclose(head.loo[row], wanted, atol=1e-5)


def test_block_by_block_gives_the_same(monkeypatch):
    features, y = made()
    whole = fit_probe(features, y, CLASSES, layers=(0, 1))
    monkeypatch.setattr(layer_rows, "IN_MEMORY", 0)
    assert isinstance(LayerRows(features, (0, 1), whole.scale).read(), LayerRows)
    parts = fit_probe(features, y, CLASSES, layers=(0, 1))
    np.testing.assert_allclose(parts.coef, whole.coef, atol=1e-6)


def test_many_rows_choose_on_a_sample_and_fit_on_all(monkeypatch):
    features, y = made(n=300, good=2)
    wanted = fit_probe(features, y, CLASSES, layers="last")
    monkeypatch.setattr(layer_rows, "CHOOSE_ROWS", 50)
    found = fit_probe(features, y, CLASSES)
    assert found.layers == (2,)
    np.testing.assert_allclose(found.coef, wanted.coef)
    assert len(found.loo) == 300


def test_a_view_of_rows_is_fitted_alone():
    features, y = made()
    some = np.arange(0, 120, 2)
    part = fit_probe(features.select(some), y[some], CLASSES, layers=(1,))
    alone = Features(features.values[some], features.sizes, np.arange(60), features.spec, "")
    np.testing.assert_allclose(part.coef, fit_probe(alone, y[some], CLASSES, layers=(1,)).coef)


def test_arrays_and_back():
    features, y = made()
    head = fit_probe(features, y, CLASSES)
    again = LinearHead.from_arrays(head.arrays())
    assert np.array_equal(again.outputs(features, CLASSES), head.outputs(features, CLASSES))
    assert again.layers == head.layers


def test_regression():
    features, _ = made()
    y = features.layer(2)[:, 0].astype(float) * 2 - 1
    head = fit_probe(features, y, NUMBERS)
    assert head.temperature == 1
    assert head.layers == (2,)
    np.testing.assert_allclose(head.outputs(features, NUMBERS), y, atol=0.1)


def test_the_temperature_makes_noise_modest():
    features, y = made(good=1)
    noise = np.random.default_rng(1).permutation(y)
    sure, unsure = (
        fit_probe(features, labels, CLASSES, layers=(1,)).outputs(features, CLASSES) for labels in (y, noise)
    )
    assert sure.max(1).mean() > 0.9
    assert unsure.max(1).mean() < 0.55


@pytest.mark.parametrize("layers", ["first", (3,), (-4,), ()])
def test_layers_that_are_not_there(layers):
    from graft.core.errors import UsageError

    features, y = made()
    with pytest.raises(UsageError, match=r"no layers .*; use auto, last, concatenated, mix, or numbers from 0 to 2"):
        fit_probe(features, y, CLASSES, layers=layers)


def test_many_classes_are_masked_by_squares_and_not_by_the_likelihood():
    """Classes in a row along one direction: least squares cannot see the middle ones."""
    rng = np.random.default_rng(0)
    y = np.arange(600) % 6
    values = (y[:, None] * 3 + rng.normal(size=(600, 1)) * 0.5).astype(np.float32)
    features = Features(values, (1,), np.arange(600), ModelSpec("x:y", "y", "text"), "")
    task = Task("classification", "text", tuple("abcdef"))
    accuracy = {
        loss: np.mean(fit_probe(features, y, task, loss=loss).outputs(features, task).argmax(1) == y)
        for loss in ("squared", "logistic")
    }
    assert accuracy["squared"] < 0.6
    assert accuracy["logistic"] > 0.85


def test_a_logistic_probe_is_calibrated_on_rows_it_has_not_seen():
    features, y = made(n=400)
    head = fit_probe(features, y, CLASSES, loss="logistic")
    assert head.layers in ((2,), (1, 2))
    outputs = head.outputs(features, CLASSES)
    assert np.mean(outputs.argmax(1) == y) > 0.9
    np.testing.assert_allclose(outputs.sum(1), 1)


def test_concatenated_layers_are_all_of_them():
    features, y = made()
    one, other = (fit_probe(features, y, CLASSES, layers=layers) for layers in ("concatenated", (0, 1, 2)))
    assert one.layers == (0, 1, 2)
    assert np.array_equal(one.coef, other.coef)


@pytest.mark.parametrize("loss", ["squared", "logistic", "lda"])
def test_mixed_layers_are_a_head_with_tied_coefficients(loss):
    features, y = made(sizes=(6, 6, 6), good=1, scales=(1.0, 30.0, 0.1))
    head = fit_probe(features, y, CLASSES, layers="mix", loss=loss)
    parts = head.coef.reshape(3, 6, 3)
    shares = np.array([np.linalg.norm(part) for part in parts]) / sum(np.linalg.norm(part) for part in parts)
    assert shares[1] > 0.7
    np.testing.assert_allclose(parts[0] / shares[0], parts[1] / shares[1], rtol=1e-6)
    mixed = MixedRows(features, (0, 1, 2), head.scale, shares)
    assert mixed.shape == (120, 6)
    scores = mixed[:].astype(float) @ (parts[1] / shares[1]) + head.intercept
    np.testing.assert_allclose(scores, head.scores(features), atol=1e-4)
    np.testing.assert_allclose(mixed[np.array([3, 5])], mixed[:][[3, 5]], rtol=1e-6)
    assert np.mean(head.outputs(features, CLASSES).argmax(1) == y) > 0.9


def test_a_mixture_of_values():
    features, _ = made(sizes=(5, 5, 5))
    y = features.layer(2)[:, 0].astype(float) * 2 - 1
    head = fit_probe(features, y, NUMBERS, layers="mix")
    assert np.square(head.outputs(features, NUMBERS) - y).mean() < 0.1 * y.var()


def test_layers_of_several_widths_cannot_be_mixed():
    features, y = made(sizes=(4, 6, 4))
    with pytest.raises(UsageError, match="layers of the widths 4, 6 cannot be mixed; use layers='concatenated'"):
        fit_probe(features, y, CLASSES, layers="mix")


def test_discriminant_analysis_is_a_linear_head():
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    features, y = made(n=200)
    head = fit_probe(features, y, CLASSES, layers=(1,), loss="lda")
    X = features.layer(1) / head.scale
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=head.strength).fit(X, y)
    scores = head.scores(features)
    np.testing.assert_allclose(to_outputs(scores, CLASSES), theirs.predict_proba(X), atol=1e-4)
    assert np.array_equal(head.outputs(features, CLASSES), to_outputs(scores, CLASSES, head.temperature))
    assert 0.5 < head.temperature < 2.5  # Gaussian classes: its chances are nearly right as they are
    assert fit_probe(features, y, CLASSES, loss="lda").layers == (1, 2)


def test_a_discriminant_never_says_a_class_without_rows(monkeypatch):
    features, y = made(n=200)
    y = y % 2
    y[::5] = 1 - y[::5]  # unsure: a temperature well above one
    head = fit_probe(features, y, CLASSES, layers=(0,), loss="lda")
    assert head.outputs(features, CLASSES)[:, 2].max() < 1e-6
    monkeypatch.setattr(layer_rows, "WIDEST", 5)  # wide matrices are not tried unasked
    assert fit_probe(features, y, CLASSES, loss="lda").layers == (2,)
    assert fit_probe(features, y, CLASSES, loss="lda", layers="concatenated").layers == (0, 1, 2)


@pytest.mark.parametrize(("task", "loss"), [(NUMBERS, "logistic"), (NUMBERS, "lda"), (CLASSES, "hinge")])
def test_a_loss_that_does_not_fit_is_refused(task, loss):
    features, y = made()
    with pytest.raises(UsageError, match=loss):
        fit_probe(features, y, task, loss=loss)
