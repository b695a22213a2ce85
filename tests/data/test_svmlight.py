import gzip

import numpy as np
import pytest
from sklearn.datasets import dump_svmlight_file, load_svmlight_file

from graft.core.errors import DataError
from graft.data.formats import blocks
from graft.data.load import load
from graft.data.sparse import CountRows, stacked

FOUR = "1 1:2 3:1\n-1 2:5\n+1 1:1 # remark 9:9\n\n-1.0 4:0.5\n"


def matrix(data):
    return stacked(data.take(), data.X.features).toarray()


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_lines_are_read_as_scikit_learn_reads_them(tmp_path, rows):
    rng = np.random.default_rng(0)
    X, y = rng.poisson(0.3, (40, 12)), rng.choice([-1, 1], 40)
    path = tmp_path / "d.svm"
    dump_svmlight_file(X, y, str(path), zero_based=True)
    peer, labels = load_svmlight_file(str(path), n_features=12, zero_based=True)
    parts = list(blocks(path, rows=rows))
    found = [
        row
        for part in parts
        for row in CountRows(part.table.column("counts"), features=12).take(range(len(part.lines)))
    ]
    np.testing.assert_array_equal(stacked(found, 12).toarray(), peer.toarray())
    assert [name for part in parts for name in part.table.column("label").to_pylist()] == [f"{v:.0f}" for v in labels]
    assert np.concatenate([part.lines for part in parts]).tolist() == list(range(1, 41))


def test_numbers_from_one_labels_remarks_and_gzip(write):
    data = load(write("d.libsvm.gz", gzip.compress(FOUR.encode())))
    assert data.task.modality == "counts"
    assert data.labels.tolist() == ["1", "-1", "1", "-1"]
    assert matrix(data).tolist() == [[2, 0, 1, 0], [0, 5, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0.5]]
    assert data.line_of.tolist() == [1, 2, 3, 5]
    assert data.notes == ("sparse counts of 4 features, numbered from 1 (0 does not occur)",)


def test_numbers_from_zero_are_seen_and_said(write):
    data = load(write("d.svmlight", FOUR.replace("2:5", "0:5")))
    assert data.X.features == 5
    assert data.notes == ("sparse counts of 5 features, numbered from 0 (0 occurs)",)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1 2:1 2:3", "index 2 follows 2: indices must increase"),
        ("1 3:1 2:3", "index 2 follows 3: indices must increase"),
        ("1 2:x", "feature 2 'x' is not a number"),
        ("1 2:1e", "feature 2 '1e' is not a number"),
        ("1 x:2", "index 'x' is not a number from 0"),
        ("1 -2:2", "index '-2' is not a number from 0"),
        ("1 1:2:3 4", "feature 1 '2:3' is not a number"),
        ("1 7", "'7' is no index:count"),
        ("1 2:nan", "feature 2 is nan"),
        ("1 2:-1", "feature 2 is -1: counts are 0 or more"),
        ("1 2:1e999", "feature 2 is inf: counts are 0 or more"),
        ("1 2147483647:1", "index 2147483647 is too large"),
        ("good 1:1", "label 'good' is not a number"),
        ("nan 1:1", "label is nan"),
        ("1,3 1:1", "several labels, '1,3': a row has one class"),
        ("1 2:1 qid:3", "qid stands behind features"),
    ],
)
def test_a_line_that_is_wrong_is_named(write, line, reason):
    path = write("d.svm", f"{FOUR}{line}\n")
    with pytest.raises(DataError) as error:
        load(path)
    assert str(error.value) == f"{reason} [d.svm, line 6]; --bad-rows drop leaves such rows out"
    assert len(load(path, bad_rows="drop")) == 4


def test_a_bad_byte_spoils_its_line(write):
    with pytest.raises(DataError, match=r"byte 0xff at position 3 is not utf-8 \[d.svm, line 6\]"):
        load(write("d.svm", FOUR.encode() + b"1 \xff:2\n"))


def test_a_missing_label_is_named_and_does_not_matter_for_prediction(write):
    path = write("d.svm", FOUR + "2:1 4:1\n")
    assert "1 row(s) without a label left out (line 6)" in load(path).notes
    assert len(load(path, labelled=False)) == 5
    with pytest.raises(DataError, match="the label column 'label' is empty"):
        load(write("e.svm", "1:1\n2:1\n"))


def test_queries_are_left_out_with_a_note_or_are_groups(write):
    path = write("d.svm", "1 qid:1 1:1\n2 qid:1 2:1\n1 qid:7 3:1\n2 3:1\n")
    data = load(path)
    assert data.groups is None
    assert any(note.startswith("qid is left out") for note in data.notes)
    groups = load(path, group="qid").groups
    assert groups[0] == groups[1] != groups[2]
    assert groups[3] not in groups[:3]


def test_nothing_in_any_row(write):
    with pytest.raises(DataError, match="no row has any feature"):
        load(write("d.svm", "1\n-1\n"))
