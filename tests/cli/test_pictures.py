"""Pictures that people have: those that cannot be used are left out and named, and keep their row in a prediction."""

import csv
import json

import numpy as np
import pytest
from cli.conftest import QUICK, save_picture
from PIL import Image


def spoil(folder):
    """Odd pictures of every kind; the names of those that cannot be used."""
    save_picture(folder / "left" / "whole.png", size=(40, 40))
    whole = (folder / "left" / "whole.png").read_bytes()
    (folder / "left" / "broken.png").write_bytes(whole[: len(whole) // 2])
    (folder / "left" / "zero.png").write_bytes(b"")
    (folder / "left" / "text.jpg").write_text("this is no picture")
    save_picture(folder / "left" / "tiny.png", size=(1, 1))
    Image.fromarray(np.full((9, 9), 7, np.uint8)).save(folder / "left" / "grey.png")
    Image.new("CMYK", (16, 16), (9, 9, 9, 9)).save(folder / "left" / "cmyk.jpg")
    frames = [Image.new("P", (16, 16), colour) for colour in (1, 2, 3)]
    frames[0].save(folder / "left" / "animated.gif", save_all=True, append_images=frames[1:])
    Image.new("RGB", (2600, 2100), (9, 9, 9)).save(folder / "left" / "large.jpg", quality=30)
    save_picture(folder / "right" / "图片 ü.png")
    return {"broken.png", "zero.png", "text.jpg"}


def test_odd_pictures_in_training_are_left_out_and_noted(graft, pictures, here):
    unusable = spoil(here / pictures)
    graft("fit", pictures, "--out", "run", *QUICK).works("Answer")
    run = json.loads((here / "run" / "run.json").read_text())
    assert run["data"]["rows"] == 20 + 7
    note = next(note for note in run["data"]["notes"] if "left out" in note)
    assert note.startswith("3 image(s) left out")
    assert all(name in note for name in unusable)


def test_odd_pictures_in_a_prediction_keep_their_row(graft, pictures, here):
    graft("fit", pictures, "--out", "run", *QUICK).works()
    folder = here / "new"
    unusable = spoil(folder)
    done = graft("predict", "run", folder, "--out", "p.csv")
    assert done.code == 0
    rows = list(csv.DictReader((here / "p.csv").read_text().splitlines()))
    names = sorted(f"{path.parent.name}/{path.name}" for path in folder.rglob("*.*"))
    assert len(rows) == len(names)
    empty = {name.split("/")[1] for name, row in zip(names, rows, strict=True) if not row["prediction"]}
    assert empty == unusable
    said = done.err.strip().splitlines()
    assert len(said) == len(unusable)
    assert all(any(name in line for line in said) for name in unusable)
    assert all(line.endswith("its prediction is empty") for line in said)


def test_pictures_alone_need_classes(graft, here):
    save_picture(here / "flat" / "1.png")
    graft("fit", "flat", *QUICK).fails(3, "no labels", "one folder per class")


@pytest.mark.parametrize("name", ["nothing.png", "pictures/none"])
def test_missing_picture_folder(graft, pictures, name):
    graft("fit", name, *QUICK).fails(3, "no such file")


def test_pictures_for_a_model_of_texts(graft, run, pictures):
    graft("predict", run, pictures).fails(3, "images cannot be read by a model of text")


def test_pictures_of_five_channels_are_fitted_and_others_refused(graft, here):
    rng = np.random.default_rng(0)
    for i in range(20):
        picture = rng.integers(0, 900, (12, 14, 5)).astype(np.uint16)
        picture[..., 4] += 800 * (i % 2)
        path = here / "scenes" / ("wet" if i % 2 else "dry") / f"{i:02d}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, picture, allow_pickle=False)
    graft("fit", "scenes", "--out", "run", *QUICK).works("Answer")
    run = json.loads((here / "run" / "run.json").read_text())
    assert any("5 channel(s)" in note for note in run["data"]["notes"])
    (here / "new").mkdir()
    np.save(here / "new" / "a.npy", picture, allow_pickle=False)
    np.save(here / "new" / "b.npy", picture[..., :2], allow_pickle=False)
    done = graft("predict", "run", "new", "--out", "p.csv")
    rows = list(csv.DictReader((here / "p.csv").read_text().splitlines()))
    assert [row["prediction"] for row in rows] == ["wet", ""]
    (said,) = done.err.strip().splitlines()
    assert "b.npy: 2 channels, 5 are read" in said
