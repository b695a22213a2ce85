"""Several labels per row: metrics against scikit-learn's, thresholds, and probabilities from scores."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn import metrics as sk

from graft.core.errors import DataError, UsageError
from graft.core.task import Task
from graft.evaluate.metrics import evaluate, per_class, score
from graft.nn import multilabel
from graft.nn.bootstrap import DECIDERS

rng = np.random.default_rng(0)
CHANCES = rng.random((200, 5)).round(2)
TRUTH = (rng.random((200, 5)) < CHANCES * 0.6).astype(float)
TASK = Task("multilabel", "text", tuple("abcde"), "micro_f1", thresholds=(0.5,) * 5)


def test_metrics_are_those_of_scikit_learn():
    given = CHANCES >= 0.5
    found = {name: value for name, (value, _, _) in evaluate(TASK, TRUTH, CHANCES).items()}
    assert found == pytest.approx(
        {
            "micro_f1": sk.f1_score(TRUTH, given, average="micro"),
            "macro_f1": sk.f1_score(TRUTH, given, average="macro"),
            "mean_average_precision": sk.average_precision_score(TRUTH, CHANCES),
            "ranking_precision": sk.label_ranking_average_precision_score(TRUTH, CHANCES),
            "subset_accuracy": sk.accuracy_score(TRUTH, given),
            "hamming_loss": sk.hamming_loss(TRUTH, given),
            "log_loss": np.mean([sk.log_loss(TRUTH[:, c], CHANCES[:, c]) for c in range(5)]),
        },
        abs=0.01,  # equal probabilities: scikit-learn takes them together in the average precision
    )
    assert found["ranking_precision"] == pytest.approx(sk.label_ranking_average_precision_score(TRUTH, CHANCES))
    table = per_class(TASK, TRUTH, CHANCES)
    assert [row["support"] for row in table] == TRUTH.sum(axis=0).tolist()
    assert table[0]["f1"] == pytest.approx(sk.f1_score(TRUTH[:, 0], given[:, 0]))


def test_a_weight_of_two_is_a_row_twice():
    weight = 1.0 + (np.arange(200) < 50)
    rows = np.r_[:200, :50]
    for name in ("micro_f1", "macro_f1", "subset_accuracy", "hamming_loss"):
        count = getattr(multilabel, name)
        given = CHANCES >= 0.5
        assert count(TRUTH, given)(weight[None])[0] == pytest.approx(
            count(TRUTH[rows], given[rows])(np.ones((1, 250)))[0]
        )


def test_thresholds_are_the_best_and_never_chosen_by_the_rows_they_decide():
    y = np.tile([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0], [0.0, 0.0]], (10, 1))
    shy = np.where(y > 0, 0.2, 0.1)
    assert score(Task("multilabel", "text", ("a", "b"), "micro_f1"), y, shy) == 1.0  # one half would give no label
    assert multilabel.thresholds(y, shy, macro=False) == pytest.approx((0.15, 0.15))
    apart = y * [0.2, 0.6] + (1 - y) * [0.1, 0.3]  # no threshold is good for both
    assert multilabel.thresholds(y, apart, macro=True) != multilabel.thresholds(y, shy, macro=True)
    noise = rng.random((400, 3))
    free = (rng.random((400, 3)) < 0.3).astype(float)
    seen = max(multilabel.micro_f1(free, noise >= cut)(np.ones((1, 400)))[0] for cut in np.unique(noise)[::20])
    assert DECIDERS["micro_f1"](free, noise)(np.ones((1, 400)))[0] <= seen


def test_scores_become_probabilities():
    true = rng.normal(size=(4000, 2)) * [1.0, 2.0]
    y = (rng.random((4000, 2)) < expit(true)).astype(float)
    slope, bias = multilabel.fit_sigmoid((true - 1) / 3, y, start=(1.0, 0.0), pull=0.01)
    assert slope == pytest.approx([3, 3], abs=0.4)
    assert bias == pytest.approx([1, 1], abs=0.2)
    few = multilabel.fit_sigmoid(np.zeros((2, 1)), np.zeros((2, 1)), start=(1.0, 0.0), pull=1.0)
    assert -2 < few[1, 0] < 0  # two rows without the label: less likely, not impossible
    p = np.array([[0.1, 0.9]])
    assert multilabel.recalibrated(p, np.array([[1.0, 1.0], [0.0, 0.0]])) == pytest.approx(p)


def test_what_is_no_probability_and_no_metric_of_labels_is_refused():
    with pytest.raises(DataError, match="not probabilities"):
        evaluate(TASK, TRUTH, CHANCES + 0.5)
    with pytest.raises(UsageError, match="no metric 'accuracy' for multilabel"):
        score(TASK, TRUTH, CHANCES, metric="accuracy")
