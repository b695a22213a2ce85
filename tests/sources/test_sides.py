"""Pairs of texts: found by their names, read side by side or together, with an empty side, and their overlap."""

import numpy as np
import pytest
from sources import tiny_models

from graft.core.errors import DataError
from graft.core.registry import MODALITIES
from graft.data.load import load
from graft.data.overlap import NAMES, WEIGHT, overlap
from graft.evaluate.metrics import score
from graft.features import encode
from graft.ranking.rank import rank
from graft.sources.base import open_model
from graft.sources.sides import Sides, of_sides
from graft.testing import check_transfer
from graft.transfer.base import load_transfer
from graft.transfer.classical import Classical
from graft.transfer.finetune import Finetune
from graft.transfer.probe import Probe

WORDS = ("card", "parcel", "order", "refund", "help", "cancel", "lost", "please")


def pairs(n=60, seed=0):
    """Pairs whose likeness is the number of words that both have, with a little noise."""
    rng = np.random.default_rng(seed)
    rows, y = [], []
    for _ in range(n):
        one = rng.permutation(WORDS)
        same = int(rng.integers(0, 4))
        rows.append((" ".join(one[:4]), " ".join(rng.permutation([*one[:same], *one[4 : 8 - same]]))))
        y.append(same + 0.1 * float(rng.random()))
    return rows, y


DATA = load(pairs())


def test_sides_are_what_both_are_and_how_they_differ(tiny_bert):
    inner = open_model(f"hf:{tiny_bert}")
    sides = of_sides(inner, DATA)
    assert isinstance(sides, Sides)
    values = encode(sides, DATA.take()).layer(-1)
    width = values.shape[1] // 4
    first = encode(inner, [pair[0] for pair in DATA.take()]).layer(-1)
    first *= width**0.5 / np.linalg.norm(first, axis=1, keepdims=True)
    u, v, apart, both = np.split(values, 4, axis=1)
    assert u == pytest.approx(first, abs=1e-4)
    assert apart == pytest.approx(np.abs(u - v), abs=1e-4)
    assert both == pytest.approx(u * v, abs=1e-3)
    assert sides.fingerprint() != inner.fingerprint()
    assert of_sides(inner, load(["one"], labelled=False)) is inner


def test_likeness_is_learned_by_the_ways_that_look_at_both(tiny_bert, tmp_path):
    new = load(pairs(seed=1))
    y = new.task.decode(new.y)
    classical = Classical().fit(DATA)
    assert score(DATA.task, DATA.task.encode(y), classical.outputs(new), metric="spearman") > 0.85
    probe = Probe(f"hf:{tiny_bert}", layers="last").fit(DATA)
    assert score(DATA.task, DATA.task.encode(y), probe.outputs(new), metric="spearman") > 0.5
    opened = load_transfer(probe.save(tmp_path))
    assert np.array_equal(opened.outputs(new), probe.outputs(new))
    row = rank([f"hf:{tiny_bert}"], DATA, scores=()).rows[0]
    assert not row.failure
    assert row.scores["probe"][0] > 0.3


def test_what_is_fine_tuned_and_what_has_classes_reads_pairs_together(tiny_bert, tmp_path):
    tuned = Finetune(f"hf:{tiny_bert}", epochs=1).fit(DATA)
    rows = tuned.backbone_.preprocess(DATA.take(slice(0, 1)))
    assert rows[0].shape[0] == 2  # numbers, and which text they are of
    assert rows[0][1].max() == 1
    judge = open_model(f"hf:{tiny_models.bert(tmp_path / 'm', classes=['no', 'yes'])}")
    assert of_sides(judge, DATA) is judge


def test_the_classical_baseline_keeps_its_contract_on_pairs():
    rows, y = pairs(40)
    check_transfer("classical", load((rows, ["near" if value > 1.5 else "far" for value in y])))
    vectors = MODALITIES["text"].vectors().fit(DATA)
    assert vectors.names()[-len(NAMES) :] == list(NAMES)
    assert vectors.transform(DATA).shape == (60, len(vectors.names()))
    assert overlap([("", ""), ("a b", "a b")], str.split)[1] == pytest.approx([WEIGHT] * len(NAMES))


def test_pairs_are_found_by_their_names(tmp_path):
    rows, _ = pairs(12)
    path = tmp_path / "rows.csv"
    lines = "".join(f"{i},{a},{b},news,{'yes' if i % 2 else 'no'}\n" for i, (a, b) in enumerate(rows))
    for one, two in (("sentence1", "sentence2"), ("Premise", "Hypothesis"), ("question1", "question2")):
        path.write_text(f"id,{one},{two},genre,label\n{lines}")
        data = load(path)
        assert data.columns == (one, two)
        assert data.take(slice(0, 1)) == rows[:1]
    other = tmp_path / "half.csv"
    other.write_text("question1\nwhere is it\n")
    with pytest.raises(DataError, match="no input column 'question2'"):
        load(other, like=data, labelled=False)
    assert load([("a b", "c d", "e f")], labelled=False).columns == ("text1", "text2", "text3")


def test_an_empty_side_is_read_and_two_are_left_out(tiny_bert):
    rows, y = pairs(12)
    data = load(([(rows[0][0], ""), ("", ""), *rows[2:]], y))
    assert len(data) == 11
    assert any("1 row(s) have one empty text" in note for note in data.notes)
    assert any("1 row(s) left out: empty text" in note for note in data.notes)
    for fitted in (Classical().fit(data), Probe(f"hf:{tiny_bert}").fit(data)):
        assert np.isfinite(fitted.outputs(data)).all()
