"""Partly labelled data in every form, sheets, and labels that come back: nothing is lost, and errors are one line."""

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from graft.active.answers import checked, write_labelled
from graft.active.labeller import Proposal
from graft.active.reading import read_partly, with_labels
from graft.active.sheet import lines_of, read_answers, shown, write_sheet
from graft.core.errors import DataError, GraftError, OutputError, UsageError
from graft.data.load import load

TEXTS = [f"the {'parcel' if i % 2 else 'card'} number {i}, with a comma" for i in range(12)]
LABELS = ["card", "parcel", "card", "parcel"]


def put(folder, name, rows):
    """Rows (dicts) in the form that the name says."""
    path = folder / name
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter={".tsv": "\t"}.get(path.suffix, ","))
            writer.writeheader()
            writer.writerows(rows)
    return path


def rows(labels=LABELS, **more):
    return [
        {"id": i, "text": text, "intent": labels[i] if i < len(labels) else None, **more}
        for i, text in enumerate(TEXTS)
    ]


def sheet(folder, partly, labels, positions=None, name="sheet.csv"):
    """A sheet with labels of the rows at these positions."""
    places = list(range(4, 4 + len(labels))) if positions is None else positions
    lines = lines_of(
        partly.data, [Proposal(i, int(partly.data.rows[i]), None, None, "why") for i in places], partly.label
    )
    for line, label in zip(lines, labels, strict=True):
        line[partly.label] = label
    write_sheet(folder / name, lines)
    return folder / name


def merged(folder, source, labels, out, **options):
    partly = read_partly(str(source))
    answers, _ = read_answers(sheet(folder, partly, labels), partly.label)
    write_labelled(str(source), out, partly.label, checked(partly, answers), **options)
    return read_partly(str(out))


@pytest.mark.parametrize("name", ["d.csv", "d.tsv", "d.jsonl", "d.json", "d.parquet"])
def test_labels_come_back_into_every_form(tmp_path, name):
    source = put(tmp_path, name, rows(note='kept "as it is"'))
    before = source.read_bytes()
    out = tmp_path / ("new" + (".jsonl" if name == "d.json" else source.suffix))
    made = merged(tmp_path, source, ["parcel", "", "card"], out)
    assert source.read_bytes() == before
    assert made.labelled.tolist() == [True] * 5 + [False, True] + [False] * 5
    assert made.data.select(made.labelled).labels.tolist() == [*LABELS, "parcel", "card"]
    assert made.data.take() == TEXTS
    kept = load(str(out), labelled=False, inputs="note").take()
    assert list(kept) == ['kept "as it is"'] * 12 or set(kept["note"]) == {'kept "as it is"'}


def test_json_keys_that_came_late_are_kept(tmp_path):
    items = [*rows(), {"id": 12, "text": "one more", "late": [1, {"deep": True}]}]
    source = put(tmp_path, "d.jsonl", items)
    merged(tmp_path, source, ["card"], tmp_path / "new.jsonl")
    written = [json.loads(line) for line in (tmp_path / "new.jsonl").read_text().splitlines()]
    assert written[12] == items[12]
    assert written[4] == {**items[4], "intent": "card"}
    assert written[0]["id"] == 0


def test_folders_and_plain_text_become_a_table(tmp_path):
    (tmp_path / "d.txt").write_text("\n".join(TEXTS) + "\n")
    made = merged(tmp_path, tmp_path / "d.txt", ["parcel", "card"], tmp_path / "new.csv")
    assert made.label == "label"
    assert made.labelled.sum() == 2
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for i in range(12):
        Image.fromarray(np.full((8, 8, 3), i * 20, np.uint8)).save(pictures / f"{i:02d}.png")
    made = merged(tmp_path, pictures, ["dark", "light"], tmp_path / "images.csv")
    assert (made.data.task.modality, int(made.labelled.sum())) == ("image", 2)
    assert np.array_equal(made.data.take()[7], load(str(pictures), labelled=False).take()[7])


@pytest.mark.parametrize(
    ("labels", "known"), [(LABELS, ("card", "parcel")), (["card"] * 3, ("card",)), ([], ()), ([" "], ())]
)
def test_any_number_of_labels_can_be_there(tmp_path, labels, known):
    partly = read_partly(str(put(tmp_path, "d.csv", rows(labels))))
    assert partly.classes == known
    assert partly.label == "intent"
    assert int(partly.labelled.sum()) == sum(bool(label.strip()) for label in labels)
    more = read_partly(str(tmp_path / "d.csv"), classes=("parcel", "order", "card"))
    assert more.classes == ("card", "order", "parcel")
    if len(labels) > 1:
        assert more.data.select(more.labelled).labels.tolist() == labels


def test_a_column_that_is_not_there_yet_will_be(tmp_path):
    plain = [{"text": text} for text in TEXTS]
    partly = read_partly(str(put(tmp_path, "d.csv", plain)), label="topic")
    assert partly.label == "topic"
    made = with_labels(partly, {2: "b", 3: "a"})
    assert made.classes == ("a", "b")
    assert made.data.y[[2, 3]].tolist() == [1, 0]
    numbers = read_partly(str(tmp_path / "d.csv"), label="price", task="regression")
    assert with_labels(numbers, {0: "1.0", 5: "3.0"}).data.y[[0, 5]].tolist() == [-1, 1]
    assert with_labels(partly, {2: "b"}).classes == ("b",)


def test_values_come_back_as_numbers(tmp_path):
    table = [{"a": i, "b": i * i, "price": 0.5 * i if i < 30 else None} for i in range(40)]
    source = put(tmp_path, "d.parquet", table)
    partly = read_partly(str(source), label="price")
    found = checked(partly, read_answers(sheet(tmp_path, partly, ["7.25"], [33]), "price")[0])
    write_labelled(str(source), tmp_path / "new.parquet", "price", found, values=True, modality="table")
    assert pq.read_table(tmp_path / "new.parquet").column("price").to_pylist()[33] == 7.25
    with pytest.raises(DataError, match="'much' is not a number"):
        checked(partly, read_answers(sheet(tmp_path, partly, ["much"], [33]), "price")[0])


def test_a_sheet_shows_the_rows_and_an_empty_cell(tmp_path):
    partly = read_partly(str(put(tmp_path, "d.csv", rows())))
    lines = lines_of(partly.data, [Proposal(5, 5, "card", 0.7, "why")], "intent")
    assert {k: v for k, v in lines[0].items() if k != "key"} == {
        "row": "6", "text": TEXTS[5], "suggestion": "card", "probability": "0.700", "reason": "why", "intent": "",
    }  # fmt: skip
    table = load(np.array([[1.5, np.nan]]), labelled=False, inputs=("x0",))
    assert shown(table, 0) == {"x0": "1.5"}


def test_what_is_wrong_in_a_sheet_is_one_line(tmp_path):
    partly = read_partly(str(put(tmp_path, "d.csv", rows())))

    def line(change, labels=("card", "parcel"), positions=None, **options):
        path = sheet(tmp_path, partly, list(labels), positions)
        path.write_text(change(path.read_text()))
        with pytest.raises(GraftError) as error:
            checked(partly, read_answers(path, "intent")[0], **options)
        return str(error.value)

    same = str
    assert "label 'crad' is no known class [sheet.csv, line 2]; did you mean 'card'? --new-classes" in line(
        same, ["crad"]
    )
    assert "has the label 'card' already, the sheet says 'parcel'" in line(same, ["parcel"], [0])
    assert "has the label 'card' already" in line(same, ["card", "parcel"], [5, 5])
    assert "there is no usable row 99" in line(lambda text: text.replace("\n5,", "\n99,"))
    assert "is not the row that the sheet shows" in line(lambda text: text.replace("\n5,", "\n8,"))
    assert "'five' is no number of a row [sheet.csv, line 2]" in line(lambda text: text.replace("\n5,", "\nfive,"))
    assert "has no column 'row'" in line(lambda text: text.replace("row,", "line,", 1))
    assert "has no column 'intent'" in line(lambda text: text.replace(",intent", ",label", 1))
    path = sheet(tmp_path, partly, ["card", "order"], [0, 6])
    found = checked(partly, read_answers(path, "intent")[0], new_classes=True)
    assert found == {6: "order"}  # the label that was there already is no error


def test_what_a_spreadsheet_makes_of_a_sheet_is_read(tmp_path):
    partly = read_partly(str(put(tmp_path, "d.csv", rows())))
    path = sheet(tmp_path, partly, ["card", "", "parcel"])
    path.write_text("\ufeff" + path.read_text().replace("\n5,", "\n5.0,"), encoding="utf-8")
    answers, empty = read_answers(path, "intent")
    assert checked(partly, answers) == {4: "card", 6: "parcel"}
    assert empty == 1


def test_other_classes_than_those_named_are_refused(tmp_path):
    path = str(put(tmp_path, "d.csv", rows()))
    with pytest.raises(DataError, match="label 'parcel' is none of the classes named"):
        read_partly(path, classes=("card", "parcels"))
    with pytest.raises(DataError, match="no label column 'intnt'"):
        read_partly(path, label="intnt")


def test_files_are_not_replaced_or_turned_into_less(tmp_path):
    source = put(tmp_path, "d.jsonl", rows())
    (tmp_path / "there.jsonl").write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        write_labelled(str(source), tmp_path / "there.jsonl", "intent", {})
    with pytest.raises(UsageError, match=r"cannot hold all that d.jsonl holds; end --out in .jsonl"):
        write_labelled(str(source), tmp_path / "new.csv", "intent", {})
    write_labelled(str(source), tmp_path / "there.jsonl", "intent", {}, overwrite=True)
    assert len((tmp_path / "there.jsonl").read_text().splitlines()) == 12
    images = put(tmp_path, "images.csv", [{"image": "a.png", "label": ""}])
    (tmp_path / "other").mkdir()
    with pytest.raises(UsageError, match="relative to its folder"):
        write_labelled(str(images), tmp_path / "other" / "new.csv", "label", {}, modality="image")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
