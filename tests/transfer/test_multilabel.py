"""Transfers of rows with several labels: the contracts, thresholds that are kept, and ways that refuse."""

import numpy as np
import pytest

from graft import AutoTransferMultilabel
from graft.core.errors import UsageError
from graft.core.registry import TRANSFERS
from graft.data.load import load
from graft.evaluate.metrics import score
from graft.testing import check_transfer, toy_data
from graft.transfer.base import load_transfer
from graft.transfer.classical import Classical
from graft.transfer.ensemble import Ensemble
from graft.transfer.probe import Probe
from graft.transfer.scratch import Scratch

DATA = toy_data("multilabel")


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("majority", {}),
        ("classical", {}),
        ("probe", {}),
        ("probe", {"loss": "logistic", "layers": "last"}),
        ("probe", {"head": "knn"}),
        ("finetune", {"epochs": 1}),
        ("bias", {"epochs": 1}),
    ],
)
def test_ways_keep_the_contract(name, settings, tiny_bert):
    source = {"source": f"hf:{tiny_bert}"} if TRANSFERS[name].needs_source else {}
    check_transfer(name, DATA, **source, **settings)


def test_words_that_are_labels_are_learned(tiny_bert):
    assert score(DATA.task, DATA.y, Classical().fit(DATA).outputs(DATA)) > 0.95
    assert score(DATA.task, DATA.y, Scratch(epochs=30, lr=1e-2).fit(DATA).outputs(DATA)) > 0.9
    for layers in ("last", "auto"):
        assert score(DATA.task, DATA.y, Probe(f"hf:{tiny_bert}", layers=layers).fit(DATA).outputs(DATA)) > 0.8


def test_what_held_out_rows_taught_is_saved(tmp_path):
    members = [{"transfer": "majority"}, {"transfer": "classical"}]
    for fitted in (Classical().fit(DATA), Ensemble(members).fit(DATA)):
        plain = fitted.outputs(DATA)
        fitted.calibrate(plain * 0.5, DATA.y)  # too shy by half
        assert len(fitted.task_.thresholds) == 3
        opened = load_transfer(fitted.save(tmp_path / fitted.name))
        assert opened.task_ == fitted.task_
        assert np.array_equal(opened.outputs(DATA), fitted.outputs(DATA))
        assert opened.predict(["a kind and new thing"]).tolist() == fitted.predict(["a kind and new thing"]).tolist()
        assert not np.array_equal(plain, fitted.outputs(DATA))
        with pytest.raises(UsageError, match="no sets of classes"):
            opened.predict_set(DATA)


def test_a_label_without_a_row_or_with_all_of_them_is_left_at_that():
    some = DATA.select(DATA.y[:, 0] == 0)
    for fitted in (Classical().fit(some), TRANSFERS["majority"]().fit(some)):
        outputs = fitted.outputs(DATA)
        assert outputs[:, 0].max() < 0.3
        assert np.isfinite(outputs).all()
    every = load(
        (["red", "red blue", "red green", "red blue green"] * 5, [["r"], ["r", "b"], ["r", "g"], ["r", "b", "g"]] * 5)
    )
    assert Classical().fit(every).outputs(every)[:, every.task.classes.index("r")].min() > 0.6


def test_the_estimator_gives_columns_of_0_and_1():
    texts, y = list(DATA.take()), DATA.y.astype(int)
    auto = AutoTransferMultilabel(budget="20s", methods=("classical",), folds=2, cache=False).fit(texts, y)
    assert auto.classes_.tolist() == ["0", "1", "2"]
    assert np.mean(auto.predict(texts) == y) > 0.9
    assert auto.score(texts, y) > 0.9
    assert auto.predict_proba(texts[:2]).shape == (2, 3)
    with pytest.raises(UsageError, match="got a classification task"):
        AutoTransferMultilabel().fit(toy_data("text"))


def test_ways_for_one_label_say_so():
    for name in ("contrastive", "soup", "propagation", "pseudo_labels"):
        with pytest.raises(UsageError, match="not multilabel"):
            TRANSFERS[name]().fit(DATA)
    with pytest.raises(UsageError, match="discriminant analysis needs classes"):
        Probe("sbert:all-MiniLM-L6-v2", head="lda").fit(DATA)
