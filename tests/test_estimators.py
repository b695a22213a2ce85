"""scikit-learn's own checks, and the estimators inside its tools."""

import pickle

import numpy as np
import pandas as pd
import pytest
from conftest import make_pictures, make_table, make_texts
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from graft import AutoTransferClassifier, AutoTransferRegressor
from graft.core.errors import GraftError, UsageError
from graft.data.load import load

QUICK = {"methods": ("classical",), "cache": False, "budget": "20s", "folds": 2}
EXPECTED = {
    "check_methods_sample_order_invariance": "rows are read as float32: sums in another order differ in the seventh digit",
    "check_methods_subset_invariance": "rows are read as float32: sums in another order differ in the seventh digit",
}


@parametrize_with_checks(
    [AutoTransferClassifier(**QUICK), AutoTransferRegressor(**QUICK)],
    expected_failed_checks=lambda estimator: EXPECTED,
)
def test_scikit_learn(estimator, check):
    check(estimator)


def test_it_clones_and_its_keywords_are_its_parameters():
    auto = AutoTransferClassifier(
        budget="3m", methods=("probe",), models=("hf:x",), folds=4, level=0.8, seed=7, cache=False
    )
    assert clone(auto).get_params() == auto.get_params()
    assert auto.set_params(seed=9).seed == 9
    with pytest.raises(NotFittedError):
        auto.predict(["text"])
    with pytest.raises(NotFittedError):
        AutoTransferRegressor().predict(["text"])


def test_cross_validation_on_texts():
    texts, y = make_texts(60)
    assert cross_val_score(AutoTransferClassifier(**QUICK), texts, y, cv=3).mean() > 0.9


def test_a_pipeline_of_texts():
    texts, y = make_texts(60)
    lower = FunctionTransformer(lambda rows: [row.lower() for row in rows])
    pipeline = make_pipeline(lower, AutoTransferClassifier(**QUICK)).fit([text.upper() for text in texts], y)
    assert pipeline.score(texts, y) > 0.9


def test_a_search_over_its_keywords():
    X, y = make_table(80)
    search = GridSearchCV(AutoTransferClassifier(**QUICK), {"seed": [0, 1]}, cv=2).fit(X, y)
    assert search.best_score_ > 0.8


@pytest.mark.parametrize(
    "classes", [[3, 20], [1.0, 2.0], [False, True], ["b", "a"], np.array(["10", "9"], dtype=object)], ids=str
)
def test_classes_come_back_as_they_were(classes):
    X, words = make_table(60)
    y = np.asarray(classes)[(np.asarray(words) == "yes").astype(int)]
    auto = AutoTransferClassifier(**QUICK).fit(X, y)
    assert auto.classes_.tolist() == sorted(set(y.tolist()))
    predicted = auto.predict(X)
    assert set(predicted.tolist()) <= set(y.tolist())
    assert np.mean(predicted == y) > 0.9
    proba = auto.predict_proba(X)
    assert np.array_equal(auto.classes_[proba.argmax(1)], predicted)


def test_frames_keep_columns_of_words():
    X, y = make_table(60)
    frame = pd.DataFrame({"colour": np.where(np.asarray(y) == "yes", "red", "blue"), "noise": X[:, 3]})
    auto = AutoTransferClassifier(**QUICK).fit(frame, y)
    assert np.mean(auto.predict(frame) == np.asarray(y)) == 1
    assert auto.feature_names_in_.tolist() == ["colour", "noise"]
    with pytest.raises(ValueError, match="feature names"):
        auto.predict(frame.rename(columns={"noise": "other"}))


def test_pictures_pairs_and_data_sets_are_read_too():
    pictures, y = make_pictures(40)
    assert AutoTransferClassifier(**QUICK).fit(pictures, y).score(pictures, y) > 0.9
    texts, y = make_texts(40)
    pairs = [(text, "card") for text in texts]
    assert AutoTransferClassifier(**QUICK).fit(pairs, y).score(pairs, y) > 0.9
    auto = AutoTransferClassifier(**QUICK).fit(load((texts, y)))
    assert auto.score(texts, y) > 0.9
    assert auto.classes_.tolist() == ["bad", "good"]


def test_a_file_carries_its_labels(tmp_path):
    texts, y = make_texts(40)
    pd.DataFrame({"text": texts, "label": y}).to_csv(tmp_path / "rows.csv", index=False)
    auto = AutoTransferClassifier(**QUICK).fit(str(tmp_path / "rows.csv"))
    assert auto.score(texts, y) > 0.9


def test_the_regressor_gives_values_in_their_own_unit():
    X, y = make_table(80, kind="regression")
    auto = AutoTransferRegressor(**QUICK).fit(X, 1000 + y)
    assert auto.score(X, 1000 + y) > 0.9
    assert abs(auto.predict(X).mean() - 1000) < 1
    assert not hasattr(auto, "predict_proba")


def test_what_does_not_fit_is_said():
    X, y = make_table(60, kind="regression")
    with pytest.raises(UsageError, match="got a regression task"):
        AutoTransferClassifier(**QUICK).fit(load((X, y)))
    with pytest.raises(UsageError, match="no transfer 'prob'; did you mean 'probe'"):
        AutoTransferRegressor(**(QUICK | {"methods": ("prob",)})).fit(X, y)


def test_it_survives_a_pickle():
    X, y = make_table(60)
    auto = AutoTransferClassifier(**QUICK).fit(X, y)
    assert np.array_equal(pickle.loads(pickle.dumps(auto)).predict_proba(X), auto.predict_proba(X))


def test_sparse_rows_stay_sparse():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    dense = rng.poisson(0.2, (60, 30)) + (np.arange(30) < 15)[None] * y[:, None] * rng.poisson(0.7, (60, 30))
    auto = AutoTransferClassifier(**QUICK).fit(csr_matrix(dense), y)
    assert auto.run_.task["modality"] == "counts"
    assert auto.score(csr_matrix(dense), y) > 0.9


def test_rows_without_a_label_are_handed_over(tiny_bert):
    texts, y = make_texts(30)
    more = [f"{text} once more" for text in make_texts(20, seed=5)[0]]
    auto = AutoTransferClassifier(**QUICK | {"methods": ("probe", "pseudo_labels"), "models": (f"hf:{tiny_bert}",)})
    auto.fit(texts, y, unlabelled=more)
    assert auto.run_.answer["unlabelled"]["rows"] == 20
    assert "pseudo_labels" in {trial["transfer"] for trial in auto.run_.trials}
    with pytest.raises(GraftError):
        auto.fit(texts, y, unlabelled=np.zeros((3, 4)))
    X, y = make_table(40)
    assert AutoTransferClassifier(**QUICK).fit(X, y, unlabelled=X[:5] + 1).run_.data["unlabelled"] == 5


def test_an_ensemble_may_be_asked_for():
    X, y = make_table(60)
    auto = AutoTransferClassifier(**QUICK, ensemble=True).fit(X, y)
    assert auto.run_.trials[-1]["transfer"] == "ensemble"
    assert auto.run_.trials[-1]["reason"] == "fewer than two ways came to their end"
