"""``graft reshape`` as a person types it."""

import json

import pytest
from cli.conftest import as_csv, files, sentences
from sources import tiny_models

from graft.sources.base import open_model


@pytest.fixture
def bert(here):
    return f"hf:{tiny_models.bert(here / 'models' / 'bert', layers=3)}"


def test_a_changed_source_is_a_source(graft, bert, good, here):
    done = graft("reshape", bert, "--remove", "0", "--remove", "2", "--length", "32", "--out", "sources/small")
    done.works("position_embeddings.weight", "64 × 16", "32 × 16", "resized", "cut to the first 32", "left out")
    done.works(
        "3,552 copied (20 tensors), 512 resized (1 tensor)", "file:sources/small", "graft fit LABELLED_DATA --models"
    )
    report = json.loads((here / "sources" / "small" / "reshape.json").read_text())
    assert report["changes"]["remove"] == [0, 2]
    assert report["counts"]["copied"] == {"tensors": 20, "parameters": 3552}
    assert not [name for name in files(here) if ".partial" in name]
    graft("rank", good, "--models", "sources/small", "--json").works("small")
    quick = ("--methods", "probe", "--budget", "1h", "--out", "run", "--quiet")
    graft("fit", good, "--models", "sources/small", *quick).works()


def test_the_structure_and_other_options(graft, bert, put, here):
    graft("reshape", bert, "--fresh", "--order", "2,0", "--out", "fresh").works("new")
    assert len(open_model(f"file:{here / 'fresh'}").blocks()) == 2
    done = graft("reshape", bert, "--insert", "0", "2", "--widen", "2", "--out", "more", "--json").works()
    report = json.loads(done.out)
    assert report["difference"] < 1e-5
    assert report["counts"]["widened"]["tensors"] == 9
    assert report["tensors"][0]["old_shape"] == [79, 16]
    texts = put("texts.csv", as_csv([(text,) for text, _ in sentences(40)], "text"))
    graft("reshape", bert, "--vocabulary", texts, "--tokens", "60", "--out", "words").works("known", "from pieces")
    graft("reshape", bert, "--vocabulary", "words", "--out", "same").works("known")
    made, same = (open_model(f"file:{here / name}").tokenizer.get_vocab() for name in ("words", "same"))
    assert made == same


def test_overwriting(graft, bert, here):
    graft("reshape", bert, "--fresh", "--out", "out").works()
    graft("reshape", bert, "--fresh", "--out", "out").fails(6, "out exists", "--overwrite")
    before = (here / "out" / "model.safetensors").read_bytes()
    graft("reshape", bert, "--fresh", "--out", "out", "--overwrite", "--seed", "1").works()
    assert (here / "out" / "model.safetensors").read_bytes() != before
    graft("reshape", bert, "--fresh", "--out", "out", "--overwrite").works()
    assert (here / "out" / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 2, ("no change is named", "--fresh")),
        (("--seed", "3"), 2, ("no change is named",)),
        (("--remove", "9"), 2, ("has no block 9", "0 to 2")),
        (("--order", "0;1"), 2, ("'0;1' is no order of blocks", "0,2,1")),
        (("--order", "0,1", "--remove", "0"), 2, ("remove and order",)),
        (("--widen", "0"), 2, ("cannot be widened by 0",)),
        (("--widen", "x"), 2, ("widen",)),
        (("--channels", "1"), 2, ("cannot change its channels", "it can change its blocks")),
        (("--size", "64"), 2, ("cannot change its size of pictures",)),
        (("--tokens", "5"), 2, ("tokens without a vocabulary",)),
        (("--vocabulary", "absent.csv"), 3, ("absent.csv",)),
        (("--vocabulary", "numbers.csv"), 2, ("learned from texts", "table")),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(graft, bert, put, here, arguments, code, words):
    put("numbers.csv", as_csv([(f"{i}.5", f"{i * 2}.25") for i in range(30)], "a,b"))
    before = files(here)
    graft("reshape", bert, *arguments, "--out", "new/out").fails(code, *words)
    assert files(here) == before
    assert not (here / "new").exists()


def test_sources_that_cannot_be_reshaped(graft, here):
    graft("reshape", "nothing", "--fresh", "--out", "out").fails(2, "no model 'nothing'")
    graft("reshape", f"hf:{tiny_models.t5(here / 't5')}", "--fresh", "--out", "out").fails(4, "has a decoder, too")
    assert not (here / "out").exists()
