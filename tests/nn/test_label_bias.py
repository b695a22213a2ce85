import numpy as np
import pytest
from scipy.special import softmax

from graft.core.errors import DataError, UsageError
from graft.nn.label_bias import match_offsets, mean_offsets

SCORES = np.random.default_rng(0).normal(size=(200, 5)) + np.array([2, 0, 0, -1, 1])


@pytest.mark.parametrize("prior", [None, [0.5, 0.2, 0.1, 0.1, 0.1]])
def test_matched_shares_are_the_prior(prior):
    chances = softmax(SCORES + match_offsets(SCORES, prior and np.array(prior)), axis=1)
    np.testing.assert_allclose(chances.mean(axis=0), prior or np.full(5, 0.2), atol=1e-5)


def test_a_bias_added_to_every_row_is_taken_out():
    bias = np.array([3.0, -1, 0, 0.5, 0])
    offsets = match_offsets(SCORES + bias)
    np.testing.assert_allclose(offsets, match_offsets(SCORES) - (bias - bias.mean()), atol=1e-4)


def test_the_mean_is_the_first_step_and_centred():
    offsets = mean_offsets(SCORES)
    share = softmax(SCORES, axis=1).mean(axis=0)
    np.testing.assert_allclose(np.diff(offsets), -np.diff(np.log(share)))
    assert offsets.sum() == pytest.approx(0)


def test_what_cannot_be_calibrated_is_said():
    with pytest.raises(DataError, match="finite scores of at least one row"):
        mean_offsets(np.empty((0, 3)))
    with pytest.raises(UsageError, match="5 positive shares"):
        match_offsets(SCORES, np.array([0.5, 0.5, 0, 0, 0]))
