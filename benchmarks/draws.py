"""Seeded draws of training rows, written in the form of their set, so that every system reads the same rows."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np

from benchmarks import sets

FILES = {".jpg", ".jpeg", ".png", ".wav"}


def per_class(y: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Sorted positions of ``count`` rows of each class, all of a smaller one; 0 is all rows."""
    if count == 0:
        return np.arange(len(y))
    rng = np.random.default_rng(seed)
    chosen = [rng.permutation(np.flatnonzero(y == each))[:count] for each in np.unique(y)]
    return np.sort(np.concatenate(chosen))


def stratified(y: np.ndarray, total: int, seed: int) -> np.ndarray:
    """Sorted positions of ``total`` rows, classes in proportion and at least one row each; 0 is all rows.

    Shares are rounded by largest remainder, so the number is exact where there are no more classes than rows.
    """
    if total == 0 or total >= len(y):
        return np.arange(len(y))
    classes, number, counts = np.unique(y, return_inverse=True, return_counts=True)
    ideal = counts * total / len(y)
    take = np.maximum(1, np.floor(ideal).astype(int))
    rest = total - int(take.sum())
    order = np.argsort(-(ideal - take), kind="stable") if rest > 0 else np.argsort(ideal - take, kind="stable")
    for each in np.resize(order, abs(rest) * len(classes)):  # classes of one row cannot give any away
        if rest == 0:
            break
        step = 1 if rest > 0 else -1
        if 1 <= take[each] + step <= counts[each]:
            take[each] += step
            rest -= step
    rng = np.random.default_rng(seed)
    chosen = [rng.permutation(np.flatnonzero(number == each))[: take[each]] for each in range(len(classes))]
    return np.sort(np.concatenate(chosen))


def labels_of(name: str, train: Path) -> np.ndarray:
    """Label of every row of a training file, or of every file of a folder by class."""
    if train.is_dir():
        return np.asarray([path.parent.name for path in _files(train)])
    return sets.read_text(train)[1] if sets.kind(name) == "text" else sets.read_table(train)[1]


def write(train: Path, positions: np.ndarray, target: Path) -> Path:
    """Write the chosen rows: a CSV file with the same header, or a folder of links by class."""
    if train.is_dir():
        files = _files(train)
        for position in positions:
            file = files[position]
            link = target / file.parent.name / file.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file.resolve())
        return target
    opener = gzip.open if train.suffix == ".gz" else open
    with opener(train, "rt", encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    target = target.with_suffix(".csv")
    with target.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows([header, *(rows[position] for position in positions)])
    return target


def draw(name: str, train: Path, wish: dict[str, int], seed: int, target: Path) -> Path:
    """Draw by ``{"per_class": k}`` or ``{"rows": n}`` and write.

    Raises:
        ValueError: The wish is none of these.
    """
    ways = {"per_class": per_class, "rows": stratified}
    (how, count), *more = wish.items()
    if how not in ways or more:
        raise ValueError(f"no draw {wish}: use per_class or rows")
    return write(train, ways[how](labels_of(name, train), count, seed), target)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in FILES)
