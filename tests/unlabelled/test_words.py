"""The columns that tell domains apart, chosen by a sparse classifier."""

import numpy as np
import pytest
from scipy import sparse

from graft.core.errors import UsageError
from graft.unlabelled.words import telling_columns


def rows(share, n=300, seed=0):
    return sparse.csr_matrix((np.random.default_rng(seed).random((n, len(share))) < share).astype(float))


def test_a_copy_of_a_word_is_not_listed_beside_it():
    one, two = rows([0.5, 0.5, 0.5], seed=1), rows([0.9, 0.5, 0.5], seed=2)
    doubled = [sparse.hstack([X, X[:, :1]], format="csr") for X in (one, two)]
    found = telling_columns(*doubled, ["word", "b", "c", "word again"], top=1)
    assert len(found) == 1
    assert found[0].name.startswith("word")
    assert found[0].difference[0] > 0


def test_alike_domains_have_no_such_words():
    assert telling_columns(rows([0.5] * 6, seed=1), rows([0.5] * 6, seed=2)) == []


def test_dense_rows_do_as_well():
    rng = np.random.default_rng(0)
    found = telling_columns(rng.normal(size=(100, 3)), rng.normal([0, 0, 2], 1, (100, 3)), top=1)
    assert [one.name for one in found] == ["2"]


def test_names_must_fit():
    with pytest.raises(UsageError, match="2 names for 3 columns"):
        telling_columns(rows([0.5] * 3), rows([0.9] * 3), ["a", "b"])
