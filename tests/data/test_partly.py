"""Rows of which only some have a label."""

import numpy as np
import pytest

from graft.core.errors import DataError
from graft.data.load import load


def test_rows_without_a_label_stay_where_asked(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "".join(f"row number {i},{'ab'[i % 2] if i < 6 else ''}\n" for i in range(20)))
    data = load(path, partly=True)
    assert len(data) == 20
    assert data.y.tolist() == [0, 1, 0, 1, 0, 1] + [-1] * 14
    assert data.task.classes == ("a", "b")
    assert any(note.startswith("14 row(s) without a label (lines 8,") for note in data.notes)
    whole = load(path)
    assert len(whole) == 6
    assert any("left out" in note for note in whole.notes)


def test_values_that_are_not_known_are_not_a_number():
    y = [0.5 * i if i < 30 else None for i in range(40)]
    data = load((np.random.default_rng(0).normal(size=(40, 2)), y), partly=True)
    assert np.isnan(data.y).tolist() == [i >= 30 for i in range(40)]
    assert np.allclose(data.task.decode(data.y[:30]), y[:30])


def test_pictures_beside_the_folders_of_classes_have_no_label(tmp_path):
    from PIL import Image

    for name in ("a/1", "a/2", "b/1", "b/2", "3", "4"):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), len(name) * 20, np.uint8)).save(path)
    data = load(tmp_path, partly=True)
    assert sorted(data.y.tolist()) == [-1, -1, 0, 0, 1, 1]
    assert len(load(tmp_path)) == 4


def test_no_label_at_all_is_an_error():
    with pytest.raises(DataError, match="empty"):
        load((["one", "two"], [None, None]), partly=True)
