"""Words and the tokens of sources: which token stands for a word, windows of long sentences, features that are kept."""

import itertools

import numpy as np
import pytest
import torch

from graft.core.errors import BudgetError
from graft.core.runtime import Clock
from graft.core.store import Store
from graft.data.load import load
from graft.data.sentences import Sentence
from graft.sources.aligned import KINDS, WordStates, capitals, in_pieces, of_rows, pieces, windows
from graft.sources.base import open_model
from graft.testing import toy_data, toy_sources
from graft.word_features import word_features

DATA = toy_data("tagging")


@pytest.fixture
def states(tiny_bert):
    return WordStates(open_model(f"hf:{tiny_bert}"))


def test_a_word_is_its_first_token(states):
    backbone = states.inner
    sentence = Sentence.of(["(parcel)", "x", "card"])
    ids, places = backbone.align([sentence])[0]
    tokens = backbone.tokenizer.convert_ids_to_tokens(ids.tolist())
    first = [backbone.tokenizer.tokenize(word)[0] for word in sentence.words]
    assert [tokens[place] for place in places] == first
    assert (
        backbone.align([Sentence.cut("a  b")])[0][1].tolist()
        == backbone.align([Sentence.of(["a", "b"])])[0][1].tolist()
    )


def test_states_are_those_of_the_tokens_in_any_company(states):
    rows = states.preprocess([Sentence.of(["a", "parcel"]), Sentence.of(["the", "card", "order"])])
    states.eval()
    with torch.inference_mode():
        both = states(states.collate(rows))
        alone = states(states.collate(rows[:1]))
        inner = states.inner
        whole = inner.forward_features(inner.collate([rows[0].encoded]))[-1][0]
    assert both.shape == (5, states.spec.hidden_size)
    assert torch.allclose(both[:2], alone, atol=1e-5)
    width = whole.shape[1]
    assert torch.allclose(alone[:, :width], whole[torch.from_numpy(rows[0].places)], atol=1e-5)


def test_capitals_are_told_where_the_source_does_not_see_them(states):
    looks = capitals(Sentence.of(["The", "EU", "met", "Ada", "McKay", "in", "1999", "!"]))
    kinds = looks[:, :KINDS].argmax(axis=1)
    assert kinds.tolist() == [4, 5, 2, 3, 7, 2, 1, 0]
    assert looks[1:, KINDS : 2 * KINDS].argmax(axis=1).tolist() == kinds[:-1].tolist()
    assert capitals(Sentence.of(["RAIN", "IN", "OSLO"]))[:, :KINDS].argmax(axis=1).tolist() == [6, 6, 6]
    assert capitals(Sentence.of([])).shape == (0, 3 * KINDS)
    plain = states.inner.spec.hidden_size
    assert states.spec.hidden_size == plain + (3 * KINDS if states.blind else 0)
    letters = WordStates(toy_sources(DATA)[0])  # a network that reads letters
    assert not letters.blind


def test_windows_cover_every_word_once(states):
    sizes = np.random.default_rng(0).integers(1, 6, 300)
    for overlap in (0.0, 0.5):
        found = windows(sizes, 40, overlap)
        assert found[0][0] == 0
        assert found[-1][1] == 300
        assert all(sizes[a:b].sum() <= 40 for a, b in found)
        assert all(after[0] <= before[1] for before, after in itertools.pairwise(found))
    long = Sentence.of(["parcel"] * 1000)
    for overlap in (0.0, 0.5):
        some = pieces(states, [long, Sentence.of(["card"])], overlap)
        assert len(some.sentences) > 2
        where = np.concatenate([lines for _, lines in some.lines(np.array([0, 1000]))])
        assert sorted(where.tolist()) == list(range(1001))
        assert all(states.length(row) <= states.inner.longest for row in states.preprocess(some.sentences))


def test_long_training_sentences_become_several(states):
    data = load(([["in"] * 1000, ["in", "Rome"]], [["O"] * 1000, ["O", "B-LOC"]]))
    cut = in_pieces(states, data)
    assert len(cut) > 3
    assert sum(len(row) for row in cut.y) == 1002
    assert cut.labels[-1] == ["O", "B-LOC"]
    assert in_pieces(states, DATA) is DATA
    assert of_rows(states.inner, toy_data("text").task) is states.inner


def test_features_of_words_are_kept_and_equal(states, tmp_path):
    store = Store(tmp_path)
    some = DATA.select(np.array([5, 2, 7]))
    fresh = word_features(states, some)
    kept, again = (word_features(states, some, store=store) for _ in range(2))
    words = sum(len(sentence.starts) for sentence in some.take())
    assert len(fresh) == len(kept) == words
    assert kept.key == again.key
    assert np.allclose(fresh.layer(-1), kept.layer(-1), atol=2e-2)
    alone = word_features(states, DATA.select(np.array([2])))
    first = len(some.take()[0].starts)
    assert np.allclose(alone.layer(-1), fresh.layer(-1)[first : first + len(alone)], atol=1e-4)
    assert fresh.layers >= word_features(states, some, layers="last").layers == 1
    with pytest.raises(BudgetError, match="no time left"):
        word_features(states, some, clock=Clock(0.0))


def test_word_vectors_give_features_of_words():
    table = WordStates(toy_sources(DATA)[1])
    features = word_features(table, DATA.select(np.array([1, 2])))
    assert features.layers == 1
    assert np.isfinite(features.layer(-1)).all()
