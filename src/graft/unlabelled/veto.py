"""The veto: an adaptation is used only where evidence without labels says that it beats source-only beyond noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from graft.core.errors import UsageError
from graft.nn.bootstrap import Interval, interval
from graft.unlabelled.learning import Rule
from graft.unlabelled.observed import DIFFER, TIMES, Observed, cheap, comparable, contrast, criteria, less, resampled
from graft.unlabelled.shares import Shares, share_distance, target_shares

COLLAPSED = 0.25  # distance of predicted class shares from all that label shift explains
UNLEARNED = 0.5  # of the accuracy above chance on held-out source rows that an adaptation must keep
ESTIMATES = ("iwv", "dev", "atc", "doc", "agreement")  # criteria that are in the unit of accuracy


@dataclass(frozen=True)
class Evidence:
    """What is known of one adaptation without labels.

    Attributes:
        name: The adaptation.
        gain: Predicted accuracy less that of source-only: (value, low, high) over resampled rows.
        differ: Share of target rows that it predicts otherwise than source-only.
        differences: Criterion of the adaptation less that of source-only, by name.
        estimates: Estimated accuracy on the target by each criterion in that unit.
        shares: Share of each predicted class on the target (C,).
        disqualified: Reasons why it is refused whatever it is predicted to gain; none for a sound one.
    """

    name: str
    gain: Interval
    differ: float
    differences: dict[str, float]
    estimates: dict[str, float]
    shares: tuple[float, ...]
    disqualified: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What the veto decided.

    Attributes:
        returned: The model to use.
        decision: ``"adapt"``, or ``"source only"``.
        sentence: The reason, in words.
        evidence: What is known of each adaptation, the most promising first.
        estimates: Estimated accuracy of source-only on the target by each criterion in that unit.
        shares: Estimated class shares on the target.
        rule: What predicted the gains.
    """

    returned: str
    decision: str
    sentence: str
    evidence: tuple[Evidence, ...]
    estimates: dict[str, float]
    shares: Shares | None
    rule: Rule


def veto(
    base: Observed,
    adapted: Mapping[str, Observed],
    rule: Rule,
    *,
    base_name: str = "source only",
    level: float = 0.9,
    seed: int = 0,
    times: int = TIMES,
) -> Verdict:
    """Recommend the most promising adaptation, or none.

    An adaptation is recommended if its gain, predicted by a rule that was learned and checked on pseudo-targets, lies above
    the threshold of that rule and above 0 in resamples of source and target rows, and nothing disqualifies it:

    - collapsed: its predicted class shares lie further than ``COLLAPSED`` from the source's, from those of source-only, and
      from the target's as label shift estimates them;
    - unlearned: it lost half of source-only's accuracy above chance on held-out source rows;
    - by chance: its own seeds differ on more rows than it differs from source-only.

    Args:
        base: Source-only on held-out source rows and target rows.
        adapted: The adaptations, by name, on the same rows.
        rule: From ``learn``.
        base_name: What to call source-only.
        level: Coverage of the intervals.
        seed: Seed of the resamples.
        times: Number of resamples.

    Raises:
        UsageError: There is no adaptation, or a model has other rows than source-only.
        DataError: The rule reads a criterion whose arrays are missing.

    Example:
        >>> import numpy as np
        >>> from graft.unlabelled.learning import Trial, learn
        >>> gains = np.random.default_rng(0).normal(0, 0.1, (8, 3))
        >>> trials = [Trial(f"{i}", f"{j}", {"infomax": 2 * g}, g) for i, row in enumerate(gains) for j, g in enumerate(row)]
        >>> unsure, sure = np.tile([[0.6, 0.4], [0.4, 0.6]], (50, 1)), np.tile([[0.95, 0.05], [0.05, 0.95]], (50, 1))
        >>> sure[:20] = sure[:20, ::-1]  # rows that it predicts otherwise: no gain can be larger
        >>> verdict = veto(Observed(unsure), {"an adaptation": Observed(sure)}, learn(trials))
        >>> verdict.decision, verdict.returned
        ('adapt', 'an adaptation')
    """
    if not adapted:
        raise UsageError("there is no adaptation to judge", hint="give one or more, by name")
    every = comparable(base, adapted)
    plain = criteria(every[0])
    lists = list(contrast(base, adapted).values())
    intervals = _intervals(every, dict(zip(adapted, lists, strict=True)), rule, level, seed, times)
    shares = None
    if base.source_outputs is not None and base.source_y is not None:
        shares = target_shares(base.source_outputs, base.source_y, base.target_outputs, level=level, seed=seed)
    found = []
    for name, one, differences, gain in zip(adapted, every[1:], lists, intervals, strict=True):
        own = one.target_outputs.argmax(axis=1)
        classes = np.bincount(own, minlength=one.target_outputs.shape[1]) / len(own)
        differ = differences.pop(DIFFER)
        estimates = {key: plain[key] + differences[key] for key in ESTIMATES if key in differences}
        reasons = tuple(_disqualified(every[0], one, classes, shares, differ))
        found.append(Evidence(name, gain, differ, differences, estimates, tuple(classes.tolist()), reasons))
    found.sort(key=lambda each: (bool(each.disqualified), -each.gain[0]))
    best = found[0]
    accepted = not best.disqualified and best.gain[0] > rule.threshold and best.gain[1] > 0
    return Verdict(
        best.name if accepted else base_name,
        "adapt" if accepted else "source only",
        _sentence(best, rule, base_name),
        tuple(found),
        {key: plain[key] for key in ESTIMATES if key in plain},
        shares,
        rule,
    )


def _intervals(
    every: list[Observed],
    differences: Mapping[str, dict[str, float]],
    rule: Rule,
    level: float,
    seed: int,
    times: int,
) -> list[Interval]:
    """Predicted gains with intervals; criteria that are costly stay at their value in every resample."""
    quick = [name for name in rule.names if cheap(name)]
    draws = np.empty((times, len(differences)))
    again = [resampled(one, seed=seed, times=times) for one in every]
    for place, drawn in enumerate(zip(*again, strict=True)):
        plain = criteria(drawn[0], quick)
        for number, (one, (name, whole)) in enumerate(zip(drawn[1:], differences.items(), strict=True)):
            draws[place, number] = rule.gain(whole | less(criteria(one, quick), plain), name)
    size = len(every[0].target_outputs)
    values = [rule.gain(whole, name) for name, whole in differences.items()]
    return [interval(value, own, level=level, size=size) for value, own in zip(values, draws.T, strict=True)]


def _disqualified(
    base: Observed, one: Observed, classes: np.ndarray, shares: Shares | None, differ: float
) -> list[str]:
    reasons = []
    if shares is not None and (away := share_distance(classes, shares)) > COLLAPSED:
        reasons.append(f"its class shares on the target lie {away:.0%} from all that a change of shares explains")
    elif len(np.unique(one.target_outputs.argmax(axis=1))) == 1 < len(np.unique(base.target_outputs.argmax(axis=1))):
        reasons.append("it predicts one class for all target rows")
    if base.source_outputs is not None and one.source_outputs is not None and base.source_y is not None:
        y = base.source_y
        chance = np.bincount(y).max() / len(y)
        before, after = (float((each.argmax(axis=1) == y).mean()) for each in (base.source_outputs, one.source_outputs))
        if after - chance < UNLEARNED * (before - chance):
            reasons.append(f"its accuracy on held-out source rows fell from {before:.1%} to {after:.1%}")
    if one.runs is not None and len(one.runs) > 1:
        apart = 1 - criteria(one, ["agreement"])["agreement"]
        if apart > max(differ, 0.02):
            reasons.append(f"its seeds differ on {apart:.1%} of the target rows, more than it changes ({differ:.1%})")
    return reasons


def _sentence(best: Evidence, rule: Rule, base_name: str) -> str:
    """The reason in one sentence."""
    value, low, high = best.gain
    words = f"{best.name} is predicted to gain {100 * value:.1f} points [{100 * low:.1f}, {100 * high:.1f}] over {base_name}"
    if best.disqualified:
        return f"{best.name} is refused: {best.disqualified[0]}; {base_name} is returned"
    if value <= 0:
        return f"no adaptation is predicted to be better than {base_name}, which is returned"
    if not np.isfinite(rule.threshold):
        return f"{words}, but on pseudo-targets no such prediction was safe; {base_name} is returned"
    if value <= rule.threshold:
        return f"{words}; on pseudo-targets gains were real from {100 * rule.threshold:.1f} on; {base_name} is returned"
    if low <= 0:
        return f"{words}, which may be noise; {base_name} is returned"
    checked = f"of such recommendations on {rule.shifts} pseudo-targets {rule.harmful:.0%} did harm"
    return f"{words}; {checked}; kept"
