import json

import numpy as np
import pytest

from graft.core.errors import DataError
from graft.core.runtime import silent
from graft.data.load import load
from graft.pretrain.tokens import batches_of, learn_reader, write_corpus
from graft.sources.readers import END

TEXTS = [f"the {color} parcel number {i} is lost" for i in range(60) for color in ("red", "blue")]


def corpus(folder, texts=TEXTS, unit="word", seed=0):
    folder.mkdir(exist_ok=True)
    data = load(texts, labelled=False)
    reader = learn_reader(data, unit=unit, vocabulary=500, longest=64)
    return reader, write_corpus(reader, data, folder, seed=seed, progress=silent)


def test_every_row_is_there_once_and_ends_with_the_end_token(tmp_path):
    reader, made = corpus(tmp_path)
    end = reader.number(END)
    both = np.concatenate([made.train, made.held_out])
    rows = np.split(both, np.flatnonzero(both == end) + 1)[:-1]
    assert sorted(reader.decode(row) for row in rows) == sorted(TEXTS)
    assert made.rows == 114
    assert int((made.held_out == end).sum()) == 6
    held = [reader.decode(row) for row in np.split(made.held_out, np.flatnonzero(made.held_out == end) + 1)[:-1]]
    assert made.characters == sum(map(len, held))


def test_the_seed_chooses_what_is_held_out(tmp_path):
    parts = [np.array(corpus(tmp_path / str(i), seed=seed)[1].held_out) for i, seed in enumerate((0, 0, 1))]
    assert np.array_equal(parts[0], parts[1])
    assert not np.array_equal(parts[0], parts[2])


def test_a_whole_corpus_is_used_again_and_half_of_one_is_not(tmp_path):
    _, made = corpus(tmp_path)
    before = (tmp_path / "train.tokens").stat().st_mtime_ns
    _, again = corpus(tmp_path)
    assert (tmp_path / "train.tokens").stat().st_mtime_ns == before
    assert np.array_equal(made.train, again.train)
    (tmp_path / "corpus.json").unlink()
    (tmp_path / "train.tokens").write_bytes(b"half")
    assert len(corpus(tmp_path)[1].train) == 114 * 8
    assert json.loads((tmp_path / "corpus.json").read_text())["rows"] == 114


def test_rows_are_not_cut(tmp_path):
    long = ["word " * 500, *TEXTS]
    reader, made = corpus(tmp_path, long)
    assert len(made.train) + len(made.held_out) == sum(len(text.split()) + 1 for text in long)
    assert len(reader.encode(long[:1])[0]) == 64


def test_an_epoch_covers_the_corpus_in_an_order_of_its_own(tmp_path):
    _, made = corpus(tmp_path)
    orders = []
    for epoch in (0, 1):
        starts = made.blocks(10, epoch, seed=0)
        assert len(starts) == len(made.train) // 10
        assert len(np.unique(starts // 1)) == len(starts)
        assert np.diff(np.sort(starts)).tolist() == [10] * (len(starts) - 1)
        assert np.array_equal(made.take(starts[:1], 10)[0], made.train[starts[0] : starts[0] + 10])
        orders.append(starts.tolist())
    assert orders[0] != orders[1]
    assert made.blocks(10, 0, seed=0).tolist() == orders[0]


def test_batches_hold_all_blocks(tmp_path):
    _, made = corpus(tmp_path)
    batches = list(batches_of(made, 10, 4, 0, lambda ids, rng: {"ids": ids})(0))
    assert sum(len(batch["ids"]) for batch in batches) == len(made.train) // 10
    assert {batch["ids"].shape for batch in batches[:-1]} == {(4, 10)}


def test_too_little_is_refused(tmp_path):
    _, made = corpus(tmp_path)
    with pytest.raises(DataError, match=r"fewer than one block of 100000; add text, or lower --length"):
        batches_of(made, 100_000, 4, 0, lambda ids, rng: {})
    with pytest.raises(DataError, match=r"has 1 row\(s\)"):
        corpus(tmp_path / "one", ["a single row"])


@pytest.mark.parametrize(
    ("texts", "unit", "expected"),
    [
        (["ACGTACGTACGTACGTACGTACGT", "TTTTACGTACGTACGTACGTAAAA"], "auto", "character"),
        (["今天天气很好我们去公园", "明天可能会下雨记得带伞"], "auto", "character"),
        (["the weather is good today", "it may rain tomorrow though"], "auto", "subword"),
    ],
)
def test_the_unit_is_read_off_the_writing(tmp_path, texts, unit, expected):
    reader, _ = corpus(tmp_path, texts * 20, unit)
    tokens = reader.encode(texts[:1])[0]
    assert (len(tokens) == len(texts[0])) == (expected == "character")
    assert reader.decode(tokens).strip() == texts[0].lower()
