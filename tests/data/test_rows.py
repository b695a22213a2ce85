import numpy as np
import pyarrow as pa
import pytest

from graft.core.errors import DataError
from graft.core.types import Rows
from graft.data.columns import as_numbers, coded, take
from graft.data.rows import ImageRows, TableRows, TextRows


def chunked(*parts):
    return pa.chunked_array([pa.array(part, pa.large_string()) for part in parts])


def test_take_gathers_over_chunks_in_any_order():
    column = chunked(["a", "b"], [], ["c"], ["d", "e", "f"])
    for rows in ([5, 0, 2, 2, 1], [], [0, 1, 2, 3, 4, 5], [3]):
        assert take(column, np.array(rows, np.int64)).to_pylist() == ["abcdef"[i] for i in rows]


def test_digests_see_content_and_order_but_not_chunks():
    digest = TextRows([chunked(["ab", "c"])]).digest()
    assert TextRows([chunked(["ab"], ["c"])]).digest() == digest
    others = [chunked(["a", "bc"]), chunked(["c", "ab"]), chunked(["ab", "c", ""]), chunked(["ab", None])]
    assert len({digest, *(TextRows([other]).digest() for other in others)}) == 5
    table = TableRows({"a": chunked(["1", "2"])}, {"a": "number"}).digest()
    assert TableRows({"a": chunked(["1.0"], ["2"])}, {"a": "number"}).digest() == table
    assert TableRows({"a": chunked(["2", "1"])}, {"a": "number"}).digest() != table


def test_keys_fold_case_and_space_of_text_only():
    rows = TextRows.of(["A  b", " a B ", "ab", "Straße", "STRASSE"])
    keys = rows.keys(np.arange(5))
    assert keys[0] == keys[1] != keys[2]
    assert keys[3] == keys[4]
    pairs = TextRows.of([("a", "b"), ("a b", ""), ("A", "B")]).keys(np.arange(3))
    assert pairs[0] == pairs[2] != pairs[1]


def test_table_keys_tell_columns_missing_and_values_apart():
    columns = {"a": chunked(["1", "2", "1", "", "1.0"]), "b": chunked(["2", "1", None, "2", "2"])}
    keys = TableRows(columns, {"a": "number", "b": "number"}).keys(np.arange(5))
    assert keys[0] == keys[4]
    assert len(set(keys.tolist())) == 4


def test_every_storage_is_rows():
    for rows in (TextRows.of(["a"]), ImageRows([np.zeros((2, 2))]), TableRows({"a": chunked(["1"])}, {"a": "number"})):
        assert isinstance(rows, Rows)
        assert len(rows) == 1


def test_image_bytes_records_and_arrays(picture, tmp_path):
    picture(1).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    binary = ImageRows(pa.chunked_array([pa.array([data], pa.large_binary())]))
    record = ImageRows(pa.chunked_array([pa.array([{"bytes": None, "path": "a.png"}])]), tmp_path)
    np.testing.assert_array_equal(binary.take(np.array([0]))[0], np.asarray(picture(1)))
    assert binary.digest() == record.digest()
    with pytest.raises(DataError, match=r"unreadable image.*b\.png"):
        ImageRows(pa.chunked_array([pa.array(["b.png"])]), tmp_path).take(np.array([0]))


def test_numbers_as_people_write_them():
    values, strange = as_numbers(chunked([" 1 ", "+2.5", "-.5", "1e3", "NA", "", None, "?", "1,5", "inf", "x", "0x10"]))
    np.testing.assert_array_equal(values[:4], [1, 2.5, -0.5, 1000])
    assert np.isnan(values[4:]).all()
    assert strange.tolist() == [False] * 8 + [True] * 4


def test_labels_are_coded_with_missing_as_minus_one():
    names, codes = coded(chunked(["b", "", "a"], [None, " b ", "a"]))
    assert [names[i] if i >= 0 else None for i in codes] == ["b", None, "a", None, "b", "a"]
    assert "" not in names
