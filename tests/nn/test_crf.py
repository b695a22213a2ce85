"""The CRF against sums and maxima over all sequences, written out."""

import itertools

import numpy as np
import pytest
import torch

from graft.core.ragged import ragged
from graft.core.spans import transitions
from graft.nn.crf import CRF

TAGS = 5
LENGTHS = (3, 1, 4, 2)


@pytest.fixture
def chain():
    torch.manual_seed(0)
    crf = CRF(TAGS)
    for parameter in crf.parameters():
        torch.nn.init.normal_(parameter)
    rng = np.random.default_rng(0)
    return crf, ragged(rng.normal(size=(length, TAGS)) for length in LENGTHS)


def every(crf, emissions):
    """(sequence, score) of all sequences of one sentence."""
    begin, transition, end = (part.detach().double().numpy() for part in crf.scores())
    for tags in itertools.product(range(TAGS), repeat=len(emissions)):
        score = begin[tags[0]] + end[tags[-1]] + emissions[range(len(tags)), tags].sum()
        yield tags, score + sum(transition[a, b] for a, b in itertools.pairwise(tags))


def test_likelihood_is_that_of_all_sequences_summed(chain):
    crf, emissions = chain
    gold = [(1, 2, 0), (3,), (0, 1, 1, 3), (0, 0)]
    flat = torch.from_numpy(np.concatenate(list(emissions)))
    loss = crf.nll(flat, torch.tensor(sum(gold, ())), torch.tensor(LENGTHS))
    for row, tags in enumerate(gold):
        scores = dict(every(crf, emissions[row]))
        wanted = np.logaddexp.reduce(list(scores.values())) - scores[tags]
        assert float(loss[row].detach()) == pytest.approx(wanted, abs=1e-4)


def test_best_sequence_and_marginals_are_those_of_all_sequences(chain):
    crf, emissions = chain
    best, chances, outputs = crf.decode(emissions), crf.marginals(emissions), crf.outputs(emissions)
    allowed = transitions(TAGS)
    for row, found in enumerate(best):
        scores = dict(every(crf, emissions[row]))
        assert tuple(found.tolist()) == max(scores, key=scores.get)
        assert allowed[0, found[0]]
        assert all(allowed[a, b] for a, b in itertools.pairwise(found))
        total = np.logaddexp.reduce(list(scores.values()))
        wanted = np.zeros((LENGTHS[row], TAGS))
        for tags, score in scores.items():
            wanted[range(len(tags)), tags] += np.exp(score - total)
        assert np.allclose(chances[row], wanted, atol=1e-6)
        assert np.array_equal(outputs[row].argmax(axis=1), found)
        assert np.allclose(outputs[row].sum(axis=1), 1)


def test_gradient_of_the_emissions_is_marginals_less_truth(chain):
    crf, emissions = chain
    one = torch.from_numpy(emissions[0]).float().requires_grad_()
    tags = torch.tensor([1, 2, 0])
    crf.nll(one, tags, torch.tensor([3])).sum().backward()
    truth = np.eye(TAGS)[tags.numpy()]
    assert np.allclose(one.grad.numpy(), crf.marginals(emissions[:1])[0] - truth, atol=1e-4)


def test_a_row_alone_is_as_in_a_batch_and_empty_ones_cost_nothing(chain):
    crf, emissions = chain
    alone = crf.outputs(emissions[2:3])[0]
    assert np.allclose(crf.outputs(emissions)[2], alone)
    mixed = ragged([emissions[0], np.zeros((0, TAGS))])
    assert [len(row) for row in crf.outputs(mixed)] == [3, 0]
    loss = crf.nll(torch.zeros(2, TAGS), torch.tensor([0, 0]), torch.tensor([2, 0]))
    assert float(loss[1].detach()) == 0.0


def test_arrays_come_back(chain):
    crf, emissions = chain
    again = CRF.from_arrays(crf.arrays())
    assert np.array_equal(again.outputs(emissions)[0], crf.outputs(emissions)[0])
