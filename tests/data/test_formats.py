import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graft.core.errors import DataError
from graft.data.formats import blocks


def read(path, **options):
    parts = list(blocks(path, **options))
    names = parts[0].table.column_names
    rows = [tuple(row[name] for name in names) for part in parts for row in part.table.to_pylist()]
    return rows, [n for p in parts for n in p.numbers.tolist()], [x for p in parts for x in p.lines.tolist()], parts


@pytest.mark.parametrize("rows", [1, 2, 3, 100])
def test_line_numbers_count_lines_inside_quotes(write, rows):
    path = write("d.csv", 'text,label\n"a\nb",1\n\n"c ""q"" d",2\ne,3\n')
    got, numbers, lines, _ = read(path, rows=rows)
    assert got == [("a\nb", "1"), ('c "q" d', "2"), ("e", "3")]
    assert numbers == [0, 1, 2]
    assert lines == [2, 5, 6]


def test_ragged_rows_are_named_by_line_and_keep_their_number(write):
    _, numbers, lines, parts = read(write("d.csv", "a,b\n1,2\n1,2,3\n4\n5,6\n"))
    assert (numbers, lines) == ([0, 3], [2, 5])
    assert parts[0].bad == ((1, 3, "3 cells, the header has 2"), (2, 4, "1 cell, the header has 2"))


def test_a_bad_byte_spoils_its_row_only(write):
    got, _, _, parts = read(write("d.csv", b'a,b\n1,2\n"x\n\xff",2\n3,4\n"\xfe\ny",5\n'))
    assert got == [("1", "2"), ("3", "4")]
    reasons = ("byte 0xff at position 1 is not utf-8", "byte 0xfe at position 2 is not utf-8")
    assert parts[0].bad == ((1, 3, reasons[0]), (3, 6, reasons[1]))


def test_nul_bytes_spoil_their_row(write):
    assert read(write("d.csv", "a,b\n1,2\n3\0,4\n"))[3][0].bad == ((1, 3, "NUL byte at character 2"),)


def test_unclosed_quote_is_found_where_it_opens(write):
    assert read(write("d.csv", 'a,b\n1,2\n3,"4\n5,6\n'))[3][0].bad[0][1:] == (
        3,
        "a quote is opened here and never closed",
    )


def test_a_cell_of_a_megabyte_is_read_and_the_limit_put_back(write):
    import csv

    before = csv.field_size_limit()
    got, *_ = read(write("d.csv", f"a,b\n{'x' * 1_000_000},2\n"))
    assert len(got[0][0]) == 1_000_000
    assert csv.field_size_limit() == before


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_byte_order_mark_do_not_show(write, end, mark):
    got, _, lines, parts = read(write("d.csv", mark + end.join(["a,b", "1,2", "3,4"])))
    assert parts[0].table.column_names == ["a", "b"]
    assert (got, lines) == ([("1", "2"), ("3", "4")], [2, 3])


@pytest.mark.parametrize("encoding", ["gb18030", "latin-1", "utf-16", "shift_jis"])
def test_encodings(write, encoding):
    text = "é" if encoding == "latin-1" else "日本"
    assert read(write("d.csv", f"a,b\n{text},2\n".encode(encoding)), encoding=encoding)[0] == [(text, "2")]


def test_semicolons_and_tabs(write):
    assert read(write("d.csv", "a;b\n1;2\n"))[0] == [("1", "2")]
    assert read(write("d.tsv", "a\tb\n1,5\t2\n"))[0] == [("1,5", "2")]


def test_json_lines(write):
    content = '{"a": "x", "b": 1}\n\n{"b": true, "c": [1]}\n{"a": \n[1]\n{"a": "\\ud83d"}\n'
    got, numbers, lines, parts = read(write("d.jsonl", content))
    assert got == [("x", "1", None), (None, "True", "[1]")]
    assert (numbers, lines) == ([0, 1], [1, 3])
    assert [(bad.number, bad.line) for bad in parts[0].bad] == [(2, 4), (3, 5), (4, 6)]
    assert parts[0].bad[1].reason == "a JSON list, not an object"


def test_json_list_and_json_with_one_object_per_line(write):
    records = [{"a": "x"}, {"a": None}]
    assert read(write("d.json", json.dumps(records)))[0] == [("x",), (None,)]
    assert read(write("e.json", "\n".join(map(json.dumps, records))))[0] == [("x",), (None,)]


def test_parquet_is_read_in_batches_with_row_numbers(tmp_path):
    table = pa.table({"a": pa.array(["x", None, "z"]).dictionary_encode(), "b": [1, 2, 3]})
    pq.write_table(table, tmp_path / "d.parquet")
    got, numbers, lines, parts = read(tmp_path / "d.parquet", rows=2)
    assert got == [("x", 1), (None, 2), ("z", 3)]
    assert (numbers, lines, len(parts)) == ([0, 1, 2], [1, 2, 3], 2)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("d.csv", "", ["empty"]),
        ("d.csv", "\n\n", ["empty"]),
        ("d.csv", "a,b,a\n1,2,3\n", ["two columns", "'a'"]),
        ("d.csv", "a\ufeff,b\n".encode("utf-16"), ["utf-16", "--encoding utf-16"]),
        ("d.csv", "文本,标签\n".encode("gb18030"), ["line 1", "--encoding gb18030"]),
        ("d.csv", "caf\u00e9,b\n".encode("latin-1"), ["0xe9", "position 4", "line 1", "latin-1"]),
        ("d.csv", 'a,"b\n1,2\n', ["header", "never closed"]),
        ("d.json", '[{"a": 1},\n {"a" 2}]', ["invalid JSON", "line 2", "column 7"]),
        ("d.json", '{"a": 1}', ["no list"]),
        ("d.parquet", "x", ["not a Parquet file"]),
        ("d.xlsx", "x", ["unknown format", ".parquet"]),
        ("d.csv.gz", "a,b\n", ["gzip"]),
        ("d.csv.gz", gzip.compress(b"a,b\n" + b"1,2\n" * 50_000)[:-9], ["cut short", "line"]),
    ],
)
def test_what_cannot_be_read_is_one_clear_line(write, name, content, words):
    with pytest.raises(DataError) as caught:
        list(blocks(write(name, content)))
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_a_missing_file_names_its_neighbour(write):
    path = write("train.csv", "a\n1\n")
    with pytest.raises(DataError, match=r"did you mean 'train.csv'"):
        list(blocks(path.with_name("trian.csv")))


cells = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(cells, cells), max_size=12), size=st.integers(1, 5))
def test_every_csv_row_comes_back_once(tmp_path_factory, rows, size):
    import csv

    path = tmp_path_factory.mktemp("csv") / "d.csv"
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, quoting=csv.QUOTE_ALL)
        writer.writerows([("a", "b"), *rows])
    parts = list(blocks(path, rows=size))
    assert [tuple(row.values()) for part in parts for row in part.table.to_pylist()] == rows
    assert np.concatenate([[], *(part.numbers for part in parts)]).tolist() == list(range(len(rows)))
    assert all(len(part.numbers) + len(part.bad) <= size for part in parts)
