"""Boosted trees as plain arrays: taken out of scikit-learn once, saved without pickle, asked with NumPy alone."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from graft.core.errors import UsageError

AT_ONCE = 1 << 21  # (row, tree) pairs that are followed at a time
WORDS = 8  # 32-bit words of a set of categories: 256 of them


@dataclass(frozen=True, eq=False)
class Forest:
    """Trees whose leaf values are added up, M nodes in all, T trees for K scores.

    A row goes left where its number is at most the threshold, or its category is in the left set; where it is missing, or a
    category that the trees never saw, it goes where ``missing_left`` says.  A leaf is its own child.

    Attributes:
        feature: Column that a node asks for (M,).
        threshold: Of numbers (M,).
        missing_left: Whether a missing value goes left (M,).
        left: Left child (M,).
        right: Right child (M,).
        value: What a leaf adds (M,).
        categories: Row of ``left_sets`` that a node asks, -1 for a number (M,).
        left_sets: Categories that go left, as bits (S, 8) of 32.
        known: Categories of each column that the trees saw, as bits (D, 8).
        roots: First node of each tree (T,), those of one round side by side.
        baseline: What is there before the first tree (K,).
        weights: What each of the K sums gives to each score (K, C).
        start: Scores before the first tree (C,).
        depth: Steps to the deepest leaf.
    """

    feature: np.ndarray
    threshold: np.ndarray
    missing_left: np.ndarray
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray
    categories: np.ndarray
    left_sets: np.ndarray
    known: np.ndarray
    roots: np.ndarray
    baseline: np.ndarray
    weights: np.ndarray
    start: np.ndarray
    depth: np.ndarray

    def scores(self, X: np.ndarray) -> np.ndarray:
        """Scores (n, C) of rows (n, D) float64, NaN where a value is missing, categories as codes from 0."""
        X = np.ascontiguousarray(X, dtype=np.float64)
        trees, step = len(self.roots), max(1, AT_ONCE // max(1, len(self.roots)))
        found = np.tile(self.start, (len(X), 1))
        for start in range(0, len(X) if trees else 0, step):
            leaves = self._leaves(X[start : start + step])
            added = self.value[leaves].reshape(len(leaves), -1, len(self.baseline)).sum(axis=1)
            found[start : start + step] += added @ self.weights
        return found

    def after_rounds(self, X: np.ndarray, start: np.ndarray, *, first: int) -> np.ndarray:
        """The K sums (n, rounds, K) after each round from number ``first`` on, where ``start`` (n, K) is that before."""
        outputs = len(self.baseline)
        part = replace(self, roots=self.roots[first * outputs :])
        leaves = self.value[part._leaves(np.ascontiguousarray(X, dtype=np.float64))]  # noqa: SLF001  (its own)
        sums: np.ndarray = start[:, None] + leaves.reshape(len(X), -1, outputs).cumsum(axis=1)
        return sums

    def spread(self, found: np.ndarray, classes: int, *, below: float) -> Forest:
        """The same trees with a score for each of ``classes``, of which only those ``found`` were fitted.

        One score for two classes becomes two, minus and plus a half of it; a class that was not fitted stays ``below`` the
        lowest baseline, whatever the row.
        """
        weights = np.zeros((len(self.baseline), classes))
        if len(self.baseline) == 1:
            weights[0, found] = [-0.5, 0.5]
        else:
            weights[np.arange(len(found)), found] = 1.0
        base = self.baseline @ weights
        others = np.setdiff1d(np.arange(classes), found)
        base[others] = base[found].min() - below
        return replace(self, weights=weights, start=base)

    def _leaves(self, X: np.ndarray) -> np.ndarray:
        """Leaf of every row in every tree (n, T)."""
        at = np.repeat(self.roots[None], len(X), axis=0)
        rows = np.arange(len(X))[:, None]
        for _ in range(int(self.depth[0])):
            x = X[rows, self.feature[at]]
            left = x <= self.threshold[at]
            lost = np.isnan(x)
            sets = self.categories[at]
            if len(self.left_sets):
                row, tree = np.nonzero((sets >= 0) & ~lost)
                code = x[row, tree].astype(np.int64)
                inside = (code >= 0) & (code < 32 * WORDS)
                code = code.clip(0, 32 * WORDS - 1)
                seen = _has(self.known, self.feature[at[row, tree]], code) & inside
                left[row, tree] = _has(self.left_sets, sets[row, tree], code)
                lost[row, tree] |= ~seen
            left = np.where(lost, self.missing_left[at], left)
            at = np.where(left, self.left[at], self.right[at])
        return at

    def arrays(self) -> dict[str, np.ndarray]:
        """What has to be saved."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Forest:
        """The inverse of ``arrays``."""
        return cls(**{field.name: arrays[field.name] for field in fields(cls)})

    @classmethod
    def constant(cls, baseline: np.ndarray) -> Forest:
        """No tree at all."""
        none, flags = np.zeros(0, np.int64), np.zeros(0, bool)
        sets = np.zeros((0, WORDS), np.uint32)
        numbers, base = np.zeros(0), np.asarray(baseline, np.float64)
        weights = np.eye(len(base))
        return cls(
            none,
            numbers,
            flags,
            none,
            none,
            numbers,
            none,
            sets,
            sets,
            none,
            base,
            weights,
            base,
            np.zeros(1, np.int64),
        )

    @classmethod
    def of(cls, model: Any) -> Forest:
        """The trees of a fitted ``HistGradientBoostingClassifier`` or ``...Regressor``.

        Their categorical columns must come first and hold codes 0, 1, 2 … without a gap.

        Raises:
            UsageError: This scikit-learn keeps its trees in another form.
        """
        try:
            return _taken(cls, model)
        except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
            what = f"this scikit-learn keeps its boosted trees in another form ({error})"
            raise UsageError(what, hint="use scikit-learn 1.6 to 1.9, or name other --methods") from error


def _has(sets: np.ndarray, which: np.ndarray, code: np.ndarray) -> np.ndarray:
    """Whether a code is in a set of bits."""
    found: np.ndarray = (sets[which, code >> 5] >> (code & 31).astype(np.uint32)) & np.uint32(1) == 1
    return found


def _taken(cls: type[Forest], model: Any) -> Forest:
    rounds = model._predictors  # noqa: SLF001  (its trees are public nowhere)
    trees = [tree for group in rounds for tree in group]
    outputs = len(rounds[0]) if rounds else model.n_trees_per_iteration_
    baseline = np.asarray(model._baseline_prediction, np.float64).reshape(-1)  # noqa: SLF001
    width = model.n_features_in_
    known = np.zeros((width, WORDS), np.uint32)
    if model.is_categorical_ is not None and model.is_categorical_.any():
        count = int(model.is_categorical_.sum())
        encoder = model._preprocessor.named_transformers_["encoder"]  # noqa: SLF001
        for levels in encoder.categories_:
            codes = levels[~np.isnan(levels)]
            if not np.array_equal(codes, np.arange(len(codes))):
                raise ValueError("codes of categories with a gap")
        if not model.is_categorical_[:count].all():
            raise ValueError("categories after numbers")
        sets, place = model._bin_mapper.make_known_categories_bitsets()  # noqa: SLF001
        known[:count] = sets[place[:count]]
    parts = [tree.nodes for tree in trees]
    starts = np.cumsum([0, *map(len, parts)])[:-1].astype(np.int64)
    nodes = np.concatenate(parts) if parts else None
    if nodes is None:
        return cls.constant(np.broadcast_to(baseline, outputs).copy())
    offset, own = np.repeat(starts, [len(part) for part in parts]), np.arange(len(nodes))
    leaf = nodes["is_leaf"].astype(bool)
    sets = [tree.raw_left_cat_bitsets for tree in trees]
    first = np.repeat(np.cumsum([0, *map(len, sets)])[:-1], [len(part) for part in parts])
    by_category = nodes["is_categorical"].astype(bool) & ~leaf
    return cls(
        feature=np.where(leaf, 0, nodes["feature_idx"]).astype(np.int64),
        threshold=np.where(leaf | by_category, 0.0, nodes["num_threshold"]).astype(np.float64),
        missing_left=nodes["missing_go_to_left"].astype(bool),
        left=np.where(leaf, own, nodes["left"].astype(np.int64) + offset),
        right=np.where(leaf, own, nodes["right"].astype(np.int64) + offset),
        value=nodes["value"].astype(np.float64),
        categories=np.where(by_category, nodes["bitset_idx"].astype(np.int64) + first, -1),
        left_sets=np.concatenate(sets).astype(np.uint32).reshape(-1, WORDS),
        known=known,
        roots=starts,
        baseline=np.broadcast_to(baseline, outputs).astype(np.float64).copy(),
        weights=np.eye(outputs),
        start=np.broadcast_to(baseline, outputs).astype(np.float64).copy(),
        depth=np.array([int(nodes["depth"].max())], np.int64),
    )
