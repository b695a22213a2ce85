"""Criteria against slow definitions."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score, silhouette_score
from unlabelled.seen import model

from graft.core.errors import DataError
from graft.unlabelled.agreement import agreement
from graft.unlabelled.confidence import bnm, doc, infomax
from graft.unlabelled.geometry import calinski_harabasz, davies_bouldin, silhouette, snd
from graft.unlabelled.importance import dev, iwv
from graft.unlabelled.reverse import reverse


def test_bnm_is_the_nuclear_norm():
    p = model()[0].target_outputs
    assert bnm(p) == pytest.approx(np.linalg.norm(p, "nuc") / np.sqrt(300 * 3))
    assert bnm(p[:2]) == pytest.approx(np.linalg.norm(p[:2], "nuc") / 2)


def test_a_collapsed_model_carries_no_information():
    assert infomax(np.tile([1.0, 0.0, 0.0], (50, 1))) == pytest.approx(0)
    assert infomax(np.eye(3)) == pytest.approx(np.log(3))


def test_doc_stays_a_share():
    assert doc(np.array([[0.5, 0.5]] * 4), np.zeros(4, int), np.eye(2)) == 1.0


def test_snd_is_the_mean_entropy_of_softmaxed_similarities():
    p = model()[0].target_outputs[:40]
    unit = p / np.linalg.norm(p, axis=1, keepdims=True)
    entropies = []
    for i in range(40):
        s = softmax(np.delete(unit[i] @ unit.T, i) / 0.05)
        entropies.append(-(s * np.log(s.clip(1e-300))).sum())
    assert snd(p) == pytest.approx(np.mean(entropies))
    assert snd(p, most=20) != snd(p)


def test_cluster_scores_are_the_usual_ones():
    seen, _ = model()
    X, labels = seen.target_features, seen.target_outputs.argmax(axis=1)
    assert davies_bouldin(X, seen.target_outputs) == pytest.approx(-davies_bouldin_score(X, labels))
    assert calinski_harabasz(X, seen.target_outputs) == pytest.approx(np.log(calinski_harabasz_score(X, labels)))
    assert silhouette(X, seen.target_outputs) == pytest.approx(silhouette_score(X, labels))


def test_cluster_scores_of_one_class_are_the_lowest():
    X, one = np.random.default_rng(0).normal(size=(20, 2)), np.tile([1.0, 0.0], (20, 1))
    assert (davies_bouldin(X, one), calinski_harabasz(X, one), silhouette(X, one)) == (-100.0, -20.0, -1.0)


def test_agreement_is_the_mean_over_pairs_of_runs():
    runs = model()[0].runs
    labels = runs.argmax(axis=2)
    pairs = [np.mean(labels[i] == labels[j]) for i in range(3) for j in range(i)]
    assert agreement(runs) == pytest.approx(np.mean(pairs))
    with pytest.raises(DataError, match="two runs"):
        agreement(runs[:1])


def test_importance_weights_undo_a_covariate_shift():
    """Source rows are right where x < 0; the target lies mostly at x > 0."""
    rng = np.random.default_rng(0)
    x = rng.random(4000) < 0.7  # the share of easy rows in the source; in the target it is 0.2
    y = np.where(x | (rng.random(4000) < 0.5), 0, 1)
    outputs, ratio = np.tile([0.9, 0.1], (4000, 1)), np.where(x, 0.2 / 0.7, 0.8 / 0.3)
    truth = 0.2 + 0.8 * 0.5
    assert iwv(outputs, y, ratio) == pytest.approx(truth, abs=0.03)
    assert dev(outputs, y, ratio) == pytest.approx(truth, abs=0.03)
    assert iwv(outputs, y, 5 * ratio) == pytest.approx(iwv(outputs, y, ratio))


def test_the_control_variate_lowers_the_variance():
    found = {"plain": [], "dev": []}
    for seed in range(60):
        rng = np.random.default_rng(seed)
        ratio = rng.exponential(size=200)
        outputs, y = np.tile([0.9, 0.1], (200, 1)), (rng.random(200) < 0.8).astype(int)
        found["dev"].append(dev(outputs, y, ratio))
        found["plain"].append(1 - np.mean(ratio * (y == 1)))
    assert np.std(found["dev"]) < 0.8 * np.std(found["plain"])
    assert np.mean(found["dev"]) == pytest.approx(0.2, abs=0.02)


def test_reverse_validation_sees_classes_that_were_mixed():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 200)
    X = rng.normal(size=(200, 3)) + 3 * y[:, None]
    right, mixed = np.eye(2)[y], np.eye(2)[rng.permutation(y)]
    assert reverse(X, y, X + 0.2, right) > 0.95
    assert reverse(X, y, X + 0.2, mixed) < 0.7
    assert reverse(X, y, X, np.tile([1.0, 0.0], (200, 1))) == pytest.approx(np.mean(y == 0))
