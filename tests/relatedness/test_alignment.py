"""Alignment over columns and classes: closed forms, invariances, and what chance gives."""

import numpy as np
import pytest

from graft.core.errors import DataError
from graft.relatedness.alignment import class_cka, column_cka, linear_cka


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_cka_sees_neither_turn_nor_scale_nor_offset(rng):
    X = rng.normal(size=(40, 5))
    turn = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    assert linear_cka(X, 3 * X @ turn + 2) == pytest.approx(1.0)
    assert linear_cka(X, X) == pytest.approx(1.0)


def test_cka_is_the_formula_on_gram_matrices(rng):
    X, Y = rng.normal(size=(10, 3)), rng.normal(size=(10, 7))
    centre = np.eye(10) - 0.1
    K, L = centre @ X @ X.T @ centre, centre @ Y @ Y.T @ centre
    expected = np.trace(K @ L) / np.sqrt(np.trace(K @ K) * np.trace(L @ L))
    assert linear_cka(X, Y) == pytest.approx(expected)


def test_columns_of_one_distribution_align_whatever_the_number_of_rows(rng):
    scale = np.linspace(3, 0.5, 12)
    for rows in (40, 400):
        value, low, high = column_cka(rng.normal(size=(rows, 12)) * scale, rng.normal(size=(rows, 12)) * scale)
        assert value > 0.9
        assert low <= value <= high <= 1.0


def test_columns_that_vary_otherwise_do_not_align(rng):
    one, two = rng.normal(size=(400, 8)), rng.normal(size=(400, 8))
    one[:, :4] *= 6
    two[:, 4:] *= 6
    assert column_cka(one, two)[2] < 0.3


def test_classes_in_the_same_places_align_in_other_columns_too(rng):
    y = np.arange(240) % 8
    centres = rng.normal(size=(8, 5))
    one = centres[y] + 0.3 * rng.normal(size=(240, 5))
    two = centres[y] @ rng.normal(size=(5, 9)) + 0.3 * rng.normal(size=(240, 9))
    found = class_cka(one, y, two, y)
    assert found["p"] < 0.05
    assert found["value"][0] > found["chance"]
    strange = class_cka(one, y, rng.normal(size=(8, 9))[y] + 0.3 * rng.normal(size=(240, 9)), y)
    assert strange["p"] > 0.05


def test_two_classes_are_refused(rng):
    y = np.arange(20) % 2
    with pytest.raises(DataError, match="too few for an alignment"):
        class_cka(rng.normal(size=(20, 3)), y, rng.normal(size=(20, 3)), y)
