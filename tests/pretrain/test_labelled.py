"""What objectives with labels share."""

import numpy as np
import pytest

from graft.core.errors import DataError
from graft.core.task import Task
from graft.pretrain.labelled import TokenRows, has_label, held_out_labelled
from graft.sources.readers import END, TextReader

CLASSES = Task("classification", "text", ("a", "b", "c"))
VALUES = Task("regression", "text")


def test_of_every_class_a_share_is_held_out_and_a_row_stays():
    y = np.array([0] * 60 + [1] * 30 + [2] + [-1] * 200)
    held_out = held_out_labelled(y, CLASSES, 0)
    assert np.bincount(y[held_out], minlength=3).tolist() == [12, 6, 0]
    assert not held_out[y < 0].any()
    assert np.array_equal(held_out, held_out_labelled(y, CLASSES, 0))
    assert not np.array_equal(held_out, held_out_labelled(y, CLASSES, 1))


@pytest.mark.parametrize(("rows", "share"), [(100, 0.2), (2_000, 0.1), (20_000, 0.05), (400_000, 0.0125)])
def test_about_two_hundred_are_held_out_and_five_thousand_at_most(rows, share):
    assert held_out_labelled(np.zeros(rows), VALUES, 0).mean() == pytest.approx(share, rel=0.01)


def test_few_labels():
    assert held_out_labelled(np.array([0, 0, 1, -1]), CLASSES, 0).sum() == 1
    with pytest.raises(DataError, match=r"only 2 row\(s\) have a label; label more"):
        held_out_labelled(np.array([0, 1, -1, -1]), CLASSES, 0)
    assert has_label(np.array([np.nan, 0.5]), VALUES).tolist() == [False, True]


def test_rows_of_a_corpus_are_as_the_reader_encodes_them():
    texts = ["where is my parcel", "", "my card is lost and found and lost again", "help"]
    reader = TextReader.build(texts, longest=6)
    whole = reader.encode_whole(texts)
    tokens = np.concatenate([np.append(ids, reader.number(END)) for ids in whole])
    rows = TokenRows(tokens, reader)
    assert len(rows) == 4
    assert [rows[i].tolist() for i in range(4)] == [ids.tolist() for ids in reader.encode(texts)]
