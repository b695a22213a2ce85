import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graft.core.errors import DataError, UsageError
from graft.data.load import load, recipe, stream

TEXT = recipe(load((["a b", "c d"], ["x", "y"])))
TABLE = recipe(load({"age": [1, 2, 3, 4], "city": list("LPLP"), "label": list("xyxy")}))


def test_a_recipe_is_json_and_enough():
    again = json.loads(json.dumps(TABLE))
    chunk = next(stream({"city": ["P"], "age": ["7"]}, again))
    assert chunk.data.take()["age"].tolist() == [7.0]
    assert chunk.data.task.classes == ("x", "y")


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.sampled_from([b"hello,x", b"a,b,c", b"alone", b"\xff,x", b",x", b'" ",y', b"n\0l,x", b"zwei,?"])),
    chunk=st.integers(1, 6),
)
def test_every_row_is_usable_or_bad_exactly_once(tmp_path_factory, rows, chunk):
    path = tmp_path_factory.mktemp("csv") / "d.csv"
    path.write_bytes(b"\n".join([b"text,label", *rows]) + b"\n")
    chunks = list(stream(path, TEXT, chunk=chunk))
    fine = [n for c in chunks for n in c.row_numbers.tolist()]
    bad = [n for c in chunks for n, _ in c.bad]
    assert sorted(fine + bad) == list(range(len(rows)))
    assert fine == [i for i, row in enumerate(rows) if row in {b"hello,x", b"zwei,?"}]
    assert bad == sorted(bad)
    assert [t for c in chunks for t in c.data.take()] == [rows[i].split(b",")[0].decode() for i in fine]
    assert all(len(c.row_numbers) + len(c.bad) <= chunk for c in chunks)


def test_labels_are_encoded_only_if_all_are_known(write):
    path = write("d.csv", "label,text\ny,one\nx,two\nq,three\n,four\n")
    first, second = stream(path, TEXT, chunk=2)
    assert first.data.y.tolist() == [1, 0]
    assert second.data.y is None
    assert second.labels.tolist() == ["q", ""]
    assert next(stream(["one"], TEXT)).labels is None


def test_json_lines_may_begin_with_bad_chunks(write):
    path = write("d.jsonl", '{"text":\n[]\n{"text": "fine"}\n{"other": 1}\n')
    chunks = list(stream(path, TEXT, chunk=1))
    assert [c.row_numbers.tolist() for c in chunks] == [[], [], [2], []]
    assert [n for c in chunks for n, _ in c.bad] == [0, 1, 3]


def test_a_word_among_numbers_is_bad_and_an_empty_cell_is_not(write):
    path = write("d.csv", "age,city\n1,L\nold,P\n,new\n")
    (chunk,) = stream(path, TABLE)
    assert chunk.bad == [(1, "column 'age': 'old' is not a number")]
    assert chunk.row_numbers.tolist() == [0, 2]
    assert np.isnan(chunk.data.take()["age"][1])


def test_a_missing_column_is_an_error_at_once(write):
    with pytest.raises(DataError, match=r"no input column 'city'.*did you mean 'City'"):
        next(stream(write("d.csv", "age,City\n1,L\n"), TABLE))
    with pytest.raises(DataError, match="no input column 'text'"):
        next(stream(write("d.csv", "age,city\n1,L\n"), TEXT))


def test_images_from_a_folder_without_classes(folder):
    like = recipe(load(folder))
    (folder / "dog" / "6.png").write_bytes(b"no image")
    chunks = list(stream(folder / "dog", like, chunk=3))
    assert [c.row_numbers.tolist() for c in chunks] == [[0, 1], [3]]
    assert chunks[0].bad == [(2, "unreadable image (6.png: not an image)")]
    (labelled,) = stream(folder, like)
    assert labelled.data.labels.tolist() == ["cat"] * 4 + ["dog"] * 3
    assert next(stream(np.zeros((2, 4, 4, 3), np.uint8), like)).data.take()[0].shape == (4, 4, 3)


def test_images_are_no_texts(folder):
    with pytest.raises(DataError, match="images cannot be read by a model of text"):
        next(stream(folder, TEXT))


def test_files_are_opened_at_the_call_and_sizes_checked():
    with pytest.raises(DataError, match="no such file"):
        stream("nowhere.csv", TEXT)
    with pytest.raises(UsageError):
        stream(["a"], TEXT, chunk=0)


def test_pairs_keep_a_row_with_one_empty_side():
    like = recipe(load(([("a", "b"), ("c", "d")], ["x", "y"])))
    (chunk,) = stream([("one", ""), (" ", ""), ("two", "three")], like)
    assert chunk.data.take() == [("one", ""), ("two", "three")]
    assert chunk.bad == [(1, "empty text")]
