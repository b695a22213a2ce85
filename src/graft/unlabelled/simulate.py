"""Shifts made from one labelled data set: pseudo-targets whose labels are known, to learn there what evidence is worth.

Each takes rows as numbers (n, d) and their classes and divides the rows in two; the second part, changed or not, plays the
target.  Adaptations are fitted on such pairs, and their true gain over source-only stands beside what criteria say of them.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from graft.core.errors import DataError, UsageError

Change = Callable[[Any], Any]
DIRECTIONS = 8  # leading principal directions that shifts are made along
CLUSTERS = 8
FEWEST = 20  # rows of a side


@dataclass(frozen=True, eq=False)
class Shift:
    """A simulated pair of domains.

    Attributes:
        name: What was done, in words.
        source: Rows (n_s,) that play the source.
        target: Rows (n_t,) that play the target; their labels score, and reach no adaptation.
        change: What happens to the numbers of the target rows; None for nothing.
    """

    name: str
    source: np.ndarray
    target: np.ndarray
    change: Change | None = None

    def of(self, X: Any) -> tuple[Any, Any]:
        """Source rows and target rows of all rows X (n, d), an array or CSR matrix."""
        target = X[self.target]
        return X[self.source], target if self.change is None else self.change(target)


def simulated(
    X: Any, y: np.ndarray, *, count: int = 12, kinds: Sequence[str] | None = None, seed: int = 0
) -> list[Shift]:
    """Make ``count`` shifts of labelled rows, the kinds in turn, each with a strength drawn at random.

    Kinds: ``direction`` (rows far along a principal direction are likelier in the target: covariate shift), ``label`` (class
    shares differ), ``cluster`` (groups of rows are likelier in one domain), ``lost`` (columns or words are missing),
    ``noise`` (noise on columns, or words dropped at random), ``moved`` (columns in other units, or words replaced by rare
    ones), ``turned`` (dense rows rotate in planes of principal directions), ``mixed`` (one of the first three and two of the
    others at once, as most real shifts are), and ``none``.

    Args:
        X: Rows (n, d), an array or CSR matrix.
        y: Classes (n,).
        count: Number of shifts.
        kinds: Which kinds; None: all that fit the rows.
        seed: Seed.

    Raises:
        DataError: Fewer than 40 rows, or one class.
        UsageError: A kind that is not known, or not for such rows.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X, y = rng.normal(size=(200, 3)), np.arange(200) % 2
        >>> shift = simulated(X, y, kinds=["label"], count=1)[0]
        >>> source, target = shift.of(X)
        >>> len(source) + len(target), bool(abs(y[shift.source].mean() - y[shift.target].mean()) > 0.1)
        (200, True)
    """
    if X.shape[0] < 2 * FEWEST or len(np.unique(y)) < 2:
        raise DataError(f"{X.shape[0]} rows of {len(np.unique(y))} classes are too few to simulate shifts with")
    known = [kind for kind in KINDS if not (kind == "turned" and sparse.issparse(X))]
    chosen = list(known if kinds is None else kinds)
    if wrong := [kind for kind in chosen if kind not in known]:
        raise UsageError(f"no simulated shift {wrong[0]!r} for such rows", hint=f"known: {', '.join(known)}")
    plane = _Plane(X, seed)
    found: dict[str, Shift] = {}
    for number in range(count):
        shift = _one(chosen[number % len(chosen)], plane, X, y, (seed, number))
        name = shift.name if shift.name not in found else f"{shift.name} (number {number + 1})"
        found[name] = dataclasses.replace(shift, name=name)
    return list(found.values())


def across(origin: np.ndarray) -> list[Shift]:
    """Leave each source domain out in turn to play the target: shifts that are real, where there are several sources.

    Example:
        >>> import numpy as np
        >>> [(shift.name, shift.target.tolist()) for shift in across(np.array([0, 0, 1]))]
        [('source domain 1 held out', [0, 1]), ('source domain 2 held out', [2])]
    """
    found = []
    for number in np.unique(origin) if len(np.unique(origin)) > 1 else ():
        away = origin == number
        name = f"source domain {int(number) + 1} held out"
        found.append(Shift(name, np.flatnonzero(~away), np.flatnonzero(away)))
    return found


class _Plane:
    """Leading principal directions of all rows.  CSR rows are not centred: their first direction, the mean, is left out."""

    def __init__(self, X: Any, seed: int) -> None:
        from sklearn.utils.extmath import randomized_svd

        self.sparse = sparse.issparse(X)
        self.mean = np.zeros(X.shape[1]) if self.sparse else np.asarray(X.mean(axis=0))
        self.spread = np.ones(X.shape[1]) if self.sparse else np.asarray(X.std(axis=0)).clip(1e-12)
        centred = sparse.csr_matrix(X, dtype=np.float64) if self.sparse else (X - self.mean) / self.spread
        size = min(DIRECTIONS + self.sparse, *X.shape)
        _, _, basis = randomized_svd(centred, size, random_state=seed)
        self.basis = basis[1:] if self.sparse and len(basis) > 1 else basis
        places = np.asarray(centred @ self.basis.T)
        self.places = (places - places.mean(axis=0)) / places.std(axis=0).clip(1e-12)
        self.frequency = np.asarray(centred.getnnz(axis=0)) if self.sparse else np.zeros(0)


def _one(kind: str, plane: _Plane, X: Any, y: np.ndarray, seed: tuple[int, int]) -> Shift:
    rng = np.random.default_rng(seed)
    words, odds, change = KINDS[kind](plane, X, y, rng)
    target = np.flatnonzero(_drawn(odds, y, rng))
    return Shift(words, np.setdiff1d(np.arange(len(y)), target), target, change)


def _drawn(odds: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mask (n,) of the target: half of the rows, by their log-odds; every class keeps two rows in the source or a fifth."""
    order = np.argsort(-(odds + rng.logistic(size=len(y))), kind="stable")
    target = np.zeros(len(y), bool)
    target[order[: len(y) // 2]] = True
    for c in np.unique(y):
        rows = order[y[order] == c][::-1]  # the last ones first
        keep = max(2, len(rows) // 5)
        target[rows[:keep]] = False
    if target.sum() < FEWEST:
        target[order[:FEWEST]] = True
    return target


def _none(plane: _Plane, X: Any, y: np.ndarray, rng: np.random.Generator) -> Any:
    del plane, X, rng
    return "no shift", np.zeros(len(y)), None


def _direction(plane: _Plane, X: Any, y: np.ndarray, rng: np.random.Generator) -> Any:
    del X, y
    number = int(rng.integers(plane.places.shape[1]))
    slope = float(rng.choice([-1, 1]) * rng.uniform(0.7, 2.0))
    return f"rows biased along principal direction {number + 1}", slope * plane.places[:, number], None


def _label(plane: _Plane, X: Any, y: np.ndarray, rng: np.random.Generator) -> Any:
    del plane, X
    classes = np.unique(y, return_inverse=True)[1]
    lean = rng.permutation(np.linspace(-1.0, 1.0, classes.max() + 1)) * rng.uniform(0.7, 1.5)
    return "other class shares", lean[classes], None


def _cluster(plane: _Plane, X: Any, y: np.ndarray, rng: np.random.Generator) -> Any:
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    del X
    model = KMeans(min(CLUSTERS, len(y) // FEWEST), n_init=1, random_state=int(rng.integers(1 << 30)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # rows that repeat make fewer groups
        label = model.fit_predict(plane.places)
    chosen = rng.permutation(label.max() + 1)[: (label.max() + 1) // 2]
    return "other groups of rows", rng.uniform(1.5, 3.0) * np.isin(label, chosen), None


def _lost(plane: _Plane, X: Any, y: np.ndarray, rng: np.random.Generator) -> Any:
    share = rng.uniform(0.2, 0.6)
    lost = rng.random(X.shape[1]) < share
    mean = np.where(lost, plane.mean, 0.0)

    def change(rows: Any) -> Any:
        if plane.sparse:
            return _pruned(rows.multiply((~lost)[None].astype(np.float64)), rows)
        return rows * ~lost + mean

    return f"{share:.0%} of the columns missing", np.zeros(len(y)), change


def _noise(plane: _Plane, X: Any, y: np.ndarray, rng: np.random.Generator) -> Any:
    del X
    amount, own = rng.uniform(0.2, 0.7), int(rng.integers(1 << 30))

    def change(rows: Any) -> Any:
        again = np.random.default_rng(own)
        if plane.sparse:
            kept = sparse.csr_matrix(rows, copy=True)
            kept.data = kept.data * (again.random(len(kept.data)) >= amount)
            return _pruned(kept, rows)
        return rows + 2 * amount * plane.spread * again.standard_normal(rows.shape)

    return f"noise of strength {amount:.1f}", np.zeros(len(y)), change


def _moved(plane: _Plane, X: Any, y: np.ndarray, rng: np.random.Generator) -> Any:
    share, width = rng.uniform(0.2, 0.6), X.shape[1]
    if plane.sparse:  # a word takes the place of a rare one, as another domain says it otherwise
        order = np.argsort(-plane.frequency, kind="stable")
        often, rare = order[: width // 2], order[: width // 2 - 1 : -1][: width // 2]
        taken = rng.random(len(often)) < share
        place = np.arange(width)
        place[often[taken]], place[rare[taken]] = rare[taken], often[taken]
        return f"{share:.0%} of the words said otherwise", np.zeros(len(y)), lambda rows: _pruned(rows[:, place], rows)
    moved = rng.random(width) < share
    gain = np.where(moved, np.exp(rng.normal(0.0, 0.5, width)), 1.0)
    offset = plane.mean * (1 - gain) + np.where(moved, plane.spread * rng.normal(0.0, 0.7, width), 0.0)
    return f"{share:.0%} of the columns in other units", np.zeros(len(y)), lambda rows: rows * gain + offset


def _turned(plane: _Plane, X: Any, y: np.ndarray, rng: np.random.Generator) -> Any:
    del X
    flat = plane.basis[rng.permutation(len(plane.basis))[: len(plane.basis) // 2 * 2]]  # planes of two directions each
    angle = float(rng.choice([-1, 1]) * rng.uniform(np.pi / 9, np.pi / 3))
    turn = np.kron(np.eye(len(flat) // 2), [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turn -= np.eye(len(turn))

    def change(rows: Any) -> Any:
        scaled = (rows - plane.mean) / plane.spread
        return (scaled + scaled @ flat.T @ turn.T @ flat) * plane.spread + plane.mean

    return f"rows turned by {abs(np.degrees(angle)):.0f} degrees", np.zeros(len(y)), change


def _mixed(plane: _Plane, X: Any, y: np.ndarray, rng: np.random.Generator) -> Any:
    biases, changes = [_direction, _label, _cluster], [_lost, _noise, _moved, *([] if plane.sparse else [_turned])]
    chosen = [biases[rng.integers(len(biases))], *(changes[number] for number in rng.permutation(len(changes))[:2])]
    (first, odds, _), (second, _, one), (third, _, two) = (each(plane, X, y, rng) for each in chosen)
    return f"{first}, {second}, {third}", odds, lambda rows: two(one(rows))


def _pruned(rows: Any, like: Any) -> Any:
    kept = type(like)(rows)  # csr_array or csr_matrix, as it came
    kept.eliminate_zeros()
    return kept


KINDS: dict[str, Callable[[_Plane, Any, np.ndarray, np.random.Generator], Any]] = {
    "mixed": _mixed,
    "moved": _moved,
    "direction": _direction,
    "turned": _turned,
    "noise": _noise,
    "lost": _lost,
    "cluster": _cluster,
    "label": _label,
    "none": _none,
}
