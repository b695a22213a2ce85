"""Pictures with boxes in every form that is read, and what is wrong with boxes."""

import json

import numpy as np
import pytest
from PIL import Image

from graft.core.errors import DataError
from graft.data.crops import BACKGROUND, of_crops
from graft.data.load import load
from graft.data.picture_sizes import relative, size_of, sizes
from graft.data.stream import recipe, stream

BOXES = {
    "a.png": [("cat", (10, 20, 30, 40))],
    "b.png": [("cat", (0, 0, 50, 60)), ("dog", (40, 10, 90, 50))],
    "c.png": [],
}
WIDE, HIGH = 100, 60


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    return {name: rng.integers(0, 255, (HIGH, WIDE, 3), dtype=np.uint8) for name in BOXES}


def put(folder, pictures):
    folder.mkdir(parents=True, exist_ok=True)
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(folder / name)


def coco(folder, pictures, change=lambda whole: None, name="instances_train.json"):
    put(folder / "images", pictures)
    images = [{"id": 7 + place, "file_name": file} for place, file in enumerate(BOXES)]
    annotations = [
        {"id": 1 + place, "image_id": 7 + list(BOXES).index(file), "category_id": 3 if label == "cat" else 5,
         "bbox": [left, top, right - left, bottom - top]}
        for place, (file, label, (left, top, right, bottom)) in enumerate(
            (file, *one) for file, row in BOXES.items() for one in row)
    ]  # fmt: skip
    whole = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 3, "name": "cat"}, {"id": 5, "name": "dog"}],
    }
    change(whole)
    (folder / name).write_text(json.dumps(whole))
    return folder / name


def voc(folder, pictures, change=lambda text: text):
    put(folder / "JPEGImages", pictures)
    (folder / "Annotations").mkdir()
    for name, row in BOXES.items():
        if row:
            parts = "".join(
                f"<object><name>{label}</name><bndbox><xmin>{left + 1}</xmin><ymin>{top + 1}</ymin><xmax>{right}</xmax>"
                f"<ymax>{bottom}</ymax></bndbox></object>"
                for label, (left, top, right, bottom) in row
            )
            text = f"<annotation><filename>{name}</filename>{parts}</annotation>"
            (folder / "Annotations" / name).with_suffix(".xml").write_text(change(text))
    return folder


def yolo(folder, pictures, change=lambda text: text):
    put(folder / "images" / "train", pictures)
    (folder / "labels" / "train").mkdir(parents=True)
    for name, row in BOXES.items():
        lines = "".join(
            f"{('cat', 'dog').index(label)} {(left + right) / 2 / WIDE} {(top + bottom) / 2 / HIGH} "
            f"{(right - left) / WIDE} {(bottom - top) / HIGH}\n"
            for label, (left, top, right, bottom) in row
        )
        if row:
            (folder / "labels" / "train" / name).with_suffix(".txt").write_text(change(lines))
    (folder / "data.yaml").write_text("path: .\ntrain: images/train\nnames: {0: cat, 1: dog}\n")
    return folder


def memory(folder, pictures):
    return list(pictures.values()), [[{"label": label, "box": box} for label, box in row] for row in BOXES.values()]


@pytest.mark.parametrize("form", [coco, voc, yolo, memory])
def test_every_form_gives_the_same_boxes(form, tmp_path, pictures):
    data = load(form(tmp_path / "set", pictures))
    assert (data.task.kind, data.task.classes, data.task.metric) == ("detection", ("cat", "dog"), "map")
    found = [[(one["label"], tuple(round(edge, 6) for edge in one["box"])) for one in row] for row in data.labels]
    assert found == list(BOXES.values())
    assert data.take(slice(0, 1))[0].shape == (HIGH, WIDE, 3)
    assert any("background" in note for note in data.notes)
    chunks = list(stream(form(tmp_path / "other", pictures), recipe(data)))
    assert [chunk.row_numbers.tolist() for chunk in chunks] == [[0, 1, 2]] if form is not memory else chunks


def test_a_folder_or_a_list_file_is_as_good_as_the_file(tmp_path, pictures):
    file = coco(tmp_path / "one", pictures)
    assert len(load(file.parent)) == 3
    assert len(load(yolo(tmp_path / "two", pictures) / "data.yaml")) == 3
    (tmp_path / "two" / "data.yaml").rename(tmp_path / "two" / "classes.txt")
    (tmp_path / "two" / "classes.txt").write_text("cat\ndog\n")
    assert len(load(tmp_path / "two" / "images" / "train")) == 3
    coco(tmp_path / "one", pictures, name="instances_val.json")
    assert load(file.parent).name == "one"  # that for training
    file.unlink()
    coco(tmp_path / "one", pictures, name="instances_test.json")
    with pytest.raises(DataError, match="holds 2 COCO files"):
        load(file.parent)


def boxed(number, box):
    return lambda whole: whole["annotations"][number].update(bbox=box)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (boxed(0, [200, 10, 20, 20]), "lies outside of its picture of 100 x 60 px"),
        (boxed(0, [30, 10, -20, 20]), "edges in the wrong order"),
        (boxed(0, [1, 2, "x", 4]), "no bbox"),
        (boxed(0, [1, 2, float("nan"), 4]), "four finite numbers"),
        (lambda whole: whole["annotations"][0].update(category_id=9), "category 9; listed are 3, 5"),
        (lambda whole: whole["annotations"][0].update(image_id=99), "image 99 is not listed"),
        (lambda whole: whole["images"][0].update(file_name="gone.png"), "no picture 'gone.png'"),
        (lambda whole: whole["images"][0].update(id=8), "two images have the id 8"),
        (
            lambda whole: [one.update(bbox=[0.1, 0.1, 0.5, 0.5]) for one in whole["annotations"]],
            "shares of width and height",
        ),
        (lambda whole: whole.update(annotations=[]), "no box"),
        (lambda whole: whole.update(annotations=[3]), "no list of objects"),
    ],
)
def test_what_is_wrong_with_coco_is_one_line(change, said, tmp_path, pictures):
    with pytest.raises(DataError, match=said) as error:
        load(coco(tmp_path, pictures, change))
    assert "\n" not in str(error.value)


def test_bad_pictures_are_left_out_where_that_is_asked_for(tmp_path, pictures):
    data = load(coco(tmp_path, pictures, boxed(0, [200, 10, 20, 20])), bad_rows="drop")
    assert len(data) == 2
    assert any("1 picture(s) left out: instances_train.json, annotation 1" in note for note in data.notes)


def test_boxes_are_clipped_and_empty_ones_left_out_with_a_note(tmp_path, pictures):
    def change(whole):
        whole["annotations"][0]["bbox"] = [-10, 20, 30, 100]
        whole["annotations"][1]["bbox"] = [5, 5, 0, 10]
        whole["annotations"].append({"id": 9, "image_id": 9, "category_id": 3, "bbox": [1, 1, 5, 5], "iscrowd": 1})

    data = load(coco(tmp_path, pictures, change))
    assert data.y[0].tolist() == [[0, 20, 20, 60, 0]]
    assert len(data.y[1]) == 1
    notes = " / ".join(data.notes)
    assert "1 box(es) reach beyond their picture: clipped" in notes
    assert "1 box(es) have no area: left out" in notes
    assert "1 annotation(s) of crowds" in notes


@pytest.mark.parametrize(
    ("form", "change", "said"),
    [
        (yolo, lambda text: text.replace("0 0.2", "0 20"), "in pixels where shares"),
        (yolo, lambda text: "7" + text[1:], "class 7 of 2"),
        (yolo, lambda text: "0 0.5\n", "not a class and four numbers"),
        (yolo, lambda text: text.replace(" 0.2 ", " -0.2 "), "wrong order"),
        (voc, lambda text: '<!DOCTYPE a [<!ENTITY b "c">]>' + text, "document type"),
        (voc, lambda text: text.replace("</name>", ""), "invalid XML"),
        (voc, lambda text: text.replace("<ymax>40</ymax>", ""), "no bndbox of four numbers"),
        (voc, lambda text: text.replace("<xmax>30<", "<xmax>5<"), "wrong order"),
    ],
)
def test_what_is_wrong_with_the_others_is_one_line(form, change, said, tmp_path, pictures):
    with pytest.raises(DataError, match=said):
        load(form(tmp_path, pictures, change))


def test_what_holds_no_boxes_is_said(tmp_path, pictures):
    put(tmp_path, pictures)
    with pytest.raises(DataError, match="no pictures with boxes"):
        load(tmp_path, task="detection")
    with pytest.raises(DataError, match="3 pictures have 2 lists"):
        load((list(pictures.values()), [[{"label": "a", "box": (0, 0, 1, 1)}], []]))
    known = load(memory(tmp_path, pictures))
    found = list(stream(tmp_path / "a.png", known))
    assert len(found[0].data) == 1
    plain = list(stream(tmp_path, known))  # a folder of pictures
    assert sum(len(chunk.data) for chunk in plain) == 3


def test_sizes_and_crops(tmp_path, pictures):
    data = load(coco(tmp_path, pictures))
    assert sizes(data).tolist() == [[WIDE, HIGH]] * 3
    assert np.allclose(relative(data)[0], [[0.1, 1 / 3, 0.3, 2 / 3, 0]])
    turned = Image.new("RGB", (30, 20))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)
    assert size_of(tmp_path / "turned.jpg") == (20, 30)
    crops = of_crops(data)
    assert crops.task.classes == ("cat", "dog", BACKGROUND)
    assert len(crops.take()) == len(crops) == len(np.unique(crops.X.keys(crops.rows)))
    assert crops.take(slice(0, 1))[0].shape == (28, 28, 3)
