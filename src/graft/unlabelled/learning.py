"""What evidence without labels is worth, learned on pseudo-targets whose labels are known, and checked on those left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from graft.core.errors import DataError
from graft.unlabelled.observed import DIFFER, Observed, contrast

PENALTIES = (0.03, 0.1, 0.3, 1.0, 3.0)
WIDEST = 3.0  # standard units that one criterion may count
WORST = 0.1  # larger losses of accuracy count as this one: how bad what is refused is need not be told
HARMFUL = 0.1  # share of recommendations that may be harmful


@dataclass(frozen=True)
class Trial:
    """One adaptation on one pseudo-target.

    Attributes:
        shift: Which pseudo-target.
        candidate: Which adaptation.
        evidence: Criterion of the adaptation less that of source-only, by name, and the share of rows on which their
            classes differ (``observed.DIFFER``).
        gain: True accuracy of the adaptation less that of source-only on the pseudo-target.
    """

    shift: str
    candidate: str
    evidence: Mapping[str, float]
    gain: float


@dataclass(frozen=True, eq=False)
class Rule:
    """Predicts the gain of an adaptation over source-only from evidence, and says from where on it is to be believed.

    Attributes:
        names: The criteria that are read.
        scale: Root mean square (k,) of each one's evidence in the trials.
        weight: Gain (k,) per scaled evidence.
        prior: Gain of each adaptation of the trials that evidence does not tell, by name, shrunk towards 0.
        threshold: Predicted gain above which an adaptation is recommended; infinite where no threshold was safe.
        error: Root mean square error of the predicted gain on shifts left out, losses cut at ``WORST``.
        rank: Mean rank correlation of predicted and true gain over the candidates of a shift left out.
        harmful: Share of recommendations on shifts left out that lost accuracy.
        kept: Share of the attainable gain that the recommendations on shifts left out kept.
        shifts: Number of shifts that it was learned on.
    """

    names: tuple[str, ...]
    scale: np.ndarray
    weight: np.ndarray
    prior: Mapping[str, float]
    threshold: float
    error: float
    rank: float
    harmful: float
    kept: float
    shifts: int

    def gain(self, evidence: Mapping[str, float], candidate: str = "") -> float:
        """Predicted gain in accuracy of an adaptation, at most the share of rows that it predicts otherwise.

        Args:
            evidence: As in ``Trial``.
            candidate: Its name in the trials; of another one there is evidence alone.

        Raises:
            DataError: A criterion that the rule reads is missing.
        """
        if missing := [name for name in self.names if name not in evidence]:
            raise DataError(f"the rule reads {', '.join(missing)}", hint="measure the same criteria as on the trials")
        row = np.array([evidence[name] for name in self.names])
        most = evidence.get(DIFFER, np.inf)
        return float(np.clip(_scaled(row, self.scale) @ self.weight + self.prior.get(candidate, 0.0), -most, most))


def trials_on(shift: str, y: np.ndarray, base: Observed, adapted: Mapping[str, Observed]) -> list[Trial]:
    """Compare adaptations with source-only on one pseudo-target, whose labels come from the source.

    Args:
        shift: Name of the pseudo-target (``simulate.Shift.name``).
        y: Classes (n_t,) of its rows.
        base: Source-only.
        adapted: The adaptations, by name, on the same rows.
    """
    right = float((base.target_outputs.argmax(axis=1) == y).mean())
    found = contrast(base, adapted)
    return [
        Trial(shift, name, found[name], float((one.target_outputs.argmax(axis=1) == y).mean()) - right)
        for name, one in adapted.items()
    ]


def learn(trials: Sequence[Trial], *, names: Sequence[str] | None = None, harmful: float = HARMFUL) -> Rule:
    """Learn a rule from trials on pseudo-targets.

    The gain is a ridge regression without intercept on criteria divided by their root mean square and cut at ±3, so that no
    one criterion decides alone, and on which adaptation it is: what helped on shifts of these data is likelier to help again.
    Losses beyond ``WORST`` count as that, or the worst candidates would decide the weights.  The penalty is the one with the least squared error on shifts left out.  Predictions for shifts
    left out then give the threshold: the lowest above 0 at which at most the share ``harmful`` of the best-predicted
    candidates of the shifts above it lose accuracy.

    Args:
        trials: Adaptations on at least three pseudo-targets, among them some that help and some that harm.
        names: Criteria to read; None: all that every trial has.
        harmful: Largest share of harmful recommendations.

    Raises:
        DataError: Fewer than three shifts, or no criterion that all trials have.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> gains = rng.normal(0, 0.1, (10, 5))
        >>> trials = [
        ...     Trial(f"shift {i}", f"way {j}", {"iwv": gain + rng.normal(0, 0.01), "snd": rng.normal()}, gain)
        ...     for i, row in enumerate(gains) for j, gain in enumerate(row)
        ... ]
        >>> rule = learn(trials)
        >>> round(rule.gain({"iwv": 0.1, "snd": 0.0}), 1), rule.kept > 0.9
        (0.1, True)
    """
    shifts = sorted({trial.shift for trial in trials})
    common = set.intersection(*(set(trial.evidence) - {DIFFER} for trial in trials)) if trials else set()
    chosen = tuple(sorted(common)) if names is None else tuple(names)
    if len(shifts) < 3:
        raise DataError(f"{len(shifts)} pseudo-targets are too few to learn from", hint="simulate three shifts or more")
    if not chosen or not common.issuperset(chosen):
        raise DataError("the trials have no criteria in common", hint="measure the same criteria on every trial")
    X = np.array([[trial.evidence[name] for name in chosen] for trial in trials], dtype=np.float64)
    truth = np.array([trial.gain for trial in trials])
    gain = truth.clip(-WORST)
    group = np.array([shifts.index(trial.shift) for trial in trials])
    candidates = sorted({trial.candidate for trial in trials})
    which = np.array([[trial.candidate == name for name in candidates] for trial in trials], dtype=np.float64)
    most = np.array([trial.evidence.get(DIFFER, np.inf) for trial in trials])
    left_out = [np.clip(_left_out(X, which, gain, group, penalty), -most, most) for penalty in PENALTIES]
    best = int(np.argmin([np.square(found - gain).mean() for found in left_out]))
    predicted = left_out[best]
    threshold, share, kept = _threshold(predicted, truth, group, harmful)
    ranks = [_rank(predicted[group == number], truth[group == number]) for number in range(len(shifts))]
    scale, weights = _ridge(X, which, gain, PENALTIES[best])
    weight, prior = weights[: len(chosen)], dict(zip(candidates, weights[len(chosen) :].tolist(), strict=True))
    error = float(np.sqrt(np.square(predicted - gain).mean()))
    return Rule(chosen, scale, weight, prior, threshold, error, float(np.mean(ranks)), share, kept, len(shifts))


def _scaled(X: np.ndarray, scale: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = np.clip(X / scale, -WIDEST, WIDEST)
    return scaled


def _ridge(X: np.ndarray, which: np.ndarray, gain: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """Scale (k,) of the evidence X (n, k), and weights (k + m,) of it and of the m adaptations ``which`` (n, m)."""
    scale = np.sqrt(np.square(X).mean(axis=0)).clip(1e-9)
    Z = np.hstack([_scaled(X, scale), which])
    return scale, np.linalg.solve(Z.T @ Z + penalty * len(Z) * np.eye(Z.shape[1]), Z.T @ gain)


def _left_out(X: np.ndarray, which: np.ndarray, gain: np.ndarray, group: np.ndarray, penalty: float) -> np.ndarray:
    """Predicted gain (n,) of every trial by the rule of all other shifts."""
    found = np.empty(len(gain))
    for number in np.unique(group):
        out = group == number
        scale, weights = _ridge(X[~out], which[~out], gain[~out], penalty)
        found[out] = np.hstack([_scaled(X[out], scale), which[out]]) @ weights
    return found


def _threshold(
    predicted: np.ndarray, gain: np.ndarray, group: np.ndarray, harmful: float
) -> tuple[float, float, float]:
    """The threshold, and on shifts left out the share of harmful recommendations and of the attainable gain kept."""
    groups = [np.flatnonzero(group == number) for number in np.unique(group)]
    top = np.array([rows[predicted[rows].argmax()] for rows in groups])
    top = top[np.argsort(-predicted[top], kind="stable")]
    top = top[predicted[top] > 0]
    share = np.cumsum(gain[top] < 0) / np.arange(1, len(top) + 1)
    safe = np.flatnonzero(share <= harmful)
    if len(safe) == 0:
        return float("inf"), 0.0, 0.0
    taken, rest = top[: safe[-1] + 1], top[safe[-1] + 1 :]
    threshold = float(predicted[taken[-1]] + predicted[rest[0]]) / 2 if len(rest) else 0.0
    attainable = sum(max(0.0, float(gain[rows].max())) for rows in groups)
    kept = float(gain[taken].sum() / attainable) if attainable > 0 else 0.0
    return threshold, float(share[safe[-1]]), kept


def _rank(predicted: np.ndarray, gain: np.ndarray) -> float:
    if len(gain) < 2 or np.ptp(predicted) == 0 or np.ptp(gain) == 0:
        return 0.0
    return float(spearmanr(predicted, gain).statistic)
