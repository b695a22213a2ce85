"""The BiLSTM over words and letters: padding says nothing, letters do."""

import torch

from graft.nn.word_bilstm import WordBiLSTM


def batch(rows, words, letters):
    torch.manual_seed(1)
    return {
        "input_ids": torch.randint(1, 9, (rows, words)),
        "letters": torch.randint(1, 6, (rows, words, letters)),
        "attention_mask": torch.ones(rows, words),
    }


def test_padding_changes_nothing():
    torch.manual_seed(0)
    network = WordBiLSTM(10, 8, embedded=6, filters=4, width=8, depth=2).eval()
    one = batch(1, 3, 5)
    padded = {
        "input_ids": torch.nn.functional.pad(one["input_ids"], (0, 2)),
        "letters": torch.nn.functional.pad(one["letters"], (0, 4, 0, 2)),
        "attention_mask": torch.nn.functional.pad(one["attention_mask"], (0, 2)),
    }
    with torch.no_grad():
        whole, more = network.forward_features(one)[-1], network.forward_features(padded)[-1]
        assert torch.allclose(whole, more[:, :3], atol=1e-6)
        assert torch.allclose(network.pool(whole, one), network.pool(more, padded), atol=1e-6)


def test_unknown_words_differ_by_their_letters():
    torch.manual_seed(0)
    network = WordBiLSTM(10, 8, embedded=6, filters=4, width=8).eval()
    one = batch(2, 1, 4)
    one["input_ids"][:] = 1
    with torch.no_grad():
        states = network.forward_features(one)
    assert not torch.allclose(states[0][0], states[0][1])
    groups = [id(p) for block in network.blocks() for p in block.parameters()]
    assert sorted(groups) == sorted(id(p) for p in network.parameters())
