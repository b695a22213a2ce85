import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graft.core import runtime
from graft.core.errors import MissingExtraError, UsageError
from graft.core.runtime import Clock, parse_budget, parse_size, require, seed_everything, seeded


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        (" 2M ", 120),
        ("1.5h", 5400),
        ("1h30m", 5400),
        ("1d", 86400),
        (45, 45),
        (0.5, 0.5),
        ("2m30", 150),
    ],
)
def test_budgets(text, seconds):
    assert parse_budget(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "0", "-5", "m", "5x", "inf", "nan", "1h-30m", 0, -1, float("nan"), float("inf"), "s5"]
)
def test_what_is_no_budget(text):
    with pytest.raises(UsageError, match="is not a duration; write 90s, 2m or 1h30m"):
        parse_budget(text)


def test_no_budget_is_none():
    assert parse_budget(None) is None


@given(st.integers(0, 50), st.integers(0, 59), st.integers(1, 59))
def test_budgets_add_up(hours, minutes, seconds):
    assert parse_budget(f"{hours}h{minutes}m{seconds}s") == 3600 * hours + 60 * minutes + seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("500MB", 500_000_000), ("2 GiB", 2 << 30), ("1e9", 10**9), (7, 7), ("0", 0), ("3k", 3072), ("5 b", 5)],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "many", "-1", "5 XB", "inf", "1 GB 2"])
def test_what_is_no_size(text):
    with pytest.raises(UsageError, match="is not a size"):
        parse_size(text)


def test_clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(runtime.time, "monotonic", lambda: now[0])
    clock = Clock(60, spent=10)
    assert (clock.elapsed(), clock.left(), clock.expired, clock.share) == (10, 50, False, pytest.approx(1 / 6))
    part = clock.part(20)
    assert part.left() == 20
    assert clock.part(1000).left() == 50
    now[0] += 30
    assert part.expired
    assert clock.left() == 20
    now[0] += 30
    assert (clock.expired, clock.part(5).left(), clock.part(5).expired, clock.part(5).share) == (True, 0, True, 1.0)


def test_a_clock_without_budget_never_ends():
    clock = Clock()
    assert clock.left() == float("inf")
    assert not clock.expired
    assert clock.share == 0
    assert clock.part(3).left() <= 3


def test_seeds_are_set_inside_and_given_back_outside():
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    random.seed(5)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    with seeded(1) as rng:
        one = torch.rand(3), rng.random(3)
    with seeded(1) as rng:
        two = torch.rand(3), rng.random(3)
    assert torch.equal(one[0], two[0])
    assert np.array_equal(one[1], two[1])
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
    assert random.getstate() == states[2]
    seed_everything(1)
    assert torch.equal(torch.rand(3), one[0])


def test_a_missing_package_says_what_to_install():
    assert require("json", extra="nothing").dumps([]) == "[]"
    with pytest.raises(MissingExtraError, match=r"pip install 'graft-learn\[audio\]'"):
        require("a_package_that_is_not_there", extra="audio")


def test_device_can_be_named(monkeypatch):
    monkeypatch.setenv("GRAFT_DEVICE", "cuda:3")
    assert runtime.device() == "cuda:3"


def test_environment_is_json():
    import json

    facts = json.loads(json.dumps(runtime.environment()))
    assert facts["packages"]["torch"] == torch.__version__
    assert facts["cores"] >= 1
    assert facts["memory_bytes"] > 0
    assert facts["device"] == "cpu"


def test_silence():
    assert runtime.silent("step", 0.5) is None
