"""The settings of one way, searched on the folds of the run while there is time for it.

Optuna's tree-structured Parzen estimator (Bergstra et al. 2011) proposes; it starts from the settings that won, so the
search never ends below them, and the reported score allows for the best having been chosen of many.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from graft.core.registry import TRANSFERS
from graft.evaluate.search import Candidate, Trial

MOST = 24  # settings tried where no budget ends the search
START = 4  # settings drawn at random before the estimator proposes


def tune(
    best: Trial,
    attempt: Callable[[Candidate], Trial],
    make: Callable[[dict[str, Any]], Candidate],
    value: Callable[[Trial], float | None],
    *,
    starts: Sequence[dict[str, Any]] = (),
    seed: int,
) -> None:
    """Try other settings of the way that is best so far.

    Args:
        best: Its trial.
        attempt: Tries a candidate; the first that is skipped for want of time ends the search.
        make: A candidate of the same way and source with these settings.
        value: Score of a trial, larger is better; None where it did not come to its end.
        starts: Settings that won elsewhere, tried first.
        seed: Seed of the proposals.
    """
    space = distributions(best.candidate.transfer)
    if not space:
        return
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=START)
    )
    defaults = TRANSFERS[best.candidate.transfer]().get_params(deep=False)
    start = {name: best.candidate.settings.get(name, defaults[name]) for name in space}
    study.add_trial(create_trial(params=start, distributions=space, value=value(best)))
    for settings in starts:
        known = {name: one for name, one in settings.items() if name in space}
        if known:
            study.enqueue_trial({**start, **known}, skip_if_exists=True)
    seen = [start]
    for _ in range(MOST):
        asked = study.ask(space)
        done = None if asked.params in seen else attempt(make({**best.candidate.settings, **asked.params}))
        if done is not None and done.state == "skipped":
            return
        seen.append(dict(asked.params))
        found = None if done is None else value(done)
        study.tell(asked, found, state=TrialState.FAIL if found is None else TrialState.COMPLETE)


def distributions(method: str) -> dict[str, BaseDistribution]:
    """Optuna's form of the space of a way: a list names choices, a pair a range on a logarithmic scale.

    Example:
        >>> sorted(distributions("scratch")), distributions("majority")
        (['lr', 'weight_decay'], {})
    """
    space = TRANSFERS[method].space.items()
    return {
        name: CategoricalDistribution(one) if isinstance(one, list) else FloatDistribution(*one, log=True)
        for name, one in space
    }
