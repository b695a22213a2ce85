import numpy as np
import pytest
from scipy.sparse import coo_matrix, csr_array, csr_matrix

from graft.core.errors import DataError
from graft.data import columns
from graft.data.load import load, recipe, stream
from graft.data.sparse import chosen, frequencies, stacked

DENSE = np.array([[0, 2, 0], [1, 0, 0], [0, 0, 0], [0, 2, 0]])
LABELS = ["a", "b", "a", "b"]


@pytest.mark.parametrize("form", [csr_matrix, csr_array, coo_matrix], ids=lambda form: form.__name__)
def test_matrices_are_read_and_left_as_they_are(form):
    X = form(DENSE)
    data = load((X, LABELS))
    assert data.task.modality == "counts"
    assert data.columns == ()
    np.testing.assert_array_equal(stacked(data.take(np.array([3, 0])), 3).toarray(), DENSE[[3, 0]])
    assert (X.toarray() == DENSE).all()
    assert any("repeat an earlier row" in note for note in data.notes)
    assert recipe(data)["kinds"] == {"features": "3", "first": "0"}


def test_doubled_and_zero_entries_are_summed_and_dropped():
    X = coo_matrix(([1.0, 2.0, 0.0], ([0, 0, 1], [1, 1, 2])), (2, 3))
    first, second = load(X, labelled=False).take()
    assert (first.indices.tolist(), first.values.tolist(), len(second)) == ([1], [3.0], 0)


@pytest.mark.parametrize(
    ("X", "line"),
    [
        (csr_matrix([[0.0, np.nan], [1, 0]]), r"feature_1 is nan \[row 1\]"),
        (csr_matrix([[0.0, 1], [0, 0], [-2, 0]]), r"feature_0 is -2.0 \[row 3\]; counts are 0 or more"),
        (csr_matrix([[0.0, 1j]]), "matrix of complex128 holds no counts"),
        (csr_matrix((3, 0)), "3x0 matrix of float64 holds no counts"),
    ],
)
def test_what_is_no_count_is_named(X, line):
    with pytest.raises(DataError, match=line):
        load(X, labelled=False)


def test_files_of_other_widths_get_the_width_of_the_first(write):
    first = load(write("a.svm", "1 1:1 3:1\n-1 2:1\n"))
    narrow = load(write("b.svm", "1 1:1\n-1 2:1\n"), like=first)
    wide = load(write("c.svm", "1 1:1 5:1\n-1 2:1\n"), like=first)
    assert (narrow.X.features, wide.X.features) == (3, 3)
    assert wide.take()[0].indices.tolist() == [0]
    assert "up to 2 feature(s) beyond the 3 known ones are left out" in wide.notes
    assert recipe(wide)["kinds"] == recipe(first)["kinds"]
    same = load((csr_matrix([[1.0, 0, 1, 0], [0, 1, 0, 9]]), ["1", "-1"]), like=first)
    assert same.take()[1].indices.tolist() == [1]
    assert same.X.digest() == first.X.digest()
    with pytest.raises(DataError, match="numbered from 0, those of the model from 1"):
        load(write("d.svm", "1 0:1\n"), like=first)


def test_numbers_follow_the_recipe_in_every_chunk(write):
    first = load(write("a.svm", "1 0:1 3:1\n-1 2:1\n"))
    path = write("b.svm", "1 3:1\nx\n-1 2:4 9:1\n")
    parts = list(stream(path, recipe(first), chunk=1))
    assert [part.data.take()[0].indices.tolist() for part in parts if len(part.data)] == [[3], [2]]
    assert [part.bad for part in parts if part.bad] == [[(1, "label 'x' is not a number")]]
    assert [part.data.y.tolist() for part in parts if len(part.data)] == [[1], [0]]
    whole = list(stream(csr_matrix(DENSE), load((csr_matrix(DENSE), LABELS)), chunk=3))
    assert [len(part.data) for part in whole] == [3, 1]
    assert whole[1].data.take()[0].values.tolist() == [2.0]


def test_kinds_of_data_are_not_mixed(write):
    texts = load((["good", "bad"], ["+", "-"]))
    with pytest.raises(DataError, match="sparse counts cannot be read by a model of text"):
        load(write("a.svm", "1 1:1\n-1 2:1\n"), like=texts)
    with pytest.raises(DataError, match="no input column 'counts'"):
        load(["good"], like=load(write("a.svm", "1 1:1\n-1 2:1\n")), labelled=False)


def test_rows_on_disk_are_equal(write, monkeypatch):
    text = "".join(f"{i % 2} {i}:1 {i + 5}:{i}\n" for i in range(1, 60))
    inside = load(write("a.svm", text))
    monkeypatch.setattr(columns, "MEMORY", 100)
    outside = load(write("a.svm", text))
    assert outside.X.owner is not None
    assert outside.fingerprint() == inside.fingerprint()
    assert len(np.unique(inside.X.keys(inside.rows))) == len(inside)


def test_the_most_frequent_features_are_kept():
    data = load((csr_matrix(DENSE), LABELS))
    assert [part.tolist() for part in frequencies(data, 9)] == [[0, 1], [1, 2]]
    kept, _ = frequencies(data, 1)
    assert kept.tolist() == [1]
    assert [len(chosen(row, kept)) for row in data.take()] == [1, 0, 0, 1]
    with pytest.raises(DataError, match="no row has any feature"):
        frequencies(data.select(np.array([2])), 9)
