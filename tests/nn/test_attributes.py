import numpy as np
import pytest

from graft.core.errors import DataError
from graft.nn.attributes import (
    choose_eszsl,
    choose_stacking,
    class_folds,
    fit_dap,
    fit_eszsl,
    mean_accuracy,
)

RNG = np.random.default_rng(0)
PAIRS = [(0, 1), (2, 3), (4, 5), (0, 2), (1, 4), (3, 5)]
A = np.vstack([np.eye(6), [np.eye(6)[[first, second]].sum(axis=0) for first, second in PAIRS]])
A /= np.linalg.norm(A, axis=1, keepdims=True)
Y = np.repeat(np.arange(12), 20)
X = A[Y] @ RNG.normal(size=(6, 9)) + 0.1 * RNG.normal(size=(240, 9))
SEEN, NEW = Y < 9, Y >= 9


def test_eszsl_is_its_closed_form():
    fit = fit_eszsl(X, Y, A, strengths=(0.5, 2.0))
    signs = 2 * np.eye(12)[Y] - 1
    gram, table = X.T @ X, A.T @ A
    left = np.linalg.inv(gram + 0.5 * np.trace(gram) / 9 * np.eye(9))
    right = np.linalg.inv(table + 2.0 * np.trace(table) / 6 * np.eye(6))
    np.testing.assert_allclose(fit.map, left @ X.T @ signs @ A @ right, atol=1e-8)


@pytest.mark.parametrize("method", ["eszsl", "dap"])
def test_classes_without_rows_are_told_apart(method):
    if method == "eszsl":
        fit = fit_eszsl(X[SEEN], Y[SEEN], A[:9], strengths=choose_eszsl(X[SEEN], Y[SEEN], A[:9]))
    else:
        fit = fit_dap(X[SEEN], Y[SEEN], A[:9])
    assert mean_accuracy(fit.scores(X[NEW], A[9:]), Y[NEW] - 9) > 0.8


def test_attributes_that_never_differ_are_left_out():
    table = np.column_stack([A, np.ones(12)])
    assert not fit_dap(X, Y, table).coef[:, 6].any()
    with pytest.raises(DataError, match="no attribute differs"):
        fit_dap(X, Y, np.ones((12, 2)))


def test_folds_of_classes_hold_every_class_once():
    folds = class_folds(Y, 12)
    assert sorted(np.concatenate(folds).tolist()) == list(range(12))
    assert min(map(len, folds)) >= 2
    assert class_folds(np.array([0, 1, 2]), 3) == []


def test_stacking_takes_off_what_seen_classes_have_too_much():
    truth, is_unseen = np.tile([0, 1], 100), np.arange(200) < 100
    right = np.eye(2)[truth]
    seen, unseen = right * ~is_unseen[:, None] + 3.0, right * is_unseen[:, None]
    assert 2 < choose_stacking(seen, unseen, truth, is_unseen) <= 4
