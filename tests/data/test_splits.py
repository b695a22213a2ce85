import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graft.core.errors import DataError, UsageError
from graft.core.task import Task
from graft.core.types import Dataset
from graft.data.load import load
from graft.data.rows import TextRows
from graft.data.splits import few_shot, folds, holdout, leaks


def dataset(texts, y, groups=None):
    y = np.asarray(y)
    classes = tuple(f"c{i}" for i in range(int(y.max(initial=0)) + 1))
    groups = None if groups is None else np.asarray(groups)
    return Dataset(TextRows.of(texts), y, Task("classification", "text", classes), np.arange(len(y)), groups)


def unique(y):
    return dataset([f"text {i}" for i in range(len(y))], y)


def test_folds_are_stratified_disjoint_and_complete():
    y = np.repeat([0, 1, 2], [50, 31, 19])
    pairs = folds(unique(y), k=5, seed=0)
    assert sorted(np.concatenate([test for _, test in pairs]).tolist()) == list(range(100))
    for train, test in pairs:
        assert sorted([*train, *test]) == list(range(100))
        counts = np.bincount(y[test], minlength=3)
        assert np.abs(counts - np.array([50, 31, 19]) / 5).max() < 1
        assert abs(len(test) - 20) <= 1


def test_seeds_and_repeats():
    data = unique(np.arange(40) % 2)
    same = [[test.tolist() for _, test in folds(data, k=4, seed=seed, repeats=2)] for seed in (1, 1, 2)]
    assert same[0] == same[1] != same[2]
    assert len(same[0]) == 8
    assert same[0][:4] != same[0][4:]
    assert same[0][:4] == [test.tolist() for _, test in folds(data, k=4, seed=1)]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_input_and_no_group_is_on_both_sides(draw):
    n = draw.draw(st.integers(12, 60))
    texts = [f"t{draw.draw(st.integers(0, 25))}" for _ in range(n)]
    texts = [text if i % 2 else f"  {text.upper()} " for i, text in enumerate(texts)]
    y = [draw.draw(st.integers(0, 2)) for _ in range(n)]
    groups = [draw.draw(st.integers(0, 9)) for _ in range(n)] if draw.draw(st.booleans()) else None
    data = dataset(texts, y, groups)
    try:
        pairs = [*folds(data, k=3, seed=0), holdout(data, test=0.3, seed=0)]
    except DataError:
        return
    for train, test in pairs:
        assert not set(train.tolist()) & set(test.tolist())
        assert leaks(data.select(train), data.select(test)) == []
        if groups is not None:
            assert not set(data.groups[train].tolist()) & set(data.groups[test].tolist())


def test_with_groups_a_shared_row_is_kept_out_of_training():
    data = dataset(["same", "b", "c", "SAME", "e", "f"], [0, 1, 0, 0, 1, 0], groups=[0, 0, 0, 1, 1, 1])
    for train, test in folds(data, k=2, seed=0):
        assert len(test) == 3
        assert len(train) == 2


def test_small_classes_stay_in_training():
    y = np.array([0] * 20 + [1] * 20 + [2] * 2)
    for train, test in folds(unique(y), k=5, seed=0):
        assert {40, 41} <= set(train.tolist())
        assert not {40, 41} & set(test.tolist())
    train, _ = holdout(unique(np.array([0] * 9 + [1] * 9 + [2])), test=0.5, seed=0)
    assert 18 in train


def test_too_few_rows_are_refused():
    with pytest.raises(DataError, match="cannot be cut into 3 folds"):
        folds(dataset(["a"] * 6, [0, 1] * 3), k=3, seed=0)
    with pytest.raises(UsageError):
        folds(unique([0, 1]), k=1, seed=0)
    with pytest.raises(UsageError):
        holdout(unique([0, 1]), test=2, seed=0)


@pytest.mark.parametrize("test", [0.2, 20])
def test_holdout_by_share_or_number(test):
    y = np.repeat([0, 1], [70, 30])
    train, tested = holdout(unique(y), test=test, seed=3)
    assert np.bincount(y[tested]).tolist() == [14, 6]
    assert sorted([*train, *tested]) == list(range(100))


def test_few_shot_draws_by_class_and_seed():
    data = unique(np.repeat([0, 1, 2], [30, 20, 3]))
    rows = few_shot(data, 5, seed=0)
    assert np.bincount(data.y[rows]).tolist() == [5, 5, 3]
    assert rows.tolist() == few_shot(data, 5, seed=0).tolist() != few_shot(data, 5, seed=1).tolist()


def test_regression_folds_cover_all_rows():
    data = load(([f"text {i}" for i in range(30)], np.arange(30) * 0.5))
    assert sorted(np.concatenate([test for _, test in folds(data, k=3, seed=0)]).tolist()) == list(range(30))


def test_leaks_are_found_across_files_and_subsets():
    train, test = unique([0, 1, 0]), dataset(["x", "TEXT  1"], [0, 1])
    assert leaks(train, test) == [(1, 1)]
    assert leaks(train.select(np.array([2, 1])), test) == [(1, 1)]
    assert leaks(train, test.select(np.array([0]))) == []


def test_repeated_images_stay_together(folder):
    for i in (1, 2, 3):
        (folder / "cat" / f"{i}.png").write_bytes((folder / "cat" / "0.png").read_bytes())
    data = load(folder)
    assert any("3 row(s) repeat an earlier row" in note for note in data.notes)
    for train, test in folds(dataclasses.replace(data, y=np.zeros(8, int)), k=2, seed=0):
        assert leaks(data.select(train), data.select(test)) == []
