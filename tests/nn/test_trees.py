"""Trees in NumPy against scikit-learn's own, with missing values, categories, and ones never seen."""

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from graft.core.errors import UsageError
from graft.nn import trees
from graft.nn.trees import Forest

OPTIONS = {"max_iter": 12, "early_stopping": False, "min_samples_leaf": 5}


def table(rows=300, seed=0):
    rng = np.random.default_rng(seed)
    X = np.column_stack([rng.integers(0, 40, rows), rng.integers(0, 3, rows), rng.normal(size=(rows, 3))]).astype(float)
    X[rng.random(X.shape) < 0.1] = np.nan
    X[:40, 0], X[:3, 1] = np.arange(40), np.arange(3)  # every code occurs
    y = np.nan_to_num(X[:, 0]) % 3 + (np.nan_to_num(X[:, 2]) > 0)
    return X, y


def strange(X):
    X = X.copy()
    X[:20, 0], X[20:30, 0], X[30:40, 2], X[40:50] = np.nan, 45, 1e9, np.nan
    X[50:55, 0], X[55:60, 0] = 300, -1
    return X


@pytest.mark.parametrize("categories", [[0, 1], None])
@pytest.mark.parametrize("kind", ["classes", "two", "values", "quantile"])
def test_scores_are_those_of_scikit_learn(kind, categories, monkeypatch):
    monkeypatch.setattr(trees, "AT_ONCE", 1000)  # in several parts
    X, y = table()
    if kind in ("classes", "two"):
        model = HistGradientBoostingClassifier(categorical_features=categories, **OPTIONS).fit(
            X, y if kind == "classes" else y > 1
        )
    else:
        more = {"loss": "quantile", "quantile": 0.8} if kind == "quantile" else {}
        model = HistGradientBoostingRegressor(categorical_features=categories, **OPTIONS, **more).fit(
            X, y + np.nan_to_num(X[:, 3])
        )
    forest = Forest.from_arrays(Forest.of(model).arrays())
    new = strange(X)
    scores = forest.scores(new)
    if kind == "classes":
        chances = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(chances, model.predict_proba(new), atol=1e-9)
    elif kind == "two":
        np.testing.assert_allclose(scores[:, 0], model.decision_function(new), atol=1e-9)
        both = forest.spread(np.array([0, 2]), 3, below=10.0).scores(new)
        np.testing.assert_allclose(both[:, 2] - both[:, 0], scores[:, 0], atol=1e-9)
        assert (both[:, 1] == both[0, 1]).all()
    else:
        np.testing.assert_allclose(scores[:, 0], model.predict(new), atol=1e-9)


def test_sums_after_each_round():
    X, y = table()
    model = HistGradientBoostingClassifier(**OPTIONS).fit(X, y)
    forest = Forest.of(model)
    each = forest.after_rounds(X, np.tile(forest.baseline, (len(X), 1)), first=0)
    np.testing.assert_allclose(each[:, -1], forest.scores(X), atol=1e-9)
    np.testing.assert_allclose(forest.after_rounds(X, each[:, 4], first=5), each[:, 5:], atol=1e-9)
    assert each.shape[1] == 12


def test_no_tree_and_no_row():
    forest = Forest.constant(np.array([0.5, -1.0]))
    assert forest.scores(np.zeros((2, 3))).tolist() == [[0.5, -1.0]] * 2
    assert Forest.of(HistGradientBoostingRegressor(**OPTIONS).fit(*table())).scores(np.zeros((0, 5))).shape == (0, 1)


def test_trees_in_another_form_are_said_in_one_line():
    X, y = table()
    model = HistGradientBoostingRegressor(**OPTIONS).fit(X, y)
    del model._predictors
    with pytest.raises(UsageError, match="keeps its boosted trees in another form"):
        Forest.of(model)
    gap = HistGradientBoostingRegressor(categorical_features=[0], **OPTIONS).fit(X[X[:, 0] != 7], y[X[:, 0] != 7])
    with pytest.raises(UsageError, match="with a gap"):
        Forest.of(gap)
