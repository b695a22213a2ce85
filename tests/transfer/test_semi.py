"""Rows without a label: how they come to a transfer, and what those that learn from them make of them."""

import dataclasses

import numpy as np
import pytest

from graft.core.errors import BudgetError, DataError, UsageError
from graft.core.registry import TRANSFERS
from graft.core.runtime import Clock
from graft.core.store import Store
from graft.data.load import load
from graft.features import encode
from graft.nn.heads import LinearHead
from graft.nn.neighbours import NeighbourHead
from graft.testing import check_transfer, toy_data, toy_sources
from graft.transfer.base import Setting, load_transfer
from graft.transfer.consistency import Consistency, thinned
from graft.transfer.propagation import Propagation
from graft.transfer.pseudo_labels import PseudoLabels, surest
from graft.transfer.semi import Stack, side_by_side, some_unlabelled

SEMI = (Propagation, PseudoLabels)


@pytest.fixture(scope="module")
def moons():
    """Two long bent clouds, 300 rows of a table; the labels of six."""
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, np.pi, 300)
    side = np.arange(300) % 2
    x = np.where(side == 0, np.cos(angle), 1 - np.cos(angle))
    z = np.where(side == 0, np.sin(angle), 0.4 - np.sin(angle))
    X = np.stack([x, z], axis=1) + 0.06 * rng.normal(size=(300, 2))
    truth = np.where(side == 0, "up", "down")
    labels = [label if i < 12 else None for i, label in enumerate(truth.tolist())]
    return X, labels, truth


@pytest.fixture(scope="module")
def source(moons):
    """The rows themselves as the one layer of a network."""
    return toy_sources(load((moons[0], moons[2].tolist())))[0]


def test_which_transfers_learn_from_them():
    assert {name for name, transfer in TRANSFERS.items() if transfer.semi} == {
        "consistency",
        "distill",
        "propagation",
        "pseudo_labels",
    }


@pytest.mark.parametrize("kind", ["text", "imbalanced", "image"])
@pytest.mark.parametrize("transfer", SEMI)
def test_the_contract_holds_with_rows_that_have_no_label(transfer, kind):
    data = toy_data(kind)
    some = dataclasses.replace(data, y=np.where(np.arange(len(data)) % 3 == 2, -1, data.y))
    source = toy_sources(data)[0]
    one, two = (transfer(source).fit(some).outputs(data) for _ in range(2))
    assert np.array_equal(one, two)
    assert np.mean(one.argmax(1) == data.y) > 0.8


@pytest.mark.parametrize("transfer", SEMI)
def test_without_such_rows_it_is_a_probe(tiny_bert, transfer):
    check_transfer(transfer, toy_data("imbalanced"), source=f"hf:{tiny_bert}")


def test_rows_without_a_label_come_in_three_ways_to_the_same_end(source, moons):
    X, labels, _ = moons
    known = np.arange(12)
    raw = Propagation(source).fit(X, labels)
    data = load((X, labels), partly=True)
    whole = Propagation(source).fit(data)
    others = dataclasses.replace(data.select(np.arange(12, 300)), y=None)
    setting = Propagation(source).fit(data.select(known), setting=Setting(unlabelled=(others,)))
    apart = load((X[12:], [None] * 288), labelled=False, like=data)
    other_storage = Propagation(source).fit(data.select(known), setting=Setting(unlabelled=(apart,)))
    wanted = raw.outputs(X)
    assert raw.spread_to_ == 288
    for same in (whole, setting, other_storage):
        np.testing.assert_allclose(same.outputs(X), wanted, atol=1e-3)


def test_other_transfers_pass_them_over(moons):
    X, labels, _ = moons
    data = load((X, labels), partly=True)
    plain = TRANSFERS["classical"]().fit(data)
    assert np.array_equal(plain.outputs(X), TRANSFERS["classical"]().fit(data.select(np.arange(12))).outputs(X))
    with pytest.raises(DataError, match="no labels to learn from"):
        TRANSFERS["classical"]().fit(data.select(np.arange(12, 300)))


def test_values_without_a_target_are_passed_over_too():
    y = [0.5 * i if i < 30 else None for i in range(40)]
    X = np.random.default_rng(0).normal(size=(40, 2))
    data = load((X, y), partly=True)
    one, two = (TRANSFERS["classical"]().fit(rows) for rows in (data, data.select(np.arange(30))))
    assert np.array_equal(one.outputs(X), two.outputs(X))


def test_labels_follow_the_shape_of_the_classes(moons, tmp_path):
    """A line cannot part two moons, and six labels of each do not show that there are any: the other rows do."""
    X, labels, truth = moons
    source = toy_sources(load((X, truth.tolist())))[0]
    spread = Propagation(source, neighbours=8, head="knn").fit(X, labels)
    assert np.mean(spread.predict(X) == truth) > 0.9
    assert spread.predict_proba(X[:2]).shape == (2, 2)
    spread.save(tmp_path)
    again = load_transfer(tmp_path)
    assert np.array_equal(again.outputs(X), spread.outputs(X))
    assert again.spread_to_ == 288


def test_the_head_is_chosen_by_rows_held_out(source, moons):
    X, labels, _ = moons
    kinds = [type(Propagation(source, head=head).fit(X, labels).head_) for head in ("linear", "knn")]
    assert kinds == [LinearHead, NeighbourHead]
    assert type(Propagation(source).fit(X, labels).head_) in kinds


def test_self_training_stops_where_the_likelihood_falls(source, moons):
    X, labels, truth = moons
    fitted = PseudoLabels(source).fit(X, labels)
    assert fitted.rounds_ == int(np.argmin(fitted.losses_))
    assert all(b < a for a, b in zip(fitted.losses_[:-2], fitted.losses_[1:-1], strict=False))
    rng = np.random.default_rng(1)
    noise = PseudoLabels(source).fit(X, [str(rng.integers(2)) if label else None for label in labels])
    plain = TRANSFERS["probe"](source).fit(load((X, labels)))
    assert np.mean(fitted.predict(X) == truth) >= np.mean(plain.predict(X) == truth) - 0.05
    assert np.isfinite(noise.outputs(X)).all()


def test_with_one_label_of_each_class_self_training_is_the_probe(source, moons):
    X, labels, _ = moons
    few = labels[:2] + [None] * 298
    fitted = PseudoLabels(source).fit(X, few)
    assert (fitted.rounds_, fitted.losses_) == (0, [])
    np.testing.assert_allclose(
        fitted.outputs(X), TRANSFERS["probe"](source).fit(X[:2], labels[:2]).outputs(X), atol=1e-5
    )
    assert np.isfinite(Propagation(source).fit(X, few).outputs(X)).all()


def test_surest_takes_a_share_of_every_class():
    chances = np.array([[0.9, 0.1]] * 6 + [[0.4, 0.6]] * 2)
    assert surest(chances, 0.5).tolist() == [0, 1, 2, 6]
    assert surest(chances[:0], 0.5).tolist() == []


def test_features_are_read_once_for_all_folds(source, moons, tmp_path):
    X, labels, _ = moons
    store = Store(tmp_path)
    data = load((X, labels), partly=True)
    for rows in (np.r_[0:8, 12:300], np.r_[4:300]):
        Propagation(source).fit(data.select(rows), setting=Setting(store=store))
    assert len(store.entries()) == 1


def test_rows_without_a_label_are_read_once_where_they_are_few_of_a_large_storage(source, moons, tmp_path):
    X, labels, _ = moons
    store, data = Store(tmp_path), load((X, labels), partly=True)
    known, others = np.arange(12), data.select(np.arange(100, 150))
    others = dataclasses.replace(others, y=None)
    for rows in (known[:8], known[4:]):  # folds: other labelled rows, the same others
        Propagation(source).fit(data.select(rows), setting=Setting(store=store, unlabelled=(others,)))
    assert len(store.entries()) == 3


def test_side_by_side_reads_several_storages(source, moons):
    X = moons[0]
    parts = [load(X[rows], labelled=False, inputs=("x0", "x1")) for rows in (slice(0, 3), slice(3, 8))]
    found = side_by_side(lambda rows: encode(source, rows.take()), parts)
    np.testing.assert_allclose(
        found.layer(-1), encode(source, load(X[:8], labelled=False).take()).layer(-1), rtol=1e-4, atol=1e-5
    )
    assert isinstance(found.values, Stack)
    assert len(found.select(found.rows[[7, 0]]).layer(-1)) == 2


def test_some_of_many_are_taken_by_seed(moons):
    data = load((moons[0], moons[1]), partly=True)
    setting = Setting(unlabelled=(data.select(np.arange(12, 100)), data.select(np.arange(100, 300))))
    parts = some_unlabelled(setting, data, 50, 0)
    assert sum(map(len, parts)) == 50
    assert [part.rows.tolist() for part in parts] == [p.rows.tolist() for p in some_unlabelled(setting, data, 50, 0)]
    with pytest.raises(DataError, match="another form"):
        some_unlabelled(Setting(unlabelled=(toy_data("text"),)), data, 50, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        Propagation(head="svm"), Propagation(alpha=1.0), PseudoLabels(rounds=0), PseudoLabels(trust=0),
        Consistency(threshold=0), Consistency(ratio=0),
    ],
)  # fmt: skip
def test_settings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(UsageError, match="cannot be"):
        wrong.fit(toy_data("text"))


def test_the_clock_is_obeyed(source, moons):
    X, labels, _ = moons
    setting = Setting(clock=Clock(1e-9))
    with pytest.raises(BudgetError, match="no time was left"):
        Propagation(source).fit(X, labels, setting=setting)
    assert PseudoLabels(source).fit(X, labels, setting=setting).rounds_ == 0


# -- consistency -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["text", "image"])
def test_a_network_learns_from_rows_that_it_is_sure_of(kind):
    data = toy_data(kind)
    some = dataclasses.replace(data, y=np.where(np.arange(len(data)) % 3 == 2, -1, data.y))
    options = {"batch_size": 8, "epochs": 10, "lr": 3e-3, "threshold": 0.6}
    one, two = (Consistency(toy_sources(data)[0], **options).fit(some) for _ in range(2))
    assert np.array_equal(one.outputs(data), two.outputs(data))
    assert one.curve_[-1]["used"] > 0.5
    assert np.mean(one.outputs(data).argmax(1) == data.y) > 0.8


def test_other_rows_change_what_is_learned_only_where_they_are_trusted():
    data = toy_data("text")
    some = dataclasses.replace(data, y=np.where(np.arange(len(data)) % 3 == 2, -1, data.y))
    source, options = toy_sources(data)[0], {"batch_size": 8, "epochs": 2, "lr": 3e-3, "threshold": 0.5}
    alone, with_others, without_trust = (
        Consistency(source, **options, trust=trust).fit(rows).outputs(data)
        for rows, trust in ((data.select(some.y >= 0), 0.0), (some, 1.0), (some, 0.0))
    )
    np.testing.assert_allclose(without_trust, alone, atol=1e-5)
    assert np.abs(with_others - alone).max() > 1e-3


def test_only_texts_and_pictures_have_distorted_views():
    data = toy_data("table")
    source = toy_sources(data)[0]
    assert "no distorted views" in Consistency.fits(source.spec)
    with pytest.raises(UsageError, match="for text or image data alone, not table"):
        Consistency(source).fit(data)


def test_texts_lose_a_fifth_of_their_words():
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(1000)]
    thin = thinned(" ".join(words), rng).split()
    assert 750 < len(thin) < 850
    assert [word for word in words if word in set(thin)] == thin
    chinese = "满载的时候吵吗我宿舍用怕被室友打" * 20
    assert 0.7 * len(chinese) < len(thinned(chinese, rng)) < 0.9 * len(chinese)
    assert thinned(("a b c d e f g h", ""), rng)[1] == ""
