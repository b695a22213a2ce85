"""Passes that visit the rows that were learned worst."""

import numpy as np
import pytest
import torch

from graft.core.errors import UsageError
from graft.core.runtime import seeded
from graft.data.load import load
from graft.sources.base import open_model
from graft.sources.native import build_backbone
from graft.transfer.finetune import Finetune
from graft.transfer.focus import Focus


def test_the_hardest_come_again_and_others_are_drawn():
    focus = Focus(100, 0.4, seed=1)
    assert sorted(focus.visited(0)) == list(range(100))
    focus.saw(torch.arange(100), torch.arange(100).float())
    rows = focus.visited(1)
    assert len(set(rows.tolist())) == 40
    assert set(range(80, 100)) <= set(rows.tolist())
    focus.saw(torch.from_numpy(rows), torch.zeros(40))
    assert set(range(80, 100)).isdisjoint(focus.visited(2)[:20].tolist())


def test_a_pass_taken_up_again_visits_the_same_rows():
    one = Focus(50, 0.5)
    one.saw(torch.arange(50), torch.rand(50, generator=torch.Generator().manual_seed(0)))
    rows = one.visited(1)
    one.saw(torch.from_numpy(rows[:10]), torch.full((10,), 9.0))  # killed here
    other = Focus(50, 0.5)
    other.load_state_dict(one.state_dict())
    assert np.array_equal(other.visited(1), rows)


def test_it_takes_fewer_steps_and_still_learns():
    whole, part = (Finetune("sbert:all-MiniLM-L6-v2", epochs=21, batch_size=8, focus=focus) for focus in (1.0, 0.5))
    assert whole.steps(800) == 2100
    assert part.steps(800) == 1100
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2))
    data = load((X, np.where(np.square(X).sum(1) > 1.4, "out", "in").tolist()))
    with seeded(0):
        backbone = build_backbone(data)
    tuned = Finetune(backbone, epochs=60, lr=1e-2, head_lr=1e-2, focus=0.3).fit(data)
    assert np.mean(tuned.predict(data) == data.labels) > 0.95


def test_the_same_seed_gives_the_same_weights_also_beside_cached_blocks(tiny_bert, texts):
    first, second = (
        Finetune(f"hf:{tiny_bert}", blocks=1, epochs=4, batch_size=4, focus=0.5).fit(*texts).backbone_.state_dict()
        for _ in range(2)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    before = open_model(f"hf:{tiny_bert}").state_dict()
    assert any(not torch.equal(first[name], before[name]) for name in first)


@pytest.mark.parametrize("focus", [0.0, 1.5])
def test_a_share_outside_0_and_1_is_refused(tiny_bert, texts, focus):
    with pytest.raises(UsageError, match="share of the rows"):
        Finetune(f"hf:{tiny_bert}", focus=focus).fit(*texts)
