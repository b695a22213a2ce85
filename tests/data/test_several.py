"""Labels of which a row has several: every form they come in, and splits that keep their shares."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from graft.core.errors import DataError
from graft.data.load import load, recipe, stream
from graft.data.several import separator_of
from graft.data.splits import few_shot, folds, holdout

ROWS = ["red", "red;blue", "", "blue;green", "green", "red;green", "blue", "red;blue;green"] * 4
TEXTS = [f"some words of row number {i}" for i in range(len(ROWS))]
LISTS = [[name for name in row.split(";") if name] for row in ROWS]
NAMES = ("blue", "green", "red")
Y = np.array([[float(name in row) for name in NAMES] for row in LISTS])


def table(cells, header="text,topics"):
    return header + "\n" + "".join(f"{text},{cell}\n" for text, cell in zip(TEXTS, cells, strict=True))


def forms(folder):
    (folder / "semicolon.csv").write_text(table(ROWS))
    (folder / "comma.csv").write_text(table([f'"{row.replace(";", ", ")}"' for row in ROWS]))
    (folder / "bar.tsv").write_text(table([row.replace(";", "|") for row in ROWS]).replace(",", "\t"))
    lines = [json.dumps({"text": text, "labels": row}) for text, row in zip(TEXTS, LISTS, strict=True)]
    (folder / "lists.jsonl").write_text("\n".join(lines))
    pq.write_table(pa.table({"text": TEXTS, "labels": LISTS}), folder / "lists.parquet")
    return [
        *((folder / name, {}) for name in ("semicolon.csv", "comma.csv", "bar.tsv", "lists.jsonl", "lists.parquet"))
    ]


def test_every_form_gives_the_same_targets(tmp_path):
    (tmp_path / "columns.csv").write_text(
        "text,red,blue,green\n"
        + "".join(f"{t},{int(r)},{int(b)},{int(g)}\n" for t, (b, g, r) in zip(TEXTS, Y, strict=True))
    )
    found = [
        *forms(tmp_path),
        (tmp_path / "columns.csv", {"label": "red,blue,green"}),
        (tmp_path / "columns.csv", {"label": ["green", "red", "blue"]}),
        ((TEXTS, LISTS), {}),
        ((TEXTS, [set(row) for row in LISTS]), {}),
        ((TEXTS, pd.DataFrame(Y.astype(int), columns=NAMES)), {}),
        (pd.DataFrame({"text": TEXTS, "labels": LISTS}), {}),
    ]
    for source, options in found:
        data = load(source, **options)
        assert data.task.kind == "multilabel", source
        assert data.task.classes == NAMES
        assert np.array_equal(data.y, Y), source
        assert any("several labels per row" in note for note in data.notes)
        assert any("4 row(s) have no label at all" in note for note in data.notes)
    assert load(found[0][0]).task.separator == ";"
    assert load((TEXTS, Y.astype(int))).task.classes == ("0", "1", "2")


def test_lists_of_class_numbers_take_the_names_of_a_hub_data_set():
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"text": datasets.Value("string"), "topics": datasets.Sequence(datasets.ClassLabel(names=list(NAMES)))}
    )
    numbers = [[NAMES.index(name) for name in row] for row in LISTS]
    data = load(datasets.Dataset.from_dict({"text": TEXTS, "topics": numbers}, features=features), label="topics")
    assert np.array_equal(data.y, Y)


def test_cells_are_split_only_where_pieces_repeat():
    def of(*cells):
        return separator_of(pa.chunked_array([pa.array(cells, pa.large_string())]))

    assert of("a;b", "a", "b;c", "c") == ";"
    assert of("Smith, John", "Doe, Jane", "Smith, John", "Doe, Jane") is None  # names, not labels
    assert of("1,5", "2,5", "1,2", "5,2", "1") is None  # decimal numbers
    assert of("yes", "no") is None
    assert of("one, a long sentence about things that go on and on and on", "x", "y") is None
    data = load((TEXTS, [row.replace(";", " & ") or "none" for row in ROWS]))
    assert data.task.kind == "classification"
    assert load((TEXTS, [row or "none" for row in ROWS]), task="classification").task.outputs == 8
    forced = load((TEXTS[:4], ["a|b", "a|b", "c", "d"]), task="multilabel")
    assert (forced.task.classes, forced.task.separator) == (("a", "b", "c", "d"), "|")


def test_other_files_follow_the_first(tmp_path):
    paths = [path for path, _ in forms(tmp_path)]
    data = load(paths[0])
    (tmp_path / "new.csv").write_text("text,topics\none,red;pink\ntwo,\nthree,pink\n")
    again = load(tmp_path / "new.csv", like=data)
    assert again.y.tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 0]]
    assert "1 label(s) that the model does not know are passed over: pink (2)" in again.notes
    chunk = next(stream(tmp_path / "new.csv", recipe(data)))
    assert np.array_equal(chunk.data.y, again.y)
    (tmp_path / "wide.csv").write_text("text,red,blue,green\none,1,0,yes\n")
    assert load(tmp_path / "wide.csv", like=data).y.tolist() == [[0, 1, 1]]
    assert next(stream(tmp_path / "wide.csv", recipe(data))).data.y.tolist() == [[0, 1, 1]]
    assert next(stream(["nothing but a text"], recipe(data))).data.y is None


def test_what_is_strange_is_said(tmp_path):
    data = load((TEXTS[:6], [["a", "all"], ["all"], ["b", "all"], ["once", "all"], ["a", "all"], ["b", "all"]]))
    assert any("1 label(s) with one row can be trained on but not scored: once" in note for note in data.notes)
    assert any("1 label(s) on every row: nothing to learn: all" in note for note in data.notes)
    partly = load((TEXTS[:5], [["a"], None, ["b"], [], ["a", "b"]]), partly=True)
    assert partly.task.known(partly.y).tolist() == [True, False, True, True, True]
    assert len(load((TEXTS[:5], [["a"], None, ["b"], [], ["a", "b"]]))) == 4
    twice = load((["one text"] * 2 + TEXTS[:3], [["a"], ["b"], ["a", "b"], [], ["a"]]))
    assert any("1 repeated row(s) have different labels" in note for note in twice.notes)
    (tmp_path / "wide.csv").write_text("text,a,b\none,1,0\ntwo,0,2\nthree,,1\nfour,0,1\n")
    with pytest.raises(DataError, match="label column 'b' holds 2, not 0 and 1"):
        load(tmp_path / "wide.csv", label="a,b")
    with pytest.raises(DataError, match="no label column 'c'"):
        load(tmp_path / "wide.csv", label="a,c")
    with pytest.raises(DataError, match="only one label"):
        load((TEXTS[:3], [["a"], [], ["a"]]))
    with pytest.raises(DataError, match="rows but 2 lists of labels"):
        load((TEXTS[:3], [["a"], ["b"]]))


def test_splits_keep_the_share_of_every_label():
    rng = np.random.default_rng(0)
    names = np.array([f"l{i}" for i in range(8)])
    lists = [names[rng.random(8) < 1 / np.arange(2, 10)].tolist() for _ in range(300)]
    lists[0] = [*lists[0], "once"]
    data = load(([f"text {i // 2 if i < 40 else i}" for i in range(300)], lists))
    once = data.task.classes.index("once")
    whole = np.delete(data.y.mean(axis=0), once)
    for train, test in folds(data, k=5, seed=0):
        assert np.abs(np.delete(data.y[test].mean(axis=0), once) - whole).max() < 0.035
        assert not data.y[test, once].any()  # it could not be learned
        assert not set(data.X.keys(data.rows[train])) & set(data.X.keys(data.rows[test]))
    tested = np.concatenate([test for _, test in folds(data, k=5, seed=0)])
    assert len(tested) == len(np.unique(tested)) >= 298  # all but the row, or its copy, that has a label of its own
    _, test = holdout(data, test=0.2, seed=1)
    assert np.abs(np.delete(data.y[test].mean(axis=0), once) - whole).max() < 0.05
    few = data.y[few_shot(data, 3, seed=0)].sum(axis=0)
    assert (np.delete(few, once) >= 3).all()
    assert few[once] == 1
