"""``graft compare``: how related two tasks or domains are, as numbers and in a sentence, before anything is trained."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graft.core.errors import DataError
from graft.core.runtime import Progress, silent
from graft.core.store import Store
from graft.core.types import Dataset
from graft.nn.bootstrap import Interval, interval
from graft.relatedness.alignment import FEWEST, class_cka, column_cka
from graft.relatedness.foreseen import Foreseen, foreseen
from graft.relatedness.gain import FEWEST as FEWEST_LABELS
from graft.relatedness.gain import Gain, measured_gain
from graft.relatedness.judging import Side
from graft.relatedness.pairing import labelled_rows, on_shared_columns, read_pair
from graft.relatedness.representation import Represented, represent
from graft.relatedness.vocabulary import in_common
from graft.relatedness.wording import sentence
from graft.unlabelled.distance import Column, a_distance, mmd, where_shift
from graft.unlabelled.ratio import density_ratio
from graft.unlabelled.words import single_words, telling_columns

ROWS = 3_000  # rows of a side that are looked at
CLOSE, RELATED, UNRELATED = "close", "related", "unrelated"
OVERLAP = 0.1  # from there on inputs without labels count as related
WORTH = 0.005  # a gain of half a point: where labels differ, and A's head is of no use by itself, less is nothing
ALIKE = 0.05  # p of the two-sample test below which inputs differ


@dataclass(frozen=True, eq=False)
class Comparison:
    """What is known of two data sets before anything is trained; ``to_json`` gives it as plain data.

    Attributes:
        one: Of A: name, rows, labelled rows, classes, notes.
        two: Of B.
        source: URI of the source whose features are compared; empty for the rows themselves.
        a_distance: Proxy A-distance with its interval: 0 cannot be told apart, 2 apart.
        mmd: Squared maximum mean discrepancy.
        mmd_p: Its permutation p-value.
        overlap: ∫ min(p_A, p_B), by the density ratio: 1 where both are distributed alike, 0 where apart.
        columns: Linear CKA over columns with its interval, or None.
        depth: The same at each layer of the source, input side first.
        classes: Linear CKA over shared classes (``alignment.class_cka``), or None.
        common: Share of words, columns or features in common (``vocabulary.in_common``).
        differ: The words or columns that differ most.
        labels: Total variation distance of the class shares with its interval, where both are labelled alike; or None.
        gain: What A's labels bring to B, measured; None where a side has no labels.
        foreseen: Where B has no labels: what A's head is expected to do; else None.
        relation: ``"close"``, ``"related"`` or ``"unrelated"``.
        basis: What it rests on: ``"gain"``, ``"foreseen"`` or ``"inputs"``.
        level: Confidence level of the intervals.
    """

    one: dict[str, Any]
    two: dict[str, Any]
    source: str
    a_distance: Interval
    mmd: float
    mmd_p: float
    overlap: float
    columns: Interval | None
    depth: list[float]
    classes: dict[str, Any] | None
    common: dict[str, Any]
    differ: list[Column]
    labels: Interval | None
    gain: Gain | None
    foreseen: Foreseen | None
    relation: str = ""
    basis: str = ""
    level: float = 0.9
    notes: list[str] = field(default_factory=list)

    def sentence(self, language: str = "en") -> str:
        """The answer in one sentence, in English or Chinese."""
        return sentence(self.to_json(), language)

    def to_json(self) -> dict[str, Any]:
        """Plain data; what is not a number is None."""
        found: dict[str, Any] = _plain(dataclasses.asdict(self))
        return found


def compare(
    one: Any,
    two: Any,
    *,
    model: str | None = None,
    label: str | None = None,
    other_label: str | None = None,
    labels: int | None = None,
    encoding: str = "utf-8",
    level: float = 0.9,
    seed: int = 0,
    store: Store | None = None,
    workdir: Any = None,
    progress: Progress = silent,
) -> Comparison:
    """Compare two data sets, A to learn from and B to learn for, without training a network.

    Args:
        one: A: a ``Dataset`` or what ``load`` reads, with labels or without.
        two: B.
        model: URI of a source; ``"plain"`` for the rows themselves; None: the best within reach.
        label: Label column of A; found if not given.
        other_label: Label column of B; found if not given.
        labels: Labelled rows of B to measure the gain with; None: as many as there are.
        encoding: Of text files.
        level: Confidence level.
        seed: Seed of everything random.
        store: Cache of features.
        workdir: Where large data are put.
        progress: Told what happens.

    Raises:
        DataError: The two have nothing in common, are of different kinds, or have too few rows.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> y = np.arange(300) % 3
        >>> X = rng.normal(size=(300, 6)) + np.eye(3, 6)[y]
        >>> found = compare((X[:240], y[:240]), (X[240:], y[240:]))
        >>> found.relation, found.basis
        ('close', 'gain')
    """
    first, second = read_pair(one, two, label=label, other_label=other_label, encoding=encoding, workdir=workdir)
    common = in_common(first, second)
    first, second = on_shared_columns(first, second)
    sides = [_some(data, seed) for data in (first, second)]
    progress("features", 0.0)
    seen = represent(*sides, model=model, store=store, progress=progress, seed=seed)
    progress("distances", 0.3)
    distance, gap = a_distance(*seen.wide, level=level, seed=seed), mmd(*seen.wide, seed=seed)
    overlap = float(np.minimum(density_ratio(*seen.wide, seed=seed), 1.0).mean())  # E_A[min(1, p_B / p_A)]
    depth = [column_cka(*layer, level=level, seed=seed)[0] for layer in seen.layers[:-1]]
    columns = column_cka(seen.one, seen.two, level=level, seed=seed) if seen.one.shape[1] > 1 else None
    progress("labels", 0.6)
    found = Comparison(
        _facts(first),
        _facts(second),
        seen.source,
        distance,
        gap.value,
        gap.p,
        overlap,
        columns,
        [*depth, columns[0]] if seen.layers and columns else [],
        _classes(sides, seen, level, seed),
        common,
        _differ(seen, level),
        _label_distance(first, second, level, seed),
        *_transfer(sides, seen, labels, level, seed),
        level=level,
        notes=list(seen.notes),
    )
    relation, basis = judged(found)
    return dataclasses.replace(found, relation=relation, basis=basis)


def judged(found: Comparison) -> tuple[str, str]:
    """How related the two are, and what that rests on.

    With labels on both sides, *close*: A's labels bring a gain beyond noise, or A's head does as well on B as a head of B's own
    labels; *related*: A's head does better on B than a guess and than heads of A's labels shuffled, and A's labels do no
    harm and, where labels differ, may bring ``WORTH``; *unrelated*: neither.  With labels on A alone, *close*: A's head is expected above a guess and inputs
    cannot be told apart; *related*: it is expected above a guess; *unrelated*: it is not.  Without labels only the inputs can be
    close (they cannot be told apart), related (their distributions overlap by ``OVERLAP``) or unrelated.
    """
    alike = found.mmd_p > ALIKE and found.a_distance[1] <= 0
    if found.gain is not None:
        gain = found.gain
        level_with = gain.behind is not None and not gain.behind.worse
        if gain.speaks and (gain.gain.better or level_with):
            return CLOSE, "gain"
        useful = gain.speaks and not gain.gain.worse and (gain.behind is not None or gain.gain.high >= WORTH)
        return (RELATED if gain.gain.better or useful else UNRELATED), "gain"
    if found.foreseen is not None:
        above = found.foreseen.accuracy[1] > found.foreseen.guess
        return (CLOSE if above and alike else RELATED if above else UNRELATED), "foreseen"
    return (CLOSE if alike else RELATED if found.overlap >= OVERLAP else UNRELATED), "inputs"


def _some(data: Dataset, seed: int) -> Dataset:
    """At most ``ROWS`` rows, labelled ones first."""
    if len(data) <= ROWS:
        return data
    order = np.random.default_rng(seed).permutation(len(data))
    if data.y is not None:
        there = data.y >= 0 if data.task.is_classification else np.isfinite(data.y)
        order = order[np.argsort(~there[order], kind="stable")]
    return data.select(np.sort(order[:ROWS]))


def _facts(data: Dataset) -> dict[str, Any]:
    known = labelled_rows(data)
    return {
        "name": data.name,
        "rows": len(data),
        "labelled": 0 if known is None else len(known),
        "kind": data.task.kind if known is not None else "",
        "classes": list(data.task.classes) if known is not None else [],
        "modality": data.task.modality,
        "notes": list(data.notes),
    }


def _side(data: Dataset, rows: np.ndarray) -> Side | None:
    if data.y is None:
        return None
    there = np.flatnonzero(data.y >= 0 if data.task.is_classification else np.isfinite(data.y))
    if len(there) < 2 or len(np.unique(data.y[there])) < 2:
        return None
    return Side(rows[there], data.y[there], data.task, None if data.groups is None else data.groups[there])


def _transfer(
    sides: list[Dataset], seen: Represented, labels: int | None, level: float, seed: int
) -> tuple[Gain | None, Foreseen | None]:
    one, two = _side(sides[0], seen.one), _side(sides[1], seen.two)
    if one is None:
        return None, None
    if two is not None and len(two.y) >= FEWEST_LABELS:
        return measured_gain(one, two, labels=labels, level=level, seed=seed), None
    if labels is not None:
        raise DataError(f"{sides[1].name} has too few labels to measure a gain with {labels} of them")
    try:
        return None, foreseen(one.X, one.y, one.task, seen.two, level=level, seed=seed)
    except DataError:  # values, or too few rows to make shifts of
        return None, None


def _classes(sides: list[Dataset], seen: Represented, level: float, seed: int) -> dict[str, Any] | None:
    one, two = _side(sides[0], seen.one), _side(sides[1], seen.two)
    if one is None or two is None or not (one.task.is_classification and two.task.is_classification):
        return None
    index = {name: number for number, name in enumerate(one.task.classes)}
    y_two = np.array([index.get(name, -1) for name in two.task.classes])[two.y]
    both = np.intersect1d(one.y, y_two[y_two >= 0])
    if len(both) < FEWEST:
        return None
    kept = [np.isin(y, both) for y in (one.y, y_two)]
    return class_cka(one.X[kept[0]], one.y[kept[0]], two.X[kept[1]], y_two[kept[1]], level=level, seed=seed)


def _differ(seen: Represented, level: float) -> list[Column]:
    if seen.plain is None or seen.names is None:
        return []
    from scipy import sparse

    if not sparse.issparse(seen.plain[0]):
        return where_shift(*seen.plain, seen.names, level=level)
    kept = single_words(seen.names)
    return telling_columns(*(X[:, kept] for X in seen.plain), [seen.names[j] for j in kept], level=level)


def _label_distance(one: Dataset, two: Dataset, level: float, seed: int) -> Interval | None:
    """Total variation distance ½ Σ_c |p_c - q_c| of the class shares; classes are the same where their names are."""
    known = [labelled_rows(data) for data in (one, two)]
    if known[0] is None or known[1] is None or not all(data.task.is_classification for data in (one, two)):
        return None
    names = sorted({*one.task.classes, *two.task.classes})
    counts = []
    for data in known:
        assert data is not None
        own = np.bincount(data.y, minlength=data.task.outputs)
        counts.append(np.array([own[data.task.classes.index(n)] if n in data.task.classes else 0 for n in names]))
    value = float(np.abs(counts[0] / counts[0].sum() - counts[1] / counts[1].sum()).sum() / 2)
    rng = np.random.default_rng(seed)
    draws = [rng.multinomial(own.sum(), own / own.sum(), 1000) / own.sum() for own in counts]
    _, low, high = interval(
        value, np.abs(draws[0] - draws[1]).sum(axis=1) / 2, level=level, size=int(min(own.sum() for own in counts))
    )
    return value, max(0.0, low), min(1.0, high)


def _plain(value: Any) -> Any:
    """Lists and numbers; None for what is not finite."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
