"""``graft pretrain`` over pictures as a person types it."""

import json

import numpy as np
import pytest
from cli.conftest import save_picture, sentences
from PIL import Image

QUICK = ("--size", "tiny", "--epochs", "1", "--batch-size", "8")


@pytest.mark.parametrize(
    ("objective", "more", "made", "words"),
    [
        ("masked", (), "masked-image", ("squared error", "mean picture", "interpolation", "pictures per second")),
        ("masked", ("--encoder", "vgg", "--gap", "patches", "--hidden", "0.5"), "masked-image", ("mean colour",)),
        ("next", ("--side", "8", "--levels", "4"), "next-image", ("bits per number", "both neighbours")),
        ("contrastive", ("--temperature", "0.5", "--no-flip"), "contrastive", ("recognised", "chance", "raw pixels")),
    ],
)
def test_from_a_folder_of_pictures_to_a_source_that_fit_uses(graft, pictures, here, objective, more, made, words):
    graft("pretrain", pictures, "--objective", objective, *QUICK, *more, "--out", "made").works("held out", *words)
    record = json.loads((here / "made" / "pretrain.json").read_text())
    assert record["objective"] == made
    assert record["data"]["rows"] == 20
    page = (here / "made" / "report.html").read_text()
    assert record["samples"][0]["picture"] in page
    assert "http" not in page.replace("http-equiv", "")
    fit = ("--methods", "probe", "--budget", "1h", "--quiet", "--out", "run")
    graft("fit", pictures, "--models", "made", *fit).works("Answer")
    assert not list(here.glob(".*partial"))


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--side", "20"), 2, ("a side of 20 pixels", "multiple of 8")),
        (("--objective", "contrastive", "--batch-size", "4"), 2, ("batches of 4", "8 or more")),
        (("--encoder", "lstm"), 2, ("does not train the encoder 'lstm'", "resnet")),
        (("--levels", "4"), 2, ("masked has no option --levels", "gap")),
        (("--length", "4"), 2, ("masked has no option --length", "gap")),
        (("--objective", "next", "--levels", "1"), 2, ("1 levels", "2 to 256")),
        (("--hidden", "1"), 2, ("hidden",)),
        (("--gap", "round"), 2, ("gap",)),
        (("--objective", "contrastive", "--temperature", "0"), 2, ("temperature",)),
    ],
)
def test_bad_options_are_one_line(graft, pictures, here, arguments, code, words):
    graft("pretrain", pictures, *arguments).fails(code, *words)
    assert not (here / "sources").exists()


def test_pictures_that_teach_nothing_are_one_line(graft, here):
    save_picture(here / "one" / "1.png")
    graft("pretrain", "one", *QUICK).fails(3, "1 picture")
    for i in range(9):
        (here / "same").mkdir(exist_ok=True)
        Image.fromarray(np.full((16, 16), 9, np.uint8)).save(here / "same" / f"{i}.png")
    graft("pretrain", "same", *QUICK).fails(3, "equal", "nothing to learn")
    for i in range(6):
        save_picture(here / "few" / f"{i}.png", seed=i)
    graft("pretrain", "few", "--objective", "contrastive").fails(3, "needs 8 pictures", "few has 5")


def test_options_of_pictures_do_not_fit_text(graft, put):
    put("notes.txt", "".join(f"{text}\n" for text, _ in sentences(60)))
    graft("pretrain", "notes.txt", "--gap", "block").fails(2, "masked has no option --gap")
    graft("pretrain", "notes.txt", "--objective", "contrastive").fails(2, "does not read text")
