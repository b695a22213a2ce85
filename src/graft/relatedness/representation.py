"""Both data sets as numbers in the same columns: features of a pretrained source, or the rows themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import sparse

from graft.core.errors import DataError, GraftError, SourceError
from graft.core.registry import MODALITIES
from graft.core.rows import evenly_spaced
from graft.core.runtime import Progress, silent
from graft.core.store import Store
from graft.core.types import Dataset, Features, ModelSpec
from graft.data.joined import JoinedRows
from graft.features import extract
from graft.ranking.rank import rank
from graft.sources.base import Backbone, list_models, open_model

PLAIN = "plain"  # instead of a source: the rows themselves
DIRECTIONS = 256  # leading directions of wider rows that heads and alignments read
TRIED = 500  # rows that sources are ranked on
LOOKED = 100  # rows shown to a source to see whether it reads them


@dataclass(frozen=True, eq=False)
class Represented:
    """Both sides in the same columns.

    Attributes:
        one: Rows (n, k) of A, every column of mean 0 and variance 1 over both sides, or leading directions.
        two: Rows (m, k) of B.
        wide: Both as they come, arrays or CSR matrices: what domains are told apart by.
        plain: Both as rows themselves, with names: words, columns, features; None where they have none.
        names: Names of the columns of ``plain``.
        source: URI of the source; empty for the rows themselves.
        layers: Both sides at each depth of the source.
        notes: What was left out on the way.
    """

    one: np.ndarray
    two: np.ndarray
    wide: tuple[Any, Any]
    plain: tuple[Any, Any] | None
    names: Sequence[str] | None
    source: str = ""
    layers: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    notes: tuple[str, ...] = ()


def represent(
    one: Dataset,
    two: Dataset,
    *,
    model: str | None = None,
    store: Store | None = None,
    progress: Progress = silent,
    seed: int = 0,
) -> Represented:
    """Turn both sides into numbers.

    Args:
        one: A.
        two: B, of the same kind.
        model: URI of a source; ``"plain"`` for the rows themselves; None: the best source within reach, by a probe on a
            labelled side as in ``graft rank``, and the rows themselves where there is none.
        store: Cache of features.
        progress: Told what happens.
        seed: Seed of directions.

    Raises:
        DataError: The sides have no word or feature in common, and no source reads them.
        SourceError: The named source cannot read them.
    """
    plain, names, fault = _plain(one, two)
    backbone: Backbone | None = None
    notes: tuple[str, ...] = ()
    if model != PLAIN and one.task.modality not in ("table", "counts"):
        backbone, notes = (_named(model, one, two), ()) if model else _best(one, two, store, progress)
    if backbone is None:
        if plain is None:
            raise DataError(fault, hint="name a --model that reads both")
        return Represented(*narrowed(*plain, seed=seed), plain, plain, names, notes=notes)
    features = [extract(backbone, data, store=store, progress=progress) for data in (one, two)]
    last = features[0].layer(-1), features[1].layer(-1)
    dense = narrowed(*last, seed=seed)
    layers = [narrowed(*_layer(features, number), seed=seed) for number in range(features[0].layers - 1)]
    return Represented(*dense, last, plain, names, backbone.spec.uri, [*layers, dense], notes)


def _layer(features: list[Features], number: int) -> tuple[np.ndarray, np.ndarray]:
    return features[0].layer(number), features[1].layer(number)


def _plain(one: Dataset, two: Dataset) -> tuple[tuple[Any, Any] | None, Sequence[str] | None, str]:
    """Both sides as vectors of their modality, the columns named, or why not."""
    both = _joined(one, two)
    vectors = MODALITIES[one.task.modality].vectors().fit(both)
    X, Z = vectors.transform(one), vectors.transform(two)
    if sparse.issparse(X):
        there = [np.asarray((abs(part) > 0).sum(axis=0)).ravel() > 0 for part in (X, Z)]
        if not (there[0] & there[1]).any():
            unit = "word" if one.task.modality == "text" else "feature"
            return None, None, f"{one.name} and {two.name} have no {unit} in common"
    return (X, Z), vectors.names() if hasattr(vectors, "names") else None, ""


def _joined(one: Dataset, two: Dataset) -> Dataset:
    """All rows without their labels."""
    import dataclasses

    rows = JoinedRows([one.X, two.X])
    numbers = np.concatenate([one.rows, two.rows + rows.starts[1]])
    return dataclasses.replace(one, X=rows, y=None, rows=numbers, groups=None, line_of=None)


def narrowed(one: Any, two: Any, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Both sides dense, (n, k) and (m, k), found without a label.

    Columns have mean 0 and variance 1 over both; of wide or sparse rows these are the leading ``DIRECTIONS`` over both.

    Example:
        >>> X, Z = narrowed(np.array([[1.0, 5.0], [3.0, 5.0]]), np.array([[2.0, 5.0]]))
        >>> X.round(2).tolist(), Z.tolist()
        ([[-1.22, 0.0], [1.22, 0.0]], [[0.0, 0.0]])
    """
    from sklearn.utils.extmath import randomized_svd

    both: Any
    if sparse.issparse(one):
        both = sparse.vstack([one, two], format="csr")
    else:
        both = np.concatenate([one, two]).astype(np.float64)
        both -= both.mean(axis=0)
        both /= np.sqrt(np.square(both).mean(axis=0)).clip(1e-9)
        if both.shape[1] <= DIRECTIONS:
            return both[: one.shape[0]], both[one.shape[0] :]
    size = min(DIRECTIONS, *both.shape)
    _, _, basis = randomized_svd(both, size, n_iter=2, random_state=seed)
    places = np.asarray(both @ basis.T)
    places -= places.mean(axis=0)
    return places[: one.shape[0]], places[one.shape[0] :]


def _reads(backbone: Backbone, *sides: Dataset) -> str:
    """Why a source cannot read a side; empty where it can."""
    for data in sides:
        found = backbone.coverage(data.take(evenly_spaced(len(data), LOOKED)))
        if not found.ok:
            return f"{backbone.spec.name} cannot read {data.name}: {found.reason or f'{found.share:.0%} of it'}"
    return ""


def _named(model: str, one: Dataset, two: Dataset) -> Backbone:
    backbone = open_model(model)
    if backbone.spec.modality != one.task.modality:
        what = f"{model} reads {backbone.spec.modality}, the data are {one.task.modality}"
        raise SourceError(what, hint="name another source")
    if fault := _reads(backbone, one, two):
        raise SourceError(fault, hint="name another source, or --model plain for the rows themselves")
    return backbone


def _best(
    one: Dataset, two: Dataset, store: Store | None, progress: Progress
) -> tuple[Backbone | None, tuple[str, ...]]:
    """The source to compare with, and what was left out."""
    from graft.relatedness.pairing import labelled_rows

    specs: list[ModelSpec] = list_models(modality=one.task.modality)
    known = next((rows for rows in map(labelled_rows, (one, two)) if rows is not None), None)
    if len(specs) > 1 and known is not None and len(known) >= 40:
        ranking = rank(specs, known, scores=(), limit_rows=TRIED, store=store, progress=progress)
        specs = [row.spec for row in ranking.usable]
    else:
        specs = sorted(specs, key=lambda spec: -spec.parameters)
    notes: list[str] = []
    for spec in specs:
        try:
            backbone = open_model(spec)
            fault = _reads(backbone, one, two)
        except GraftError as error:
            backbone, fault = None, f"{spec.name}: {error}"
        if backbone is not None and not fault:
            return backbone, tuple(notes)
        notes.append(fault)
    return None, tuple(notes)
