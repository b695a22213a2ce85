"""A task in a few numbers: closed forms, and that the order of the rows changes nothing."""

import json
import time

import numpy as np
import pytest

from graft.core.errors import DataError
from graft.core.types import Features, ModelSpec
from graft.data.load import load
from graft.data.rows import TextRows
from graft.history.statistics import ROWS, score_statistics, statistics
from graft.testing import TOYS, toy_data


def made_features(values, rows=None, uri="x:y"):
    values = np.asarray(values, np.float32)
    rows = np.arange(len(values)) if rows is None else rows
    return Features(values, (values.shape[1],), rows, ModelSpec(uri, "y", "text"), "key")


@pytest.mark.parametrize("kind", TOYS)
def test_the_order_of_the_rows_changes_nothing(kind):
    data = toy_data(kind)
    features = made_features(np.random.default_rng(0).normal(size=(len(data), 5)))
    found = statistics(data, features, {"majority": 0.5, "classical": 0.7})
    assert found["kind"] == data.task.kind
    for seed in range(3):
        rows = np.random.default_rng(seed).permutation(len(data))
        mixed = data.select(rows)
        assert statistics(mixed, features.select(mixed.rows), {"majority": 0.5, "classical": 0.7}) == found
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_the_order_of_more_rows_than_are_looked_at_changes_nothing():
    texts = [f"{'word ' * (i % 7)}{i}" for i in range(3 * ROWS)]
    data = load((texts, ["a" if i % 3 else "b" for i in range(len(texts))]))
    mixed = data.select(np.random.default_rng(0).permutation(len(data)))
    assert statistics(mixed) == statistics(data)


def test_few_rows_are_looked_at(monkeypatch):
    data = load(([f"text {i}" for i in range(3 * ROWS)], ["a", "b"] * (3 * ROWS // 2)))
    keys, taken = data.X.keys(data.rows), []
    monkeypatch.setattr(TextRows, "keys", lambda self, rows: keys[rows])
    take = TextRows.take
    monkeypatch.setattr(TextRows, "take", lambda self, rows: taken.append(len(rows)) or take(self, rows))
    statistics(data)
    assert sum(taken) == ROWS


def test_twenty_thousand_rows_take_no_time():
    texts = [f"a text of some words, as they come, number {i}" for i in range(20_000)]
    data = load((texts, [str(i % 77) for i in range(20_000)]), task="classification")
    data.fingerprint()
    features = made_features(np.random.default_rng(0).normal(size=(len(data), 384)))
    start = time.process_time()
    statistics(data, features)
    assert time.process_time() - start < 2.0  # 0.3 s on a quiet machine


def test_classes():
    found = statistics(load((["a", "b", "c", "d"] * 4, ["x", "y"] * 8)))
    assert found["rows"] == pytest.approx(np.log(16), abs=1e-6)
    assert found["classes"] == pytest.approx(np.log(2), abs=1e-6)
    assert found["rows_per_class"] == pytest.approx(np.log(8), abs=1e-6)
    assert found["entropy"] == 1.0
    uneven = statistics(load((["a", "b", "c", "d"] * 4, ["x"] * 12 + ["y"] * 4)))
    assert uneven["entropy"] == pytest.approx(-(0.75 * np.log2(0.75) + 0.25 * np.log2(0.25)), abs=1e-6)
    values = statistics(toy_data("regression"))
    assert values["classes"] is values["entropy"] is values["rows_per_class"] is None


def test_sizes_of_texts_and_their_script():
    found = statistics(load((["abcd", "中文字符", "ab 中文", "12345678"], ["x", "y", "x", "y"])))
    sizes = np.array([4, 4, 5, 8])
    assert found["size"] == pytest.approx(np.log1p(sizes.mean()), abs=1e-6)
    assert found["spread"] == pytest.approx(sizes.std() / sizes.mean(), abs=1e-6)
    assert found["cjk"] == pytest.approx(6 / 20)
    pairs = statistics(load(([("ab", "cd"), ("ef", "gh")] * 2, ["x", "y"] * 2)))
    assert pairs["size"] == pytest.approx(np.log1p(5), abs=1e-6)


def test_sizes_of_pictures_sounds_and_tables(tmp_path):
    from conftest import save_tones
    from PIL import Image

    assert statistics(toy_data("image"))["size"] == pytest.approx(np.log1p(144), abs=1e-6)
    for i in range(6):
        path = tmp_path / "pictures" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 10), (i, i, i)).save(path)
    assert statistics(load(tmp_path / "pictures"))["size"] == pytest.approx(np.log1p(200), abs=1e-6)
    assert statistics(load(save_tones(tmp_path / "tones")))["size"] == pytest.approx(np.log1p(0.2), abs=1e-6)
    table = statistics(toy_data("table"))
    assert (table["size"], table["numbers"], table["cjk"]) == (pytest.approx(np.log1p(4), abs=1e-6), 1.0, None)


def test_features_that_are_the_classes():
    data = toy_data("imbalanced", rows=60)
    found = statistics(data, made_features(np.eye(3)[data.y]))
    assert found["between"] == pytest.approx(1.0)
    assert found["linear"] == pytest.approx(1.0, abs=1e-3)
    assert np.exp(found["dimension"]) <= 2.0 + 1e-5  # three classes span a plane
    assert found["features_of"] == "x:y"


def test_dimension_is_the_participation_ratio():
    data = toy_data("text", rows=48)
    for width in (1, 4, 8):
        directions = np.concatenate([np.eye(width), -np.eye(width)])
        values = np.resize(np.repeat(directions, 3, axis=0), (48, width))  # 48 is a multiple of 6 times each width
        assert np.exp(statistics(data, made_features(values))["dimension"]) == pytest.approx(width, rel=1e-4)


@pytest.mark.parametrize("kind", ["text", "regression"])
def test_features_that_are_noise_say_nothing_of_rows_left_out(kind):
    data = toy_data(kind, rows=120)
    found = statistics(data, made_features(np.random.default_rng(0).normal(size=(120, 300))))
    assert found["linear"] < 0.1
    assert abs(found["between"]) < 0.005  # 1 / 119 of the variance is chance


def test_a_target_that_lies_in_the_features_is_explained():
    data = toy_data("regression", rows=120)
    found = statistics(data, made_features(np.stack([data.y, -2 * data.y], axis=1)))
    assert (found["between"], found["linear"]) == (pytest.approx(1.0, abs=1e-4), pytest.approx(1.0, abs=1e-3))


def test_features_of_some_rows_are_enough_and_none_are_none():
    data = toy_data("imbalanced", rows=60)
    part = data.select(np.arange(0, 60, 2))
    all_rows = np.eye(3)[data.y]
    some = statistics(data, made_features(all_rows).select(part.rows))
    assert some["between"] == pytest.approx(1.0)
    other = data.select(np.arange(15, 60))  # features of rows that are not there are not looked at
    assert statistics(other, made_features(all_rows))["linear"] is not None
    assert statistics(data, made_features(np.ones((60, 4))))["dimension"] is None  # nothing varies
    assert statistics(data, made_features(all_rows).select(part.rows[:2]))["dimension"] is None


def test_scores_relative_to_each_other():
    assert score_statistics({}) == {"classical": None, "lead": None}
    assert score_statistics({"majority": 1.0, "classical": 1.0})["classical"] is None
    assert score_statistics({"classical": 0.75, "probe": 0.5}) == {"classical": None, "lead": -0.25}


def test_rows_without_labels_are_no_task():
    with pytest.raises(DataError, match="no labels"):
        statistics(load(["a", "b"], labelled=False))
