"""``graft zero-shot`` as a person types it."""

import csv
import json

import numpy as np
import pytest
from conftest import make_pictures
from PIL import Image
from sources import tiny_models

NEWS = [
    ("She won the match in the last minute.", "sport"),
    ("The team lost the final game.", "sport"),
    ("Bake the bread for an hour.", "cooking"),
    ("Add salt and fry the onions.", "cooking"),
]


@pytest.fixture
def news(here):
    rows = "".join(f'"{text} {i}",{label}\n' for i in range(6) for text, label in NEWS)
    (here / "news.csv").write_text("text,label\n" + rows)
    return "news.csv"


def test_names_scores_and_predictions_for_new_rows(graft, news, here):
    done = graft("zero-shot", news, "--classes", "sport, cooking", "--out", "run")
    done.works("calibration", "mean over 24 rows", "predicted", "sport 12", "accuracy", "1.000", "24 labelled rows")
    rows = list(csv.DictReader((here / "run" / "predictions.csv").read_text().splitlines()))
    assert list(rows[0]) == ["prediction", "margin", "p_sport", "p_cooking"]
    assert float(rows[0]["margin"]) == pytest.approx(
        abs(float(rows[0]["p_sport"]) - float(rows[0]["p_cooking"])), abs=2e-6
    )
    record = json.loads((here / "run" / "zero_shot.json").read_text())
    assert record["scores"]["accuracy"][0] == 1
    assert record["sentences"]["sport"][0] == "sport"
    (here / "new.csv").write_text("text\nFry the fish.\n\nA goal for the home team\n")
    graft("predict", "run", "new.csv", "--out", "new_predictions.csv")
    found = list(csv.DictReader((here / "new_predictions.csv").read_text().splitlines()))
    assert [row["prediction"] for row in found] == ["cooking", "sport"]
    graft("evaluate", "run", news).works("accuracy", "1.000")


def test_labels_give_names_and_files_descriptions(graft, news, here):
    graft("zero-shot", news, "--quiet").works("predicted")
    assert (here / "runs" / "news-zero-shot" / "model.json").is_file()
    (here / "c.toml").write_text('sport = "games and matches"\ncooking = ["making food", "a recipe"]\n')
    graft("zero-shot", news, "--classes", "c.toml", "--calibration", "match", "--out", "two").works("match over 24")


def test_none_of_these(graft, news, here):
    (here / "other.csv").write_text(
        "text\n" + "".join(f"The bank raised interest rates by {i} percent\n" for i in range(30))
    )
    options = ("--classes", "sport, cooking", "--none", "0.1", "--quiet")
    graft("zero-shot", news, *options, "--background", "other.csv", "--out", "a").works("counted on the background")
    graft("predict", "a", "other.csv", "--out", "p.csv").works()
    assert (here / "p.csv").read_text().count("none of these") >= 27
    graft("zero-shot", "other.csv", *options, "--out", "b").works("none of these")


def test_pictures(graft, here):
    tiny_models.clip(here / "clip")
    (here / "photos").mkdir()
    for i, picture in enumerate(make_pictures(4)[0]):
        Image.fromarray(picture).save(here / "photos" / f"{i}.png")
    graft("zero-shot", "photos", "--model", "clip", "--classes", "card, parcel", "--out", "run").works("predicted")
    graft("predict", "run", "photos", "--out", "p.csv").works()
    assert len((here / "p.csv").read_text().splitlines()) == 5


def test_attributes(graft, here):
    rng = np.random.default_rng(0)
    names, table = (
        "abcdefgh",
        np.vstack([np.eye(4), rng.permutation(np.array([[1, 1, 0, 0], [0, 0, 1, 1], [1, 0, 1, 0], [0, 1, 0, 1]]))]),
    )
    lines = [f"{name},{','.join(map(str, row.astype(int)))}" for name, row in zip(names, table, strict=True)]
    (here / "traits.csv").write_text("class,w,x,y,z\n" + "\n".join(lines) + "\n")
    for file, some in (("seen.csv", names[:6]), ("new.csv", names)):
        y = np.repeat(list(some), 10)
        X = table[[names.index(name) for name in y]] + 0.1 * rng.normal(size=(len(y), 4))
        rows = [",".join([*(f"{v:.3f}" for v in row), name]) for row, name in zip(X, y, strict=True)]
        (here / file).write_text("p,q,r,s,label\n" + "\n".join(rows) + "\n")
    options = ("--attribute-table", "traits.csv", "--seen", "seen.csv")
    graft("zero-shot", "new.csv", *options, "--out", "run").works("6 seen, 2 unseen", "harmonic", "80 labelled rows")
    graft("zero-shot", "new.csv", *options, "--only-unseen", "--method", "dap", "--out", "two").works(
        "20 labelled rows"
    )
    graft("predict", "run", "new.csv", "--out", "p.csv").works()


def test_errors_are_one_line(graft, news, here):
    before = sorted(here.rglob("*"))
    graft("zero-shot", news, "--classes", "sport").fails(2, "only the class 'sport' is given")
    graft("zero-shot", news, "--classes", "sport, sport").fails(2, "class 'sport' stands twice")
    graft("zero-shot", news, "--classes", "体育, 财经").fails(4, "cannot read the classes", "Han script")
    graft("zero-shot", "absent.csv", "--classes", "a, b").fails(3, "absent.csv")
    graft("zero-shot", news, "--classes", "absent.json").fails(3, "no classes in absent.json")
    graft("zero-shot", news, "--seen", news).fails(2, "--attribute-table and --seen")
    graft("zero-shot", news, "--none", "2").fails(2, "none")
    graft("zero-shot", news, "--classes", "a, b", "--templates", "about").fails(2, "does not hold {} once")
    assert sorted(here.rglob("*")) == before
