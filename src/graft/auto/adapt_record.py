"""The record of an adaptation: what was decided, how far the domains are apart and where, and both in a plane."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from graft.adaptation.base import BaseAdaptation
from graft.adaptation.domains import Domains
from graft.adaptation.shallow import FeatureAdaptation, Matrices
from graft.auto.domain_view import SHOWN, view
from graft.core.registry import MODALITIES
from graft.core.rows import evenly_spaced
from graft.core.types import Dataset
from graft.data.joined import JoinedRows
from graft.features import encode
from graft.unlabelled.distance import MOST, Column, a_distance, mmd, where_shift
from graft.unlabelled.learning import Rule
from graft.unlabelled.observed import Observed
from graft.unlabelled.veto import Verdict
from graft.unlabelled.words import single_words, telling_columns

if TYPE_CHECKING:
    from graft.auto.adapt import AdaptConfig, Tried

UNTOLD = "no time, or too few rows, to learn what evidence is worth: source only is returned"


def decided(
    domains: Domains,
    config: AdaptConfig,
    tried: Sequence[Tried],
    *,
    base: str,
    rule: Rule | None,
    verdict: Verdict | None,
) -> dict[str, Any]:
    """What was tried, what speaks for it, and what is returned, as plain data."""
    evidence = {one.name: one for one in verdict.evidence} if verdict else {}
    return {
        "decision": "source only" if verdict is None else verdict.decision,
        "sentence": UNTOLD if verdict is None else verdict.sentence,
        "base": base,
        "classes": list(domains.source.task.classes),
        "source": _facts(domains.source) | {"domains": domains.sources},
        "target": _facts(domains.target),
        "config": dataclasses.asdict(config),
        "rule": None if rule is None else {
            "criteria": list(rule.names), "threshold": rule.threshold if np.isfinite(rule.threshold) else None,
            "rank": rule.rank, "harmful": rule.harmful, "kept": rule.kept, "error": rule.error, "shifts": rule.shifts,
        },
        "tried": [
            {
                "name": one.name, "label": one.label, "seconds": one.seconds, "reason": one.reason,
                "evidence": dataclasses.asdict(evidence[one.label]) if one.label in evidence else None,
            }
            for one in tried
        ],
    }  # fmt: skip


def apart(domains: Domains, rows: Matrices, words: Sequence[str] | None, *, level: float, seed: int) -> dict[str, Any]:
    """How far the domains are apart, and where, as plain data.

    Args:
        domains: Both sides.
        rows: Both sides as numbers.
        words: Words in the order of the features of counts.
        level: Coverage of the intervals.
        seed: Seed of folds and permutations.
    """
    distance, gap = (
        a_distance(rows.source, rows.target, level=level, seed=seed),
        mmd(rows.source, rows.target, seed=seed),
    )
    return {
        "distance": {"a_distance": list(distance), "mmd": gap.value, "mmd_p": gap.p},
        "shift": [dataclasses.asdict(one) for one in where(domains, words, level=level)],
    }


def where(domains: Domains, words: Sequence[str] | None = None, *, level: float = 0.9) -> list[Column]:
    """The words, features or columns in which the domains differ most, named, whatever features were adapted.

    Of texts and counts these are the ones that a sparse domain classifier reads; of other rows, those whose means differ.

    Args:
        domains: Both sides.
        words: Words in the order of the features of counts; None: their numbers.
        level: Coverage of the intervals.

    Raises:
        DataError: There are fewer words than features.

    Example:
        >>> from graft.adaptation.domains import from_rows
        >>> texts = [f"good {'book' if i < 40 else 'knife'} {i % 3}" for i in range(80)]
        >>> sorted(one.name for one in where(from_rows(texts, ["x", "y"] * 40, [0] * 40 + [-1] * 40)))
        ['book', 'knife']
    """
    sides = [side.select(evenly_spaced(len(side), MOST)) for side in (domains.source, domains.target)]
    modality = domains.source.task.modality
    vectors = MODALITIES[modality].vectors().fit(_joined(*sides))
    X, Z = (vectors.transform(side) for side in sides)
    names: Sequence[str] | None = None
    if hasattr(vectors, "names"):
        names = vectors.names(words) if modality == "counts" else vectors.names()
    if not sparse.issparse(X):
        return where_shift(X, Z, names, level=level)
    kept = np.arange(X.shape[1]) if names is None else single_words(names)
    return telling_columns(X[:, kept], Z[:, kept], None if names is None else [names[j] for j in kept], level=level)


def _joined(one: Dataset, two: Dataset) -> Dataset:
    """Rows of both without their labels."""
    rows = JoinedRows([one.X, two.X])
    numbers = np.concatenate([one.rows, two.rows + rows.starts[1]])
    return dataclasses.replace(one, X=rows, y=None, rows=numbers, groups=None, line_of=None)


def planes(
    domains: Domains, rows: Matrices, before: Observed, model: BaseAdaptation, *, base: str, seed: int
) -> dict[str, Any]:
    """Both domains as source only sees them, and as the returned model does.

    Args:
        domains: Both sides.
        rows: Both sides as numbers.
        before: What was seen of source only.
        model: The returned one.
        base: Name of source only.
        seed: Seed of the directions.
    """
    found = {"before": view(rows.source, rows.target, rows.y, before.target_outputs.argmax(axis=1), seed=seed)}
    if model.name == base:
        return found
    predicted = model.outputs(domains.target).argmax(axis=1)
    if isinstance(model, FeatureAdaptation):
        found["after"] = view(*model.seen(rows.source, rows.target), rows.y, predicted, seed=seed)
    elif model.backbone_ is not None:
        some = [evenly_spaced(len(data), SHOWN) for data in (domains.source, domains.target)]
        both = zip((domains.source, domains.target), some, strict=True)
        features = [encode(model.backbone_, data.take(one)).layer(-1) for data, one in both]
        found["after"] = view(*features, rows.y[some[0]], predicted[some[1]], seed=seed)
    return found


def _facts(data: Dataset) -> dict[str, Any]:
    return {"name": data.name, "rows": len(data), "notes": list(data.notes)}
