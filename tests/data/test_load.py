import gzip
import json

import numpy as np
import pyarrow as pa
import pytest

from graft.core.errors import DataError, UsageError
from graft.data import columns
from graft.data.load import load, recipe


def test_csv_with_guessed_columns(write, good):
    data = load(write("d.csv", good))
    assert (len(data), data.task.modality, data.task.classes, data.columns) == (6, "text", ("a", "b"), ("text",))
    assert data.take(slice(1, 3)) == ["some short text number 1 here", "some short text number 2 here"]
    assert data.labels.tolist() == list("ababab")
    assert data.line_of.tolist() == [2, 3, 4, 5, 6, 7]
    assert "column 'label' is taken as the label" in data.notes


def test_every_form_of_the_same_rows_is_the_same_data(write, good, tmp_path):
    pandas = pytest.importorskip("pandas")
    rows = [line.split(",") for line in good.splitlines()[1:]]
    frame = pandas.DataFrame(rows, columns=["text", "label"])
    frame.to_parquet(tmp_path / "d.parquet")
    records = [dict(zip(("text", "label"), row, strict=True)) for row in rows]
    forms = [
        write("d.csv", good), write("d.csv.gz", gzip.compress(good.encode())), write("d.tsv", good.replace(",", "\t")),
        write("d.jsonl", "\n".join(map(json.dumps, records))), write("d.json", json.dumps(records)),
        tmp_path / "d.parquet", frame, pa.Table.from_pandas(frame),
        ([row[0] for row in rows], [row[1] for row in rows]),
        (np.array([row[0] for row in rows]), np.array([row[1] for row in rows])),
    ]  # fmt: skip
    assert len({load(form).fingerprint() for form in forms}) == 1


def test_hugging_face_dataset_with_class_names_and_selection():
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(text=datasets.Value("string"), label=datasets.ClassLabel(names=["no", "yes"]))
    rows = {"text": [f"the {i} text of them" for i in range(6)], "label": [0, 1, 0, 1, -1, 1]}
    data = load(datasets.Dataset.from_dict(rows, features=features).select([5, 4, 0, 1]))
    assert data.labels.tolist() == ["yes", "no", "yes"]
    assert data.take()[0] == "the 5 text of them"


def test_large_files_are_memory_mapped_and_equal(write, good, monkeypatch, tmp_path):
    path = write("d.csv", good * 1 + "".join(f"another text number {i} there,a\n" for i in range(2000)))
    small = load(path)
    monkeypatch.setattr(columns, "MEMORY", 1000)
    big = load(path, workdir=tmp_path / "work")
    assert len(list((tmp_path / "work").glob("*.arrow"))) == 1
    assert big.fingerprint() == small.fingerprint()
    rows = np.array([2000, 3, 3, 0])
    assert big.take(rows) == small.take(rows)


def test_temporary_files_go_away_with_the_data(write, good, monkeypatch):
    monkeypatch.setattr(columns, "MEMORY", 10)
    data = load(write("d.csv", good))
    folder = data.X.owner.path
    assert folder.exists()
    del data
    assert not folder.exists()


def test_an_unwritable_workdir_is_said(write, good, monkeypatch):
    monkeypatch.setattr(columns, "MEMORY", 10)
    with pytest.raises(OSError, match="cannot write"):
        load(write("d.csv", good), workdir=write("file", "x"))


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        ("text,label\n", {}, ["no rows", "only a header"]),
        ("text,label\na b c,\nd e f, \n", {}, ["label column 'label' is empty"]),
        ("text,label\na b c,x\nd e f,x\n", {}, ["only one class", "'x'", "d.csv"]),
        ("text,label\na b c,x\nd e f,y\n", {"label": "lable"}, ["no label column 'lable'", "did you mean 'label'"]),
        ("text,label\na b c,x\nd e f,y\n", {"inputs": "txt"}, ["no input column 'txt'", "did you mean 'text'"]),
        ("text,label\na b c,x\nd e f,y\n", {"group": "who"}, ["no group column 'who'", "text, label"]),
        ("a,b\nfoo bar baz,some words here\nmore words yes,other things too\n", {}, ["no label column found", "a, b"]),
        ("text,label\na b,x\nc,d,y\ne\n", {}, ["3 cells, the header has 2", "line 3", "also line 4", "--bad-rows"]),
        ('text,label\na b,x\nc d,"y\ne f,x\n', {"bad_rows": "drop"}, ["never closed", "line 3"]),
        ("text,label\na\nb\nc,x\n", {"bad_rows": "drop"}, ["2 of 3 rows cannot be read", "line 2"]),
        ("text,label\na b,x\nc\0d,y\n", {}, ["NUL", "line 3"]),
        ("text,label\na b,x\n中文字,y\n".encode("gb18030"), {}, ["line 3", "0xd6", "--encoding gb18030"]),
        ("text,label\na b,x\nd\xe9j\xe0 vu,y\n".encode("latin-1"), {}, ["line 3", "position 2", "latin-1"]),
        ("text,y\na b,1.5\nc d,x\ne f,2.5\n", {"task": "regression"}, ["'x' is not a number", "line 3"]),
        ("text,label\n,x\n ,y\na b c,x\n", {}, ["2 of 3 rows cannot be used", "empty text"]),
    ],
)  # fmt: skip
def test_bad_data_is_one_clear_line(write, content, options, words):
    with pytest.raises(DataError) as caught:
        load(write("d.csv", content), **options)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("options", [{"encoding": "utf-88"}, {"modality": "txt"}, {"bad_rows": "x"}, {"task": "rank"}])
def test_wrong_options_are_named(write, good, options):
    with pytest.raises((UsageError, DataError), match=next(iter(options.values()))):
        load(write("d.csv", good), **options)


@pytest.mark.parametrize(
    "source", [5, [1, 2], None, (["a b", "c d"], ["x"]), (np.zeros((2, 4, 4), object), ["x", "y"])]
)
def test_objects_that_are_no_data(source):
    with pytest.raises(DataError):
        load(source)


def test_what_is_left_out_is_noted_with_lines(write):
    rows = ["a b c,x", "d e f,x", "g h i,y", "a  B c,x", "d e f,z", ",x", "foo bar,", '" ",y']
    data = load(write("d.csv", "text,label\n" + "\n".join(rows) + "\n"))
    assert data.take() == ["a b c", "d e f", "g h i", "a  B c", "d e f"]
    notes = " / ".join(data.notes)
    assert "2 row(s) left out: empty text (lines 7, 9)" in notes
    assert "1 row(s) without a label left out (line 8)" in notes
    assert "2 row(s) repeat an earlier row (lines 5, 6)" in notes
    assert "1 repeated row(s) have different labels (lines 3 and 6)" in notes
    assert "2 class(es) with one row can be trained on but not scored: y, z" in notes


def test_dropping_ragged_rows_keeps_line_numbers(write):
    data = load(write("d.csv", "text,label\na b,x\nc,d,y\ne f,y\n"), bad_rows="drop")
    assert data.line_of[data.rows].tolist() == [2, 4]
    assert "1 unreadable row(s) left out: line 3 (3 cells, the header has 2)" in data.notes


def test_labels_are_trimmed_and_numbers_named_alike(write):
    assert load(write("d.csv", "text,label\na b c, x \nd e f,x\ng h i,y\n")).task.classes == ("x", "y")
    assert load((["a b", "c d", "e f"], [1.0, np.nan, 2.0])).task.classes == ("1", "2")
    assert load((["a b", "c d"], [True, False])).task.classes == ("False", "True")


def test_regression(write):
    rows = "".join(f"text of {i} words,{i * 0.5}\n" for i in range(30)) + "no number,\n"
    data = load(write("d.csv", "text,score\n" + rows))
    assert data.task.kind == "regression"
    np.testing.assert_allclose(data.labels, np.arange(30) * 0.5, atol=1e-12)


def test_imbalance_sets_the_metric_as_the_task_itself_would():
    labels = ["a"] * 10 + ["b"] * 3
    data = load(([f"t {i}" for i in range(13)], labels))
    assert data.task == type(data.task).infer(np.array(labels), modality="text")
    assert data.task.metric == "macro_f1"


def test_like_follows_columns_and_classes(write, good):
    train = load(write("d.csv", good))
    test = load(write("t.csv", "label,other,text\nb,1,hello there you\n"), like=recipe(train))
    assert test.take() == ["hello there you"]
    assert (test.y.tolist(), test.task) == ([1], train.task)
    with pytest.raises(DataError, match=r"label 'c' is not a class of the model \[t.csv, line 3\]; classes: a, b"):
        load(write("t.csv", "label,text\nb,hello there\nc,you\n"), like=train)
    with pytest.raises(DataError, match=r"no input column 'text'.*did you mean 'texts'"):
        load(write("t.csv", "label,texts\nb,hello there\n"), like=train)


def test_a_missing_group_is_named_also_with_like(write, good):
    train = load(write("d.csv", good))
    with pytest.raises(DataError, match="no group column 'who'"):
        load(write("t.csv", good), like=train, group="who")


def test_unlabelled(write):
    data = load(write("d.csv", "text\nhello there\nyou\n"), labelled=False)
    assert (data.y, data.take()) == (None, ["hello there", "you"])


def test_groups_are_read_and_a_missing_group_stands_alone(write):
    rows = ["a b c,x,p", "d e f,y,q", "g h i,x,p", "j k l,y,", "m n o,y,"]
    data = load(write("d.csv", "text,label,who\n" + "\n".join(rows) + "\n"), group="who")
    assert data.groups[0] == data.groups[2]
    assert len(set(data.groups.tolist())) == 4
    assert data.columns == ("text",)


def test_image_folder(folder):
    data = load(folder)
    assert (data.task.modality, data.task.classes, len(data)) == ("image", ("cat", "dog"), 8)
    assert [image.shape for image in data.take(slice(0, 2))] == [(10, 12, 3)] * 2
    assert data.labels.tolist() == ["cat"] * 4 + ["dog"] * 4


def test_broken_images_are_left_out_by_name_and_refused_when_most(folder):
    (folder / "cat" / "0.png").write_bytes(b"")
    (folder / "dog" / "5.png").write_bytes((folder / "dog" / "5.png").read_bytes()[:60])
    data = load(folder)
    assert len(data) == 6
    assert any("2 image(s) left out" in note and "0.png: empty file" in note and "5.png" in note for note in data.notes)
    for i in (1, 2, 3, 6, 7):
        (folder / ("cat" if i < 4 else "dog") / f"{i}.png").write_bytes(b"text")
    with pytest.raises(DataError, match=r"7 of 8 rows cannot be used.*unreadable image \(0.png: empty file\)"):
        load(folder)


def test_csv_of_image_paths(folder, write):
    lines = [f"pictures/{path.parent.name}/{path.name},{path.parent.name}" for path in sorted(folder.rglob("*.png"))]
    data = load(write("d.csv", "\n".join(["file,kind", *lines, "pictures/no.png,cat"])), label="kind")
    assert (data.task.modality, data.columns, len(data)) == ("image", ("file",), 8)
    assert any("no.png: no such file" in note for note in data.notes)
    np.testing.assert_array_equal(data.take()[3], load(folder).take()[3])
    assert data.X.keys(data.rows).tolist() == load(folder).X.keys(np.arange(8)).tolist()


def test_folders_that_are_no_data(tmp_path, folder, write, good):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images or sounds in this folder"):
        load(tmp_path / "empty")
    with pytest.raises(DataError, match=r"it holds 'd.csv': pass that file"):
        load(write("texts/d.csv", good).parent)
    with pytest.raises(DataError, match="one folder per class"):
        load(folder / "cat")
    (tmp_path / "split").mkdir()
    folder.rename(tmp_path / "split" / "train")
    (tmp_path / "split" / "val").mkdir()
    with pytest.raises(DataError, match=r"splits \(train, val\).*pass one of them.*train"):
        load(tmp_path / "split")


def test_arrays_of_more_than_one_block():
    images = np.zeros((70_000, 1, 1), np.uint8)
    images[-1] = 9
    data = load(images, labelled=False)
    assert (len(data), data.take(slice(-1, None))[0].max()) == (70_000, 9)


def test_arrays():
    images = np.random.default_rng(0).integers(0, 256, (4, 6, 5, 3), dtype=np.uint8)
    data = load((images, list("xyxy")))
    np.testing.assert_array_equal(data.take()[2], images[2])
    assert load((images[..., 0], list("xyxy"))).take()[0].shape == (6, 5, 3)
    table = load((np.array([[1.0, np.nan], [2.5, 4.0]]), ["x", "y"]))
    assert (table.task.modality, table.columns) == ("table", ("x0", "x1"))
    assert np.isnan(table.take()["x1"][0])
