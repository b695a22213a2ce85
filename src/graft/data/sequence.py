"""Sequences of DNA, RNA and proteins: letters, lengths, and the k-mers that speak for a class."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from graft.core.registry import MODALITIES
from graft.core.rows import evenly_spaced
from graft.core.types import Dataset
from graft.data.biological import alphabet_in
from graft.data.kmers import KmerVectors
from graft.data.letters import CALLED, GAP, KNOWN

SEEN = 3_000  # rows in which the k-mers that speak for a class are looked for
SHOWN, CLASSES = 5, 12  # k-mers of a class, and classes, that are shown
LEAST = 3  # letters of a k-mer that is shown where it may stand anywhere
CELLS = 50_000_000  # cells of rows by letters that are looked at


def speaking(data: Dataset) -> dict[str, str]:
    """The k-mers that occur in more rows of a class than of the others, the surest first, by the z of two shares.

    z = (p_c - p_r) / √(p (1 - p) (1 / n_c + 1 / n_r)) with p the share of all rows.  Runs of three letters or more, and,
    where all sequences have one length, of two or more at a place; of runs that overlap one is shown.
    """
    some = data.select(evenly_spaced(len(data), SEEN))
    assert some.y is not None
    vectors = KmerVectors().fit(some)
    there = vectors.transform(some)
    there.data[:] = 1
    names = vectors.runs()
    shown = np.array([len(run) >= (2 if place else LEAST) for run, place in names])
    sizes = np.array([len(run) for run, _ in names])
    total, everywhere = len(some), np.asarray(there.sum(axis=0)).ravel()
    found = {}
    for number, one in enumerate(data.task.classes[:CLASSES]):
        inside = some.y == number
        count = int(inside.sum())
        if not 0 < count < total:
            continue
        own = np.asarray(there[inside].sum(axis=0)).ravel()
        share, rest = own / count, (everywhere - own) / (total - count)
        p = everywhere / total
        z = (share - rest) / np.sqrt((p * (1 - p) * (1 / count + 1 / (total - count))).clip(1e-9))
        z[~shown] = 0.0
        best: list[tuple[str, int]] = []
        for column in np.lexsort((-sizes, -z.round(6))):  # of equally sure runs the longest
            if z[column] <= 2 or len(best) == SHOWN:
                break
            if not any(_overlap(names[column], other) for other in best):
                best.append(names[column])
        if best:
            found[one] = ", ".join(f"{run} at {place}" if place else run for run, place in best)
    return found


def _overlap(one: tuple[str, int], other: tuple[str, int]) -> bool:
    """Whether two k-mers may be parts of one run."""
    if one[1] and other[1]:
        return one[1] < other[1] + len(other[0]) and other[1] < one[1] + len(one[0])
    shorter, longer = sorted((one[0], other[0]), key=len)
    return shorter[:-1] in longer or shorter[1:] in longer


class _Sequence:
    """Facts, walk and vectors of sequences."""

    vectorizer = KmerVectors

    def describe(self, dataset: Dataset) -> dict[str, Any]:
        """Rows, alphabet, lengths, shares of unknown letters and gaps, repeated rows, and k-mers that speak for a class."""
        alphabet = alphabet_in(dataset)
        lengths, letters = [], Counter[str]()
        for start in range(0, len(dataset), 4096):
            texts = dataset.take(slice(start, start + 4096))
            lengths += [len(text) for text in texts]
            letters.update("".join(texts))
        keys = dataset.X.keys(dataset.rows) if hasattr(dataset.X, "keys") else np.arange(len(dataset))
        sizes = np.array(lengths or [0])
        gaps, known = letters[GAP], sum(letters[letter] for letter in KNOWN[alphabet])
        whole = max(1, letters.total())
        facts = {
            "rows": len(dataset),
            "alphabet": CALLED[alphabet],
            "length": {
                "median": int(np.median(sizes)), "min": int(sizes.min()), "p95": int(np.quantile(sizes, 0.95)),
                "max": int(sizes.max()),
            },
            "unknown letters": f"{(whole - gaps - known) / whole:.2%}",
            "gaps": f"{gaps / whole:.2%}",
            "duplicates": len(keys) - len(np.unique(keys)),
        }  # fmt: skip
        if dataset.y is not None and dataset.task.is_classification and whole <= CELLS:
            for name, runs in speaking(dataset).items():
                facts[f"{name}: k-mers"] = runs
        return facts

    def walk(self, dataset: Dataset, row: int) -> list[tuple[str, str]]:
        """One sequence: as read, and what its vector is made of."""
        one = dataset.select(np.array([row]))
        vectors = KmerVectors().fit(dataset)
        sequence = one.take()[0]
        counts = Counter(sequence)
        steps = [
            ("raw", sequence if len(sequence) <= 200 else sequence[:199] + "…"),
            ("letters", f"{len(sequence)}: " + ", ".join(f"{letter} {n}" for letter, n in counts.most_common(8))),
        ]
        if dataset.y is not None:
            steps.append(("label", str(one.labels[0])))
        placed = f"; letters and runs at {vectors.length} places" if vectors.length else ""
        runs = f"{len(vectors.kept)} runs of 1 to {vectors.longest} letters"
        return [*steps, ("vector", f"{vectors.transform(one).nnz} of {vectors.width} numbers: {runs}{placed}")]

    def vectors(self) -> KmerVectors:
        """Counts of k-mers, and their places in aligned sequences."""
        return KmerVectors()


MODALITIES.register("sequence")(_Sequence())
