import numpy as np
import pytest
import torch

from graft.nn.mixing import left_out_error, mix_layers
from graft.nn.ridge import fit_ridge


def made(n=80, d=5, good=1, seed=0):
    """Three layers of which one tells the targets."""
    rng = np.random.default_rng(seed)
    layers = rng.normal(size=(3, n, d)).astype(np.float32)
    return layers, (layers[good] @ rng.normal(size=(d, 2))).astype(float) + 0.1 * rng.normal(size=(n, 2))


@pytest.mark.parametrize("shape", [(40, 6), (12, 30)], ids=["more rows", "more columns"])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_error_is_that_of_ridge(shape, weighted):
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=shape), rng.normal(size=(shape[0], 2))
    weight = rng.uniform(0.5, 2, shape[0]) if weighted else np.ones(shape[0])
    strengths = (1e-2, 1.0)
    wanted = fit_ridge(X, Y, weight=weight, strengths=strengths).errors
    found = [float(left_out_error(*map(torch.from_numpy, (X, Y, weight)), strength)) for strength in strengths]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_the_layer_that_tells_most_gets_the_largest_share():
    for good in range(3):
        layers, Y = made(good=good)
        shares = mix_layers(layers, Y, strength=1e-2)
        assert shares.sum() == pytest.approx(1)
        assert shares[good] > 0.8


def test_no_step_makes_it_worse_than_equal_shares():
    layers, Y = made()
    noise = np.random.default_rng(3).normal(size=Y.shape)
    for targets in (Y, noise):
        errors = [
            float(left_out_error(torch.from_numpy(np.tensordot(s, layers, 1)).double(), torch.from_numpy(targets), torch.ones(80), 0.1))
            for s in (np.full(3, 1 / 3), mix_layers(layers, targets, strength=0.1))
        ]  # fmt: skip
        assert errors[1] <= errors[0] + 1e-6


def test_equal_calls_give_equal_bytes_and_move_no_random_state():
    layers, Y = made()
    state = torch.get_rng_state()
    assert np.array_equal(mix_layers(layers, Y, strength=0.1), mix_layers(layers, Y, strength=0.1))
    assert torch.equal(state, torch.get_rng_state())
    np.testing.assert_allclose(mix_layers(layers, Y, strength=0.1, steps=0), 1 / 3)
