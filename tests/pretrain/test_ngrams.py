import numpy as np
import pytest

from graft.pretrain.ngrams import NGrams


def test_chances_sum_to_one():
    rng = np.random.default_rng(0)
    model = NGrams(rng.integers(0, 7, 500), 7)
    for before in range(7):
        unigram, bigram = model.nats(np.full(7, before), np.arange(7))
        assert np.exp(-unigram).sum() == pytest.approx(1)
        assert np.exp(-bigram).sum() == pytest.approx(1)


def test_counts_by_hand():
    model = NGrams(np.array([0, 1, 0, 1, 0, 2] * 20), 3)
    unigram, bigram = model.nats(np.array([0]), np.array([1]))
    assert np.exp(-unigram[0]) == pytest.approx((40 + 1) / (120 + 3))
    chance = np.exp(-unigram[0])
    assert np.exp(-bigram[0]) == pytest.approx((40 + model.prior * chance) / (60 + model.prior))


def test_a_pair_that_tells_nothing_is_smoothed_away():
    rng = np.random.default_rng(1)
    random = NGrams(rng.integers(0, 50, 3000), 50)
    fixed = NGrams(np.tile(np.arange(50), 60), 50)
    assert random.prior > fixed.prior
    test = rng.integers(0, 50, (2, 2000))
    unigram, bigram = random.nats(*test)
    assert bigram.mean() < unigram.mean() + 0.1
