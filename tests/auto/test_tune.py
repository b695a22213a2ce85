import dataclasses

import numpy as np
import pytest

from graft.auto import tune as module
from graft.auto.tune import distributions, tune
from graft.core.registry import TRANSFERS
from graft.evaluate.search import Candidate, Trial

BEST = 0.002  # rate at which the score of this test is highest


def searched(*, most=20, seed=0, skip_after=None, start=None):
    """Settings that were tried of a way whose score is known."""
    first = Trial(Candidate("scratch", {"seed": 3, **(start or {})}))
    tried = []

    def attempt(candidate):
        tried.append(candidate.settings)
        late = skip_after is not None and len(tried) > skip_after
        return Trial(candidate, state="skipped" if late else "done")

    def value(trial):
        return -abs(np.log(trial.candidate.settings.get("lr", 1e-3) / BEST))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MOST", most)
        tune(first, attempt, lambda settings: dataclasses.replace(first.candidate, settings=settings), value, seed=seed)
    return tried


def test_it_comes_near_the_best_rate():
    rates = [settings["lr"] for settings in searched()]
    assert min(abs(np.log(rate / BEST)) for rate in rates) < 0.2
    late, early = rates[-6:], rates[:6]
    assert np.mean(np.abs(np.log(np.divide(late, BEST)))) < np.mean(np.abs(np.log(np.divide(early, BEST))))


def test_what_is_not_searched_stays():
    assert all(
        settings["seed"] == 3 and set(settings) == {"seed", "lr", "weight_decay"} for settings in searched(most=3)
    )


def test_equal_seeds_propose_equal_settings():
    assert searched(most=6) == searched(most=6)
    assert searched(most=6) != searched(most=6, seed=1)


def test_no_time_ends_it():
    assert len(searched(skip_after=2)) == 3


def test_a_way_without_a_space_is_left_as_it_is():
    tune(Trial(Candidate("majority")), pytest.fail, pytest.fail, lambda _: 0.5, seed=0)


@pytest.mark.parametrize("name", [name for name, transfer in TRANSFERS.items() if transfer.space])
def test_spaces_name_settings_and_hold_the_default(name):
    defaults = TRANSFERS[name]().get_params(deep=False)
    for setting, one in distributions(name).items():
        assert one._contains(one.to_internal_repr(defaults[setting])), f"{name}: {setting}"
