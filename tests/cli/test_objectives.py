"""Objectives of ``graft pretrain`` that draw, group, project, or read labels."""

import json

import numpy as np
import pytest
from cli.conftest import sentences
from PIL import Image

QUICK = ("--size", "tiny", "--epochs", "1", "--batch-size", "8")


@pytest.fixture
def pictures(here):
    """A folder of pictures in one folder per class."""
    rng = np.random.default_rng(0)
    for i in range(40):
        folder = here / "pictures" / ("dark", "light")[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        values = rng.integers(0, 120, (8, 8, 3), dtype=np.uint8) + 130 * (i % 2)
        Image.fromarray(values.astype(np.uint8)).save(folder / f"{i}.png")
    return "pictures"


def record(here, name="made"):
    return json.loads((here / name / "pretrain.json").read_text())


def test_a_game_leaves_a_source_and_a_generator(graft, pictures, here):
    graft("pretrain", pictures, "--objective", "gan", "--form", "minimax", *QUICK, "--out", "made").works(
        "Fréchet distance", "gaussian of pixels"
    )
    assert (here / "made" / "generator.safetensors").is_file()
    page = (here / "made" / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    assert all(note in page for note in record(here)["notes"])
    graft(
        "fit", pictures, "--models", "made", "--methods", "probe", "--budget", "1h", "--quiet", "--out", "run"
    ).works()


def test_clusters_are_compared_with_labels_where_their_column_is_named(graft, pictures, here):
    more = ("--objective", "clusters", "--clusters", "3", "--reassign", "1", *QUICK)
    graft("pretrain", pictures, *more, "--out", "made").works("agreement of the last two groupings")
    page = (here / "made" / "report.html").read_text()
    assert "<polyline" in page
    assert "agreement with the labels" not in page
    graft("pretrain", pictures, *more, "--label", "label", "--out", "named").works("agreement with the labels")


def test_components_of_a_table_leave_the_label_out(graft, put, here):
    rng = np.random.default_rng(0)
    rows = "".join(f"{a:.3f},{a + b:.3f},{b:.3f},{i % 2}\n" for i, (a, b) in enumerate(rng.normal(size=(60, 2))))
    data = put("rows.csv", "a,b,c,kind\n" + rows)
    graft("pretrain", data, "--objective", "pca", "--label", "kind", "--components", "2", "--out", "made").works(
        "variance explained", "random projection"
    )
    assert record(here)["data"]["numbers"] == 3
    graft("pretrain", data, "--objective", "pca", "--epochs", "3").fails(2, "pca has no option --epochs")


def test_labels_make_a_source(graft, put, here):
    data = put("rows.csv", "text,kind\n" + "".join(f"{text},{kind}\n" for text, kind in sentences(60)))
    graft("pretrain", data, "--objective", "supervised", "--label", "kind", *QUICK, "--out", "made").works(
        "accuracy", "commonest class"
    )
    assert record(here)["data"]["labelled_rows"] == 48
    graft("pretrain", data, "--objective", "supervised", "--label", "kid", *QUICK).fails(3, "did you mean 'kind'?")


def test_empty_labels_are_rows_to_learn_from_too(graft, put, here):
    rows = [(text, kind if i < 20 else "") for i, (text, kind) in enumerate(sentences(80))]
    data = put("rows.csv", "text,kind\n" + "".join(f"{text},{kind}\n" for text, kind in rows))
    graft("pretrain", data, "--objective", "semi", "--label", "kind", *QUICK, "--out", "made").works(
        "labelled rows alone", "The rows without label"
    )
    facts = record(here)["data"]
    assert (facts["labelled_rows"], facts["train_rows"], facts["held_out_rows"]) == (16, 76, 4)
    page = (here / "made" / "report.html").read_text()
    assert record(here)["notes"][0].split(":")[0] in page
    graft("pretrain", data, "--objective", "masked", "--threshold", "0.9").fails(2, "masked has no option --threshold")


def test_the_losses_of_both_players_are_in_the_report(graft, pictures, here):
    graft("pretrain", pictures, "--objective", "gan", *QUICK, "--out", "made").works()
    page = (here / "made" / "report.html").read_text()
    assert "loss of the discriminator" in page
    assert "of the generator" in page


@pytest.mark.usefixtures("short_trainings")
def test_word_vectors_are_learned_and_fitted_with(graft, here, put):
    rows = [("the film is good", "+"), ("a dull bad film", "-"), ("good fun", "+"), ("bad and dull", "-")] * 10
    put("films.csv", "text,label\n" + "".join(f"{text} {i},{label}\n" for i, (text, label) in enumerate(rows)))
    graft("pretrain", "films.csv", "--objective", "vectors", "--epochs", "3", "--out", "made").works("neighbours")
    assert record(here)["objective"] == "vectors"
    run = ("--methods", "probe", "word_vectors", "--budget", "1h", "--out", "run")
    graft("fit", "films.csv", "--models", "made", *run).works("network on word vectors")
    graft("predict", "run", "films.csv").works()


def test_words_that_stand_twice_in_a_vector_file_are_said(graft, here, put):
    put("films.csv", "text,label\n" + "".join(f"{('good', 'bad')[i % 2]} film {i},{i % 2}\n" for i in range(30)))
    put("own.vec", "".join(f"{word} {n} 1.0 0.5\n" for n, word in enumerate(["good", "bad", "film", "good"])))
    graft("fit", "films.csv", "--models", "vectors:own.vec", "--methods", "probe", "--budget", "1h").works(
        "stood twice"
    )
