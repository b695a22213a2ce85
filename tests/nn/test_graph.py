"""Labels that spread over a graph: closed forms, symmetries, what is out of reach."""

import numpy as np
import pytest

from graft.nn.graph import neighbour_graph, soft_labels, spread


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def graph():
    return neighbour_graph(unit(np.random.default_rng(0).normal(size=(40, 5))), 6)


def test_the_graph_is_that_of_the_formula(graph):
    rows = unit(np.random.default_rng(0).normal(size=(40, 5))).astype(float)
    close = rows @ rows.T
    np.fill_diagonal(close, -np.inf)
    A = np.zeros_like(close)
    for i in range(40):
        near = np.argsort(-close[i])[:6]
        A[i, near] = np.maximum(close[i, near], 0) ** 3
    W = A + A.T
    root = 1 / np.sqrt(W.sum(1))
    np.testing.assert_allclose(graph.toarray(), root[:, None] * W * root, atol=1e-6)
    assert np.abs(np.linalg.eigvalsh(graph.toarray())).max() <= 1 + 1e-9


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.99])
def test_spreading_solves_the_equations(graph, alpha):
    start = np.zeros((40, 4))
    start[[0, 7, 9], [0, 1, 2]] = 1  # the last column is empty
    found = spread(graph, start, alpha)
    np.testing.assert_allclose(found, np.linalg.solve(np.eye(40) - alpha * graph.toarray(), start), atol=1e-4)
    assert not found[:, 3].any()


def test_two_islands_do_not_hear_of_each_other():
    rows = unit(np.vstack([np.eye(2)[0] + 0.1 * np.random.default_rng(1).normal(size=(8, 2)), -np.ones((3, 2))]))
    graph = neighbour_graph(rows, 2)
    start = np.zeros((11, 2))
    start[0, 0] = 1
    soft = soft_labels(spread(graph, start, 0.9), np.array([0.7, 0.3]))
    assert np.allclose(soft[:8, 0], 1)
    assert np.allclose(soft[8:], [0.7, 0.3])


def test_class_masses_follow_the_shares(graph):
    start = np.zeros((40, 2))
    start[:6, 0] = start[6, 1] = 1  # six to one known, but as many of either class are expected
    even, uneven = (soft_labels(spread(graph, start, 0.99), np.array(q))[:, 1].mean() for q in ([0.5, 0.5], [0.9, 0.1]))
    assert uneven < even - 0.1


def test_one_row_has_no_neighbour():
    assert neighbour_graph(np.ones((1, 1), np.float32), 5).nnz == 0
