"""Files of word vectors: their forms, what is wrong with them, and texts as the mean of their words."""

import gzip
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from graft.core.errors import SourceError, UnsafeSourceError, UsageError
from graft.core.registry import SOURCES
from graft.data.load import load
from graft.features import encode
from graft.ranking.rank import rank
from graft.sources.base import describe_model, list_models, open_model
from graft.sources.native import open_native
from graft.sources.words import WordReader, unit_of
from graft.testing import check_source
from graft.transfer.probe import Probe

WORDS = {"the": 1.0, "parcel": 2.0, "is": 3.0, "lost": 4.0, "card": 5.0, ",": 6.0, "n't": 7.0, "do": 8.0}
WIDTH = 8


def row(word, value, width=WIDTH):
    return f"{word} " + " ".join(f"{value + place / 10:.2f}" for place in range(width))


def glove(words=WORDS):
    return "".join(row(word, value) + "\n" for word, value in words.items())


def word2vec(words=WORDS):
    return f"{len(words)} {WIDTH}\n" + glove(words)


def put(path, text):
    data = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(gzip.compress(data) if path.name.endswith(".gz") else data)
    return path


def table(backbone):
    return backbone.body.embedding.weight


@pytest.fixture
def vectors(tmp_path):
    return put(tmp_path / "small.txt", glove())


# -- forms -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.vec", "a.vec.gz", "a.glove"])
@pytest.mark.parametrize(
    "form", [glove, word2vec, lambda: word2vec().replace("\n", " \n"), lambda: glove().replace(" ", "\t")]
)
def test_every_form_gives_the_same_table(form, name, tmp_path):
    backbone = open_model(f"vectors:{put(tmp_path / name, form())}")
    assert backbone.reader.words == list(WORDS)
    expected = np.array([[value + place / 10 for place in range(WIDTH)] for value in WORDS.values()], np.float32)
    assert np.array_equal(table(backbone)[1:].numpy(), expected)
    assert not table(backbone)[0].any()
    spec = backbone.spec
    assert (spec.modality, spec.hidden_size, spec.parameters, spec.name) == ("text", WIDTH, 9 * WIDTH, "a")
    assert not any(p.requires_grad for p in backbone.parameters())


def test_words_with_spaces_are_read_from_the_right(tmp_path):
    words = {"the": 1.0, ". . .": 2.0, "at name@domain.com": 3.0, "7": 4.0}
    backbone = open_model(f"vectors:{put(tmp_path / 'a.txt', glove(words))}")
    assert backbone.reader.words == list(words)
    assert table(backbone)[2, 0] == 2.0


def test_of_words_that_stand_twice_the_first_one_counts(tmp_path):
    text = word2vec().replace(f"{len(WORDS)} ", f"{len(WORDS) + 2} ") + row("the", 9.0) + "\n" + row("is", 9.0) + "\n"
    backbone = open_model(f"vectors:{put(tmp_path / 'a.txt', text)}")
    assert backbone.reader.words == list(WORDS)
    assert table(backbone)[1, 0] == 1.0
    assert backbone.reader.notes == ("2 words stood twice; the first one counts",)
    backbone.save(tmp_path / "kept")
    assert open_model(str(tmp_path / "kept")).reader.notes == backbone.reader.notes


def test_the_first_words_alone(vectors, tmp_path):
    few = open_model(f"vectors:{vectors}?limit=3")
    assert few.reader.words == ["the", "parcel", "is"]
    assert describe_model(f"vectors:{vectors}?limit=3").parameters == 3 * WIDTH
    assert few.spec.weights_sha256 != open_model(f"vectors:{vectors}").spec.weights_sha256
    headed = put(tmp_path / "headed.txt", word2vec())
    assert open_model(f"vectors:{headed}?limit=3").reader.words == few.reader.words
    assert len(open_model(f"vectors:{headed}?limit=99").reader.words) == len(WORDS)
    for query in ("limit=0", "limit=x", "words=3"):
        with pytest.raises(UsageError, match="no option of vectors"):
            open_model(f"vectors:{vectors}?{query}")


def test_a_large_file_is_read_in_blocks(tmp_path):
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(5_000, 10)).astype(np.float32)
    lines = [f"w{i} " + " ".join(f"{value:.9g}" for value in values) for i, values in enumerate(matrix)]
    backbone = open_model(f"vectors:{put(tmp_path / 'a.txt', chr(10).join(lines))}")
    assert np.array_equal(table(backbone)[1:].numpy(), matrix)
    lines[4_321] = lines[4_321].replace(" ", " x", 1)
    with pytest.raises(SourceError, match=r"is not a number.*line 4322"):
        open_model(f"vectors:{put(tmp_path / 'b.txt', chr(10).join(lines))}")


# -- what is wrong -----------------------------------------------------------------------------------------------------

CUT = row("card", 1.0).rsplit(" ", 1)[0]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.txt", "", ["is empty"]),
        ("a.txt", f"3 {WIDTH}\n", ["promises 3 words, the file holds 0"]),
        ("a.txt", glove() + CUT + "\n", [f"a row of {WIDTH - 1} values, the others have {WIDTH}", "line 9"]),
        ("a.txt", glove() + row("card", 1.0) + " 0.5\n", [f"a row of {WIDTH + 1} values", "line 9"]),
        ("a.txt", glove().replace("3.50", "3,50"), ["'3,50' is not a number", "line 3"]),
        ("a.txt", glove().replace("4.20", "nan"), ["the vector of 'lost' holds nan", "line 4"]),
        ("a.txt", glove().replace("4.20", "1e999"), ["holds 1e999", "line 4"]),
        ("a.txt", word2vec() + row("more", 1.0) + "\n", ["promises 8 words, the file holds 9", "line 1"]),
        ("a.txt", "9 8\n" + glove(), ["promises 9 words, the file holds 8"]),
        ("a.txt", "8 12\n" + glove(), ["a row of 8 values, its header promises 12", "line 2"]),
        ("a.txt", "8 6\n" + glove(), ["a row of 8 values, its header promises 6", "line 2"]),
        ("a.txt", "0 8\n" + glove(), ["promises 0 words"]),
        ("a.txt", "to be or not to be\nthat is\n", ["no table of word vectors", "line 1"]),
        ("a.txt.gz", None, ["is cut off or damaged"]),
        ("a.bin", b"3 4\nthe " + np.arange(1, 5, dtype=np.float32).tobytes() + b"\n", ["word2vec's binary", "save_word2vec_format"]),
        ("a.bin", b"\xba\x16\x4f\x2f\x0c\x00\x00\x00", ["fastText's binary", ".vec"]),
        ("a.txt", b"PK\x00\x00\x01\n\x02", ["not a text file"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line_that_says_where(name, text, words, tmp_path):
    data = gzip.compress(glove().encode())[:-12] if text is None else text
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    with pytest.raises(SourceError) as caught:
        open_model(f"vectors:{path}")
    assert "\n" not in str(caught.value)
    for part in words:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("name", "data"),
    [("a.kv", b"x"), ("a.txt", b"\x80\x04\x95"), ("a.model", b""), ("a.pt", b"x"), ("a.bin", b"\0" * 9)],
)
def test_pickles_are_refused(name, data, tmp_path):
    (tmp_path / name).write_bytes(data or b"x")
    with pytest.raises(UnsafeSourceError, match="is a pickle and is not opened"):
        open_model(f"vectors:{tmp_path / name}")


def test_what_is_not_there(tmp_path):
    with pytest.raises(SourceError, match="no file"):
        open_model(f"vectors:{tmp_path / 'none.txt'}")
    with pytest.raises(SourceError, match="is a folder"):
        open_model(f"vectors:{tmp_path}")


# -- texts -------------------------------------------------------------------------------------------------------------


def test_words_are_found_in_texts():
    reader = WordReader.for_words([*WORDS, "u.s.", "well-known", "'s"])
    assert reader.lower
    assert reader.tokens("The parcel, lost!") == ["the", "parcel", ",", "lost", "!"]
    assert reader.tokens("Don't. DO N'T (well-known)") == ["do", "n't", ".", "do", "n't", "(", "well-known", ")"]
    assert reader.tokens("the U.S., card's") == ["the", "u.s.", ",", "card", "'s"]
    assert reader.encode(["the xyz card", "xyz", ""])[0].tolist() == [1, 5]
    assert [r.tolist() for r in reader.encode(["xyz", ""])] == [[0], [0]]
    assert reader.encode([("the", "card")])[0].tolist() == [1, 5]


def test_a_vocabulary_with_capitals_is_asked_as_it_stands_first():
    reader = WordReader.for_words(["Paris", "paris", "card"])
    assert not reader.lower
    assert reader.tokens("Paris paris Card CARD") == ["Paris", "paris", "card", "card"]


def test_unknown_words_can_keep_their_places():
    reader = WordReader(["the", "card"], places=True)
    assert reader.encode(["the xyz card"])[0].tolist() == [2, 1, 3]
    assert reader.vocabulary == 4


def test_a_row_is_the_mean_of_its_known_words(vectors):
    backbone = open_model(f"vectors:{vectors}")
    found = encode(backbone, ["The card", "the unheard-of card", "xyz", "card"])
    features, highest = found.layer(-1), found.layer(0)
    rows = table(backbone).numpy()
    assert np.allclose(features[0], (rows[1] + rows[5]) / 2)
    assert np.array_equal(features[2], np.zeros(WIDTH, np.float32))
    assert np.allclose(features[3], rows[5])
    assert np.array_equal(features[1], features[0])
    assert np.array_equal(highest[0], np.maximum(rows[1], rows[5]))
    assert np.array_equal(highest[2], np.zeros(WIDTH, np.float32))


def test_coverage_counts_words_and_names_some_that_are_not_known(vectors):
    backbone = open_model(f"vectors:{vectors}")
    assert backbone.coverage(["the parcel", "is lost!"]).reason == ""
    found = backbone.coverage(["the parcel is xyz", "abc xyz def", "the card"])
    assert found.share == pytest.approx(2 / 3)
    assert (
        found.reason
        == "its 8 words cover 56% of the words of the rows; among those it does not know: 'xyz', 'abc', 'def'"
    )
    assert not found.ok
    assert backbone.coverage(["我的包裹丢了"]).share == 0.0


@pytest.mark.parametrize(
    ("words", "unit"),
    [
        (["the", "card"], "word"),
        (["的", "一", "a", ","], "character"),
        (["的", "包裹", "银行卡", "card"], "segmented"),
        (["the"] * 40 + ["包裹"], "word"),
        ([], "word"),
    ],
)
def test_the_unit_is_read_off_the_vocabulary(words, unit):
    assert unit_of(words) == unit


def test_characters():
    reader = WordReader.for_words(["我", "的", "卡", "a", "atm", "3"])
    assert reader.unit == "character"
    assert reader.tokens("我的ATM卡 ba3 xy") == ["我", "的", "atm", "卡", "b", "a", "3", "xy"]


def test_chinese_words_back_off_to_characters():
    pytest.importorskip("jieba")
    reader = WordReader.for_words(["包裹", "银行卡", "退款", "我", "丢", "了"])
    assert reader.unit == "segmented"
    assert reader.tokens("我的银行卡丢了，包裹也丢了 OK") == [
        "我", "的", "银行卡", "丢", "了", "，", "包裹", "也", "丢", "了", "ok",
    ]  # fmt: skip
    assert reader.encode(["我们丢了"])[0].tolist() == [4, 5, 6]


def test_without_jieba_the_line_says_what_to_install(monkeypatch):
    from graft.core.errors import MissingExtraError
    from graft.sources import words

    words._jieba.cache_clear()
    monkeypatch.setitem(sys.modules, "jieba", None)
    with pytest.raises(MissingExtraError, match=r"graft-learn\[vectors\]"):
        WordReader(["包裹"], unit="segmented").tokens("包裹")


# -- as a source -------------------------------------------------------------------------------------------------------


def test_the_contract(vectors, tmp_path):
    check_source(f"vectors:{vectors}", ["the parcel is lost", "card", "a lost card, do n't", "xyz"])
    open_model(f"vectors:{vectors}").save(tmp_path / "kept")
    opened = open_native(tmp_path / "kept")
    assert opened.spec.architecture == "word vectors"
    assert torch.equal(table(opened), table(open_model(f"vectors:{vectors}")))


def test_a_folder_is_searched_by_the_first_two_lines(tmp_path, monkeypatch):
    folder = tmp_path / "models"
    folder.mkdir()
    for name in ("one.vec", "two.w2v.txt.gz", "three.glove", "four.txt"):
        put(folder / name, word2vec() if "w2v" in name else glove() + "broken\n")
    put(folder / "notes.txt", "to be\nor not to be\n")
    put(folder / "numbers.txt", "1 2 3 4 5 6 7 8 9 10\n" * 3)
    put(folder / "narrow.txt", "a 1 2\nb 3 4\n")
    put(folder / "short.txt", "3 8\n")
    put(folder / "cut.txt.gz", b"")
    put(folder / "other.csv", glove())
    (folder / "deep" / "made").mkdir(parents=True)
    put(folder / "deep" / "deep.vec", glove())
    (folder / "made").mkdir()
    put(folder / "made" / "vectors.txt", glove())
    (folder / "made" / "graft.json").write_text("{}")
    monkeypatch.setenv("GRAFT_MODELS", str(folder))
    found = [spec for spec in list_models(modality="text") if spec.uri.startswith("vectors:")]
    assert sorted(spec.name for spec in found) == ["deep", "four", "one", "three", "two"]
    assert all(spec.hidden_size == WIDTH and spec.bytes for spec in found)


def test_the_path_of_a_file_is_enough(vectors, tmp_path):
    assert open_model(str(vectors)).spec.uri == f"vectors:{vectors}"
    with pytest.raises(UsageError, match="no model"):
        open_model(str(put(tmp_path / "notes.txt", "to be\n")))


def test_it_is_ranked_and_probed(vectors):
    texts = ["the parcel is lost", "do the card"] * 15
    data = load((texts, ["lost", "card"] * 15))
    ranking = rank([describe_model(f"vectors:{vectors}")], data)
    assert ranking.usable
    assert not ranking.rows[0].failure
    assert Probe(f"vectors:{vectors}").fit(data).predict(["parcel lost"]).tolist() == ["lost"]


def test_nothing_optional_is_imported(vectors):
    code = (
        "import sys; from graft.sources.base import open_model\n"
        f"open_model({f'vectors:{vectors}'!r})\n"
        "print([m for m in ('gensim', 'jieba') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.data
def test_the_glove_subset_and_the_tencent_characters():
    folder = f"{os.environ['GRAFT_DATA']}/text"
    glove_ = open_model(f"vectors:{folder}/word_vectors/glove.6B.50d.5k-subset.txt.gz")
    assert glove_.spec.parameters == 5_051 * 50
    king, queen, pasta = (table(glove_)[glove_.reader.index[word]] for word in ("king", "queen", "pasta"))
    cosine = torch.nn.functional.cosine_similarity
    assert float(cosine(king, queen, dim=0)) == pytest.approx(0.78, abs=0.01)
    assert float(cosine(king, pasta, dim=0)) == pytest.approx(0.08, abs=0.01)
    tencent = open_model(f"vectors:{folder}/thucnews/tencent_char_200d.w2v.txt.gz")
    assert (len(tencent.reader.words), tencent.spec.hidden_size, tencent.reader.unit) == (4_729, 200, "character")
    assert "vectors" in SOURCES
