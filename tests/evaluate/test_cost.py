import pytest
from conftest import make_texts

from graft.data.load import load
from graft.evaluate import cost as costs
from graft.evaluate.cost import SAVED, TRAINING, UPDATE, Cost, opening_bytes
from graft.sources.base import open_model
from graft.transfer.base import Workload
from graft.transfer.bias import BiasOnly
from graft.transfer.contrastive import ContrastiveFewShot
from graft.transfer.finetune import Finetune
from graft.transfer.soup import Soup

MIB = 1 << 20
COST = Cost(0.01, (1_000_000, 500_000, 500_000), kept=MIB)  # half of the weights are the stem's


@pytest.mark.parametrize(("work", "seconds"), [
    (Workload(50, 8), 50 * (8 * 0.01 * 3 + UPDATE * 1e6)),
    (Workload(0, 8, read=100), 100 * 0.01),
    (Workload(50, 8, trained=0.0), 50 * 8 * 0.01 * 2),
    (Workload(50, 8, blocks=1), 50 * (8 * 0.01 * (0.5 + 0.5 * 3) + UPDATE * 5e5)),
    (Workload(50, 8, blocks=1, lower=100), 50 * (8 * 0.01 * 0.5 * 3 + UPDATE * 5e5) + 100 * 0.01 * 0.5),
    (Workload(50, 8, blocks=9), 50 * (8 * 0.01 * 3 + UPDATE * 1e6)),  # more than there are
    (Workload(50, 8, room=8 * MIB), 50 * (8 * 0.01 * 3 + UPDATE * 1e6)),
    (Workload(50, 8, room=8 * MIB - 1), 50 * (8 * 0.01 * 4 + UPDATE * 1e6)),  # a second pass forward
])  # fmt: skip
def test_the_formula_of_time(work, seconds):
    assert COST.seconds(work) == pytest.approx(seconds)


def test_a_measured_step_sets_the_scale():
    known, other = Workload(1, 8), Workload(1, 8, blocks=1)
    measured = Cost(0.01, COST.weights, MIB, (known, 0.5))
    assert measured.step(known) == pytest.approx(0.5)
    assert measured.step(other) / 0.5 == pytest.approx(COST.step(other) / COST.step(known))
    assert measured.seconds(Workload(10, 8, read=100)) == pytest.approx(5 + 1)


FIXED = 4 * 2e6 + TRAINING  # float32 weights, of which those that are trained have gradients and two moments


@pytest.mark.parametrize(("work", "size"), [
    (Workload(1, 8), FIXED + 12 * 1e6 + 8 * MIB),
    (Workload(1, 8, trained=0.001), FIXED + 12 * 1e3 + 8 * MIB),
    (Workload(1, 8, blocks=1), FIXED + 12 * 5e5 + 4 * MIB),
    (Workload(1, 8, kept=1.5), FIXED + 12 * 1e6 + 12 * MIB),
    (Workload(1, 8, room=2 * MIB), FIXED + 12 * 1e6 + 2 * MIB),
    (Workload(1, 8, copies=3), FIXED + 12 * 1e6 + 8 * MIB + 3 * 4 * 2e6),
    (Workload(int(SAVED / 0.24) + 9, 8), FIXED + 12 * 1e6 + 8 * MIB + 2 * (4 * 2e6 + 8 * 1e6)),  # checkpoints
])  # fmt: skip
def test_the_formula_of_memory(work, size, monkeypatch):
    monkeypatch.setattr(costs, "bf16_is_faster", lambda: False)
    assert COST.bytes(work) == pytest.approx(size, abs=2)
    monkeypatch.setattr(costs, "bf16_is_faster", lambda: True)  # rounded weights, and rounded gradients of some
    trained = work.trained * (5e5 if work.blocks else 1e6)
    assert COST.bytes(work) == pytest.approx(size + 2 * 2e6 + 2 * trained, abs=2)


def test_no_training_takes_less_than_opening():
    large = Cost(0.01, (200_000_000,), kept=0)
    assert large.bytes(Workload(1, 1)) == 8 * 200_000_000


def test_a_share_of_the_blocks_costs_what_that_number_costs():
    cost = Cost(0.01, (5, 10, 20, 40, 80), kept=1)
    assert cost.seconds(Workload(3, 8, 0.5)) == cost.seconds(Workload(3, 8, 2)) < cost.seconds(Workload(3, 8))
    assert cost.bytes(Workload(3, 8, 0.5)) == cost.bytes(Workload(3, 8, 2))
    assert cost.seconds(Workload(3, 8, 9)) == cost.seconds(Workload(3, 8))


def test_what_is_read_off_a_source(tiny_bert):
    backbone, data = open_model(f"hf:{tiny_bert}"), load(make_texts(30))
    cost = Cost.of(backbone, data, forward=0.01, room=1 << 40)
    assert len(cost.weights) == 1 + len(backbone.blocks())
    assert sum(cost.weights) == sum(p.numel() for p in backbone.parameters())
    assert cost.kept > 0
    assert opening_bytes(backbone.spec) == pytest.approx(8 * sum(cost.weights), rel=0.2)


def test_every_way_says_what_it_asks_of_its_source():
    task = load(make_texts(100)).task
    assert Finetune().workload(100, task) == Workload(60, 40, read=100)
    assert Finetune(blocks=1).workload(100, task) == Workload(60, 40, 1, lower=100, read=100)
    assert BiasOnly().workload(100, task).trained < 0.01
    assert ContrastiveFewShot().workload(20, task).steps == ContrastiveFewShot().planned(20)
    assert ContrastiveFewShot().workload(20, task).kept < ContrastiveFewShot(dropout=0.1).workload(20, task).kept
    assert ContrastiveFewShot(blocks=None).workload(20, task).lower == 0 < ContrastiveFewShot().workload(20, task).lower
    soup = Soup(members=3, held_out=0.2).workload(100, task)
    assert (soup.steps, soup.copies, soup.read) == (3 * Finetune().steps(80), 3, 3 * 100 + 5 * 20)
