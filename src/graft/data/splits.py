"""Splits that do not leak: groups and repeated inputs stay on one side, classes keep their shares, seeds fix the rows.

All positions refer to the given data set (``Dataset.select`` takes them).
"""

from __future__ import annotations

import numpy as np

from graft.core.errors import DataError, UsageError
from graft.core.types import Dataset
from graft.data.stratify import assign_labels, few_of_each

TESTED = 0.9  # share of the rows that are of classes with enough rows for every fold


def content_keys(dataset: Dataset) -> np.ndarray:
    """64-bit key of each row's content (N,): texts up to case and white space, files and table rows exactly."""
    keys = getattr(dataset.X, "keys", None)
    return np.arange(len(dataset), dtype=np.uint64) if keys is None else np.asarray(keys(dataset.rows), np.uint64)


def units(dataset: Dataset) -> np.ndarray:
    """Number of the unit each row belongs to (N,), rows that are never split: a group, else equal inputs."""
    whole = content_keys(dataset) if dataset.groups is None else dataset.groups
    return np.unique(whole, return_inverse=True)[1]


def _without(train: np.ndarray, test: np.ndarray, keys: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Leave out of training what is tested too; with groups, joining those that share a row might join them all."""
    return (train, test) if keys is None else (train[~np.isin(keys[train], keys[test])], test)


def folds(dataset: Dataset, *, k: int, seed: int, repeats: int = 1) -> list[tuple[np.ndarray, np.ndarray]]:
    """Cut the data into k parts, each the test set once; ``repeats`` times with other parts.

    Classes with fewer than k rows, or all of whose rows are one unit, are never tested: their units stay in training.

    Returns:
        ``repeats`` · k pairs (train, test) of sorted positions.  With groups, a row whose input is also tested (in
        another group) is in neither training set nor test set of that pair.

    Raises:
        DataError: There are fewer independent units than folds.

    Example:
        >>> from graft.data.load import load
        >>> data = load((list("abcdefgh"), list("xyxyxyxy")))
        >>> [len(test) for _, test in folds(data, k=2, seed=0)]
        [4, 4]
    """
    if k < 2:
        raise UsageError(f"{k} folds cannot be made", hint="use 2 or more")
    unit, strata = units(dataset), _strata(dataset)
    keys = None if dataset.groups is None else content_keys(dataset)
    several = dataset.y is not None and dataset.task.is_multilabel
    pairs = []
    for repeat in range(repeats):
        rng, shares = np.random.default_rng([seed, repeat]), np.full(k, 1 / k)
        if several:
            fold = assign_labels(unit, dataset.y, shares, rng, home=-1)
        else:
            fold = _assign(unit, strata, shares, rng, least=k, home=-1)
        found = [(np.flatnonzero(fold != part), np.flatnonzero(fold == part)) for part in range(k)]
        if any(not len(test) for _, test in found):
            free = len(np.unique(unit[fold >= 0]))
            raise DataError(
                f"{dataset.name} cannot be cut into {k} folds: {free} independent rows or groups can be tested",
                hint="use fewer folds or more data",
            )
        pairs += [_without(train, test, keys) for train, test in found]
    return pairs


def fold_count(dataset: Dataset, most: int = 5) -> int:
    """As many folds, up to ``most``, as leave at least nine tenths of the rows in classes that are tested; 2 at least.

    Example:
        >>> from graft.data.load import load
        >>> fold_count(load((list("abcdefgh"), list("xyxyxyxy"))), most=5)
        4
    """
    unit, strata = units(dataset), _strata(dataset)
    sizes = np.array([len(np.unique(unit[strata == one])) for one in range(int(strata.max()) + 1)])
    rows = np.bincount(strata)
    for count in range(min(most, len(np.unique(unit))), 2, -1):
        if rows[sizes >= count].sum() >= TESTED * len(dataset):
            return count
    return 2


def holdout(dataset: Dataset, *, test: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Set aside a share (or, from 1 on, a number) of rows for testing: (train, test), sorted positions.

    Raises:
        DataError: Nothing can be set aside, or nothing would be left for training.
    """
    share = test / max(len(dataset), 1) if test >= 1 else test
    if not 0 < share < 1:
        raise UsageError(f"a test share of {test} cannot be set aside from {len(dataset)} rows")
    rng = np.random.default_rng([seed, 0])
    shares = np.array([1 - share, share])
    if dataset.y is not None and dataset.task.is_multilabel:
        fold = assign_labels(units(dataset), dataset.y, shares, rng, home=0)
    else:
        fold = _assign(units(dataset), _strata(dataset), shares, rng, least=2, home=0)
    train, tested = np.flatnonzero(fold == 0), np.flatnonzero(fold == 1)
    if not len(train) or not len(tested):
        raise DataError(f"{dataset.name} has too few independent rows to set {test} aside")
    return _without(train, tested, None if dataset.groups is None else content_keys(dataset))


def few_shot(dataset: Dataset, per_class: int, seed: int) -> np.ndarray:
    """Draw ``per_class`` rows of every class without replacement (all of a smaller class), sorted positions."""
    if dataset.y is None or not dataset.task.has_columns:
        raise UsageError("few-shot sampling needs classes")
    rng = np.random.default_rng(seed)
    if dataset.task.is_multilabel:
        return few_of_each(dataset.y, per_class, rng)
    chosen = []
    for c in range(dataset.task.outputs):
        rows = np.flatnonzero(dataset.y == c)
        chosen.append(rng.choice(rows, size=min(per_class, len(rows)), replace=False))
    return np.sort(np.concatenate(chosen))


def leaks(train: Dataset, test: Dataset) -> list[tuple[int, int]]:
    """Rows of ``test`` that are also in ``train``: (position in train, position in test), in order of test.

    Example:
        >>> from graft.data.load import load
        >>> leaks(load(["a b", "c"], labelled=False), load(["d", "A  b"], labelled=False))
        [(0, 1)]
    """
    if not (len(train) and hasattr(train.X, "keys") and hasattr(test.X, "keys")):
        return []  # a storage of another package that does not say what its rows hold
    known, first = np.unique(content_keys(train), return_index=True)
    keys = content_keys(test)
    place = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    shared = np.flatnonzero(known[place] == keys)
    return list(zip(first[place[shared]].tolist(), shared.tolist(), strict=True))


def _strata(dataset: Dataset) -> np.ndarray:
    """Class of each row; one stratum for regression and for data without labels."""
    if dataset.y is None or not dataset.task.is_classification:
        return np.zeros(len(dataset), np.int64)
    return np.asarray(dataset.y, np.int64)


def _assign(
    unit: np.ndarray, strata: np.ndarray, shares: np.ndarray, rng: np.random.Generator, *, least: int, home: int
) -> np.ndarray:
    """Part of each row (N,).

    Units of several rows go one by one, largest first, to the part that lacks their classes most; then the single
    rows of every class fill the parts up to their shares.  Units of a stratum that has fewer than ``least`` rows or
    only one unit go ``home``.
    """
    classes = int(strata.max(initial=0)) + 1
    total = np.bincount(strata, minlength=classes)
    pairs = np.unique(unit * classes + strata)  # (unit, class) that occur
    rare = (total < least) | (np.bincount(pairs % classes, minlength=classes) < 2)
    if classes == 1:
        rare[:] = False
    pinned = np.zeros(int(unit.max(initial=-1)) + 1, bool)
    pinned[unit[rare[strata]]] = True
    part = np.where(pinned[unit], home, -2)
    want = np.outer(shares, total - np.bincount(strata[pinned[unit]], minlength=classes))
    have = np.zeros_like(want)
    _place_units(part, unit, strata, want=want, have=have, rng=rng)
    for c in range(classes):
        rows = np.flatnonzero((strata == c) & (part == -2))
        if len(rows):
            counts = _fill(
                want[:, c], have[:, c], len(rows), (have.sum(1) - want.sum(1)) * 1e-6 + rng.random(len(shares)) * 1e-9
            )
            part[rng.permutation(rows)] = np.repeat(np.arange(len(shares)), counts)
            have[:, c] += counts
    return part


def _place_units(
    part: np.ndarray,
    unit: np.ndarray,
    strata: np.ndarray,
    *,
    want: np.ndarray,
    have: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Give every unit of several rows a part; changes ``part`` and ``have``."""
    rows = np.flatnonzero((np.bincount(unit)[unit] > 1) & (part == -2))
    if not len(rows):
        return
    rows = rows[np.argsort(unit[rows], kind="stable")]
    starts = np.flatnonzero(np.r_[True, np.diff(unit[rows]) > 0])
    ends = np.r_[starts[1:], len(rows)]
    order = rng.permutation(len(starts))
    order = order[np.argsort(-(ends - starts)[order], kind="stable")]
    scale = np.maximum(want, 1e-9)
    for i in order.tolist():
        mine = rows[starts[i] : ends[i]]
        c = strata[mine]
        # how full the part already is, in the classes of this unit and (as the smaller term) in all
        full = (have[:, c] / scale[:, c]).mean(axis=1) + 1e-3 * have.sum(axis=1) / scale.sum(axis=1)
        chosen = int(full.argmin())
        part[mine] = chosen
        np.add.at(have[chosen], c, 1)


def _fill(want: np.ndarray, have: np.ndarray, rows: int, tie: np.ndarray) -> np.ndarray:
    """How many of ``rows`` single rows each part gets, so that ``have`` comes as near ``want`` as it can."""
    lack = np.maximum(want - have, 0)
    ideal = lack * (rows / lack.sum()) if lack.sum() > 0 else np.full(len(want), rows / len(want))
    counts = np.floor(ideal + 1e-9).astype(np.int64)
    rest = rows - int(counts.sum())
    order = np.lexsort((tie, -(ideal - counts)))
    counts[order[:rest]] += 1
    return counts
