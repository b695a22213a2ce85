import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import make_texts

from graft.auto.config import Config
from graft.auto.limits import too_costly
from graft.auto.ways import RESERVE, Ways
from graft.core.registry import TRANSFERS
from graft.core.runtime import Clock
from graft.core.types import Ranking, RankRow
from graft.data.load import load
from graft.evaluate.cost import Cost
from graft.sources.base import describe_model


@pytest.fixture
def row(tiny_bert):
    return RankRow(describe_model(f"hf:{tiny_bert}"), cost=0.01)


def ways(rows, *, separated=(), budget=None, n=100, **options):
    data = load(make_texts(n))
    folds = [(np.arange(n // 5, n), np.arange(n // 5))]
    ranking = Ranking(tuple(rows), separated=tuple(separated))
    return Ways(
        SimpleNamespace(
            config=Config(budget, **options), data=data, search=data, folds=folds, clock=Clock(budget),
            ranking=ranking, left_out=[], unlabelled=(),
        )
    )  # fmt: skip


def names(candidates):
    return [candidate.transfer for candidate in candidates]


def test_an_effort_has_the_ways_of_those_below_it(row):
    tried = {effort: set() for effort in ("probe", "fast", "thorough")}
    for effort, found in tried.items():
        made = ways([row], effort=effort, n=40)
        found |= set(names([*made.baselines(), *made.probes(), *made.trained()]))
    assert tried["probe"] == {"majority", "classical", "probe"}
    assert tried["probe"] < tried["fast"] < tried["thorough"]
    assert not {name for name in tried["thorough"] if TRANSFERS[name].effort == "request"}


def test_named_ways_are_all_there_is_beside_the_majority(row):
    made = ways([row], methods=("scratch", "contrastive"), n=400)
    assert names(made.baselines()) == ["majority"]
    assert names(made.probes()) == []
    assert names(made.trained()) == ["contrastive", "scratch"]  # asked for by name, many rows or not


def test_sources_that_cannot_be_told_apart_are_all_tried(row):
    rows = [row] * 4
    assert len(list(ways(rows, separated=(False, False, True)).probes())) == 3
    assert len(list(ways(rows, separated=(True, True, True)).probes())) == 1
    assert names(ways(rows, separated=(False, True, True)).trained()).count("finetune") == 2


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_a_fine_tuning_gets_the_passes_that_fit(row, share):
    free = ways([row])
    candidate = next(one for one in free.trained() if one.transfer == "finetune")
    assert free.affordable(candidate) is candidate
    full = candidate.seconds(80) + candidate.seconds(100)
    made = ways([row], budget=share * full / 0.9 + RESERVE)
    made.measure_step = lambda row: None  # the prediction stands as it is
    shorter = made.affordable(candidate)
    assert shorter.settings["epochs"] == pytest.approx(0.95 * share * 20, rel=0.05)
    assert shorter.seconds(80) + shorter.seconds(100) < share * full * 1.1


def test_less_than_a_pass_is_not_proposed(row):
    made = ways([row], budget=RESERVE + 0.1)
    made.measure_step = lambda row: None
    candidate = made.of("finetune", row)
    assert made.affordable(candidate) is candidate  # and will be skipped, with what it would need


def test_the_less_is_trained_the_less_memory_is_predicted(row):
    made = ways([row])
    whole, half, biases, probe = (
        made.of(method, row, **settings).memory
        for method, settings in (("finetune", {}), ("finetune", {"blocks": 1}), ("bias", {}), ("probe", {}))
    )
    assert whole > half > probe > 0
    assert whole > biases > probe


def test_the_time_of_every_way_follows_from_what_a_pass_costs(tiny_bert):
    spec = describe_model(f"hf:{tiny_bert}")
    times = []
    for cost in (0.02, 0.04):
        made = ways([RankRow(spec, cost=cost)], effort="thorough", n=40)
        times.append({one.name: one.seconds(1_000) for one in made.trained() if one.spec})
    assert {"contrastive tuning", "bias tuning", "soup of fine-tunings"} <= {
        name.split(" of tiny")[0] for name in times[0]
    }
    assert all(times[1][name] == pytest.approx(2 * seconds, rel=0.01) for name, seconds in times[0].items())


def test_a_source_that_does_not_fit_is_not_opened(row, monkeypatch):
    monkeypatch.setattr("graft.auto.ways.memory_left", lambda cap: 1_000)
    monkeypatch.setattr("graft.auto.ways.open_model", lambda spec: pytest.fail("it was opened"))
    made = ways([row])
    assert made.of("finetune", row).memory > 1_000
    made.measure_step(row)
    assert made.cost(row).measured is None


@pytest.mark.parametrize(("limits", "line"), [
    ({}, ""),
    ({"max_latency": 9.0}, ""),  # a prediction that is hardly beyond the limit decides nothing
    ({"max_latency": 5.0}, "it takes 10 ms per row, 5 ms are allowed"),
    ({"max_size": 0.001}, "MB, 0.001 MB are allowed"),
])  # fmt: skip
def test_a_source_far_beyond_a_limit_is_left_out(row, limits, line):
    reason = too_costly(row, Config(**limits))
    assert line in reason
    assert bool(reason) == bool(line)


def test_text_sources_are_tuned_above_their_lower_third():
    made = ways([RankRow(describe_model("sbert:all-MiniLM-L6-v2"), cost=0.001)], effort="thorough")
    (row,) = made.shortlist(1)
    assert made.upper(row) == {"blocks": 4, "lr": 2.4e-4}
    upper, whole = (one for one in made.trained() if one.transfer == "finetune")
    assert upper.settings["blocks"] == 4
    assert "blocks" not in whole.settings
    assert upper.seconds(400) < 0.9 * whole.seconds(400)


def test_of_a_picture_source_the_top_two_blocks_are_tuned_from_the_probe(row):
    pictures = dataclasses.replace(row, spec=dataclasses.replace(row.spec, modality="image"))
    made = ways([pictures])
    made.costs[row.spec.uri] = Cost(row.cost, (0, 1, 1, 1, 1))
    assert made.upper(pictures) == {"blocks": 2, "lr": 1e-4, "head_start": "probe"}


def test_few_blocks_are_all_tuned(row):
    assert ways([row]).upper(row) == {}
