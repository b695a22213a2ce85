import json

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from graft.core.errors import DataError
from graft.core.registry import MODALITIES
from graft.data import text
from graft.data.load import load
from graft.data.text import TextVectors, scripts

ENGLISH = ["The cat sat on the mat", "a dog! A dog?", "Where is my parcel?", "it isn't here", "the the the cat"]
CHINESE = ["今天天气很好", "天气不好", "快船vs火箭 首发", "好 好"]


def plain(texts):
    return load(texts, labelled=False)


@pytest.mark.parametrize(
    ("texts", "options"),
    [
        (ENGLISH, {"token_pattern": r"\w+|[?!'’¿¡؟]"}),
        (CHINESE, {"analyzer": "char"}),
    ],
)
def test_tfidf_equals_sklearn(texts, options):
    reference = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, **options)
    expected = reference.fit_transform(texts).toarray()
    got = TextVectors().fit(plain(texts)).transform(plain(texts)).toarray()
    assert got.shape == expected.shape
    np.testing.assert_allclose(np.sort(got, axis=1), np.sort(expected, axis=1), atol=1e-12)
    np.testing.assert_allclose(got @ got.T, expected @ expected.T, atol=1e-12)


def test_unit_follows_the_script():
    assert TextVectors().fit(plain(ENGLISH)).unit == "word"
    assert TextVectors().fit(plain(CHINESE)).unit == "character"
    assert (
        TextVectors().fit(plain(["ACGTACGTACGTACGTACGTACGTACGTAC", "TTGACATTGACATTGACATTGACATTGACA"])).unit == "letter"
    )
    mixed = TextVectors().fit(plain([*ENGLISH * 3, "天气 good"]))
    assert mixed.units("天气 good") == ["天", "气", "good"]


@pytest.mark.parametrize("texts", [ENGLISH, CHINESE, [("a b", "c"), ("c", "d e")]])
def test_state_round_trip_is_exact(texts):
    vectors = TextVectors().fit(plain(texts))
    facts, arrays = vectors.state()
    again = TextVectors.from_state(json.loads(json.dumps(facts)), {name: a.copy() for name, a in arrays.items()})
    assert (again.transform(plain(texts)) != vectors.transform(plain(texts))).nnz == 0


def test_rows_do_not_see_each_other(monkeypatch):
    data = plain(ENGLISH)
    vectors = TextVectors().fit(data)
    whole = vectors.transform(data)
    monkeypatch.setattr(text, "BLOCK", 2)
    order = np.array([4, 0, 2, 1, 3])
    assert (vectors.transform(data.select(order)) != whole[order]).nnz == 0


def test_the_vocabulary_is_capped_to_the_most_frequent(monkeypatch):
    monkeypatch.setattr(text, "TERMS", 2)
    assert TextVectors().fit(plain(ENGLISH)).terms == ["?", "cat"]  # in two texts each, as is "the"


def test_unknown_words_give_empty_rows_and_no_words_an_error():
    rows = TextVectors().fit(plain(ENGLISH)).transform(plain(["zzz"]))
    assert (rows.shape[0], rows.nnz) == (1, 0)
    with pytest.raises(DataError, match="no words"):
        TextVectors().fit(plain(["...", ",,,"]))


def test_texts_of_a_pair_do_not_run_into_each_other():
    vectors = TextVectors().fit(plain([("a b", "c d"), ("e", "f")]))
    assert "b c" not in vectors.terms
    assert "a b" in vectors.terms


def test_scripts():
    assert scripts(["abc", "中文中文中文", "где", "かな", "한국", "1 2?"]) == pytest.approx(
        {"Han": 6 / 16, "Latin": 3 / 16, "Cyrillic": 3 / 16, "Kana": 2 / 16, "Hangul": 2 / 16}
    )
    assert scripts(["ⴰ12"]) == {"Other": 1.0}
    assert scripts([""]) == {}


def test_describe_and_walk():
    data = load((["abc", "ab  c", "AB c", "中中中中中中"], list("xyxy")))
    facts = json.loads(json.dumps(MODALITIES["text"].describe(data)))
    assert facts["characters"] == {"median": 4, "p95": 5, "max": 6}
    assert (facts["rows"], facts["duplicates"], facts["empty"]) == (4, 1, 0)
    assert facts["scripts"] == {"Latin": 0.6, "Han": 0.4}
    steps = MODALITIES["text"].walk(load((ENGLISH, list("xyxyx"))), 0)
    assert [name for name, _ in steps] == ["raw", "words", "label", "terms"]
    assert steps[1][1] == "the | cat | sat | on | the | mat"
