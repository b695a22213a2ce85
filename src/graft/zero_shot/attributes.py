"""Zero-shot classification by attributes: labelled rows of some classes, and a table that describes all of them.

Idea: what rows of seen classes teach about attributes (stripes, hooves, weight) holds for classes without a row, too.
Helps when: the classes are described by properties that show in the rows, and a dozen classes or more are seen.
Hurts when: attributes do not show, or seen classes differ in few of them; rows of unseen classes drift to seen ones, which
    ``stacking`` holds against.
References: Lampert, Nickisch & Harmeling (2009), direct attribute prediction; Romera-Paredes & Torr (2015), ESZSL; Chao et al.
    (2016), calibrated stacking; Xian et al. (2019), how it is scored.
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from scipy.special import softmax

from graft.core.errors import DataError, UsageError
from graft.core.registry import MODALITIES, ZERO_SHOTS
from graft.core.store import Store
from graft.core.types import Dataset, ModelSpec
from graft.data.lines import Lines
from graft.nn.attributes import Bilinear, Direct, choose_eszsl, choose_stacking, class_folds, fit_dap, fit_eszsl
from graft.nn.calibration import fit_temperature
from graft.sources.base import Backbone
from graft.transfer.base import BaseTransfer, Setting

METHODS = ("eszsl", "dap")
WIDEST = 5000  # columns of a classical representation that is used without a source
HELD = 5  # every fifth row of a seen class shows how far seen classes are preferred


def read_attributes(path: str | Path) -> dict[str, tuple[float, ...]]:
    """A CSV of classes by attributes: a header, then the name of a class and its numbers.

    Raises:
        DataError: A cell is no number, a class stands twice, or two classes have the same attributes.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise DataError(
            f"no table of attributes {str(path)!r}", hint="a CSV with a class and its numbers in every line"
        )
    lines = Lines(path)
    rows = [(number, row) for number, row in enumerate(csv.reader(lines), start=1) if any(cell.strip() for cell in row)]
    if lines.odd:
        number, reason = next(iter(lines.odd.items()))
        raise DataError(reason, where=f"{path.name}, line {number}", hint="save it as UTF-8")
    found: dict[str, tuple[float, ...]] = {}
    for number, row in rows[1:]:
        where, name = f"{path.name}, line {number}", row[0].strip()
        if len(row) != len(rows[0][1]):
            raise DataError(f"{len(row)} cells, the header has {len(rows[0][1])}", where=where)
        if name in found:
            raise DataError(f"class {name!r} stands twice", where=where)
        for cell, title in zip(row[1:], rows[0][1][1:], strict=True):
            if not _is_number(cell):
                raise DataError(f"{title.strip()!r} of {name!r} is {cell.strip()!r}, not a number", where=where)
        found[name] = tuple(map(float, row[1:]))
    return check_attributes(found, where=path.name)


def _is_number(cell: str) -> bool:
    try:
        return bool(np.isfinite(float(cell)))
    except ValueError:
        return False


def check_attributes(table: Mapping[str, Sequence[float]], where: str = "attributes") -> dict[str, tuple[float, ...]]:
    """Attributes by class, of equal number, different in all classes.

    Raises:
        DataError: They are not.
    """
    found = {str(name): tuple(float(value) for value in row) for name, row in table.items()}
    if len(found) < 2 or not next(iter(found.values())):
        raise DataError("the table needs two classes or more, with an attribute or more", where=where)
    if len(set(map(len, found.values()))) > 1 or not np.isfinite([x for row in found.values() for x in row]).all():
        raise DataError("classes have different numbers of attributes, or some that are not finite", where=where)
    same: dict[tuple[float, ...], str] = {}
    for name, row in found.items():
        if same.setdefault(row, name) != name:
            hint = "add an attribute in which they differ"
            raise DataError(f"classes {same[row]!r} and {name!r} have the same attributes", where=where, hint=hint)
    return found


def _held(y: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Every fifth row (n,) of these classes."""
    held = np.zeros(len(y), bool)
    for one in classes:
        held[np.flatnonzero(y == one)[HELD - 1 :: HELD]] = True
    return held


def _lead(seen: np.ndarray, unseen: np.ndarray) -> np.ndarray:
    """By how much (n,) the best seen class leads the best unseen one."""
    return np.asarray(seen.max(axis=1) - unseen.max(axis=1))


@ZERO_SHOTS.register("attributes")
class AttributeZeroShot(BaseTransfer):
    """Classes by a table of attributes, learned from labelled rows of some of them.

    Args:
        source: Whose last layer describes the rows; None: the classical representation (for tables).
        attributes: Numbers by class name, or the path of a CSV; classes without rows are the unseen ones.
        method: ``"dap"``, a logistic regression for each attribute, or ``"eszsl"``, a bilinear map in closed form.
        generalised: Whether seen and unseen classes compete; otherwise only unseen ones are predicted.
        stacking: What is taken off the scores of seen classes; None: chosen on seen classes taken for unseen.
        strengths: γ and λ of ESZSL; None: chosen on seen classes left out.
        seed: Kept in the record; nothing is drawn.

    Example:
        >>> X = np.array([[1.0, 0.1], [0.9, 0.0], [0.0, 1.0], [0.1, 0.9]])
        >>> table = {"horse": [1, 0], "tiger": [0, 1], "zebra": [1, 1]}
        >>> model = AttributeZeroShot(attributes=table, generalised=False, strengths=(0.1, 0.1))
        >>> model.fit(X, ["horse", "horse", "tiger", "tiger"]).predict(np.array([[1.0, 1.0]])).tolist()
        ['zebra']
    """

    label = "zero-shot classification by attributes"
    name = "attributes"
    zero_shot = True
    kinds = ("classification",)
    effort = "request"
    simplicity: ClassVar[int] = 1

    def __init__(
        self,
        source: str | ModelSpec | Backbone | None = None,
        *,
        attributes: Mapping[str, Sequence[float]] | str | Path | None = None,
        method: str = "dap",
        generalised: bool = True,
        stacking: float | None = None,
        strengths: tuple[float, float] | None = None,
        seed: int = 0,
    ) -> None:
        self.source, self.attributes, self.method = source, attributes, method
        self.generalised, self.stacking, self.strengths, self.seed = generalised, stacking, strengths, seed

    def _fit(self, data: Dataset, setting: Setting) -> None:
        if self.method not in METHODS:
            raise UsageError(f"no method {self.method!r}", hint=f"use {' or '.join(METHODS)}")
        if self.attributes is None:
            raise UsageError("no attributes are given", hint="pass a table of classes by attributes")
        given = self.attributes
        table = read_attributes(given) if isinstance(given, str | Path) else check_attributes(given)
        counts = np.bincount(data.y, minlength=data.task.outputs)
        rows_of = [name for name, count in zip(data.task.classes, counts, strict=True) if count]
        absent = [name for name in rows_of if name not in table]
        if absent:
            few = ", ".join(list(table)[:6])
            raise DataError(f"class {absent[0]!r} has no attributes", hint=f"the table has {few}")
        unseen = [name for name in table if name not in rows_of]
        if not self.generalised and len(unseen) < 1:
            raise UsageError(
                "every class of the table has rows", hint="leave generalised on, or take classes out of the data"
            )
        self.backbone_ = self._open() if self.source is not None else None
        self.vectors_ = None if self.backbone_ is not None else MODALITIES[data.task.modality].vectors().fit(data)
        raw = self._matrix(data, setting.store, setting)
        self.center_, self.scale_ = raw.mean(axis=0), raw.std(axis=0)
        self.scale_ = np.where(self.scale_ > 1e-6, self.scale_, 1.0)
        values = np.array(list(table.values()), np.float64)
        spread = values.std(axis=0)
        values = (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
        if self.method == "eszsl":  # else a class with many attributes would score high for every row
            values /= np.linalg.norm(values, axis=1, keepdims=True).clip(1e-12)
        names = list(table)
        place = {name: i for i, name in enumerate(names)}
        y = np.array([place.get(name, -1) for name in data.task.classes])[data.y]
        self.seen_ = np.array([name in rows_of for name in names])
        self._learn((raw - self.center_) / self.scale_, y, values)
        kept = np.ones(len(names), bool) if self.generalised else ~self.seen_
        self.attributes_, self.penalty_ = values[kept], np.where(self.seen_[kept], self.stacking_, 0.0)
        classes = tuple(name for name, keep in zip(names, kept, strict=True) if keep)
        self.task_ = dataclasses.replace(data.task, classes=classes, metric="accuracy")
        self.recipe_ = {**self.recipe_, "task": {**dataclasses.asdict(self.task_), "classes": list(classes)}}
        self.record_ = {
            "method": self.method, "seen": rows_of, "unseen": unseen, "attributes": values.shape[1],
            "stacking": self.stacking_, "strengths": list(self.strengths_), "rows": len(data),
        }  # fmt: skip

    def _matrix(self, data: Dataset, store: Store | None, setting: Setting | None = None) -> np.ndarray:
        """Rows (n, d) before they are standardised."""
        if self.backbone_ is not None:
            return np.asarray(self._features(data, store, setting).layer(-1), dtype=np.float64)
        assert self.vectors_ is not None
        found = self.vectors_.transform(data)
        if found.shape[1] > WIDEST:
            what = f"the classical representation has {found.shape[1]:,} columns"
            raise UsageError(what, hint="give a source, whose features are fewer")
        return np.asarray(found.toarray() if hasattr(found, "toarray") else found, dtype=np.float64)

    def _map(self, X: np.ndarray, y: np.ndarray, values: np.ndarray) -> Bilinear | Direct:
        """Fit to rows whose classes are the numbers ``y`` into ``values``."""
        present, inner = np.unique(y, return_inverse=True)
        if self.method == "dap":
            return fit_dap(X, inner, values[present], cut=values.mean(axis=0))
        return fit_eszsl(X, inner, values[present], strengths=self.strengths_)

    def _learn(self, X: np.ndarray, y: np.ndarray, values: np.ndarray) -> None:
        """The map, and from classes left out how far seen ones are preferred and how sure scores are."""
        present, inner = np.unique(y, return_inverse=True)
        if self.method == "dap":
            self.strengths_: tuple[float, float] = (1.0, 1.0)
        else:
            chosen = self.strengths or choose_eszsl(X, inner, values[present])
            self.strengths_ = float(chosen[0]), float(chosen[1])
        self.map_ = self._map(X, y, values)
        shares, sharpness = [], []
        for seen, unseen, truth, is_unseen in self._left_out(X, y, values):
            cost = choose_stacking(seen, unseen, truth, is_unseen)
            shares.append(float(np.mean(_lead(seen, unseen)[~is_unseen] < cost)))
            sharpness.append(fit_temperature(unseen[is_unseen], truth[is_unseen], prior=1))
        self.stacking_ = float(self.stacking or 0.0)
        if shares and self.stacking is None:
            self.stacking_ = self._taken_off(X, y, values, float(np.mean(shares)))
        self.sharpness_ = float(np.exp(np.mean(np.log(sharpness)))) if sharpness else 1.0

    def _taken_off(self, X: np.ndarray, y: np.ndarray, values: np.ndarray, share: float) -> float:
        """What is taken off seen classes so that as many held-out rows of theirs are lost as were best with classes left out.

        A share carries over to the map of all seen classes; the scale of scores does not.
        """
        present = np.unique(y)
        others = np.setdiff1d(np.arange(len(values)), present)
        held = _held(y, present)
        if not len(others) or not held.any():
            return 0.0
        found = self._map(X[~held], y[~held], values)
        lead = _lead(found.scores(X[held], values[present]), found.scores(X[held], values[others]))
        return float(np.quantile(lead, share))

    def _left_out(self, X: np.ndarray, y: np.ndarray, values: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
        """Scores of rows by maps that saw neither them nor, of some, their class."""
        for out in class_folds(y, len(values)):
            kept = np.setdiff1d(np.unique(y), out)
            is_unseen = np.isin(y, out)
            held = _held(y, kept)
            learned = ~is_unseen & ~held
            if len(np.unique(y[learned])) < 2 or not held.any():
                continue
            try:
                found = self._map(X[learned], y[learned], values)
            except DataError:  # the classes that are left do not differ in any attribute
                continue
            judged = is_unseen | held
            seen, unseen = (found.scores(X[judged], values[some]) for some in (kept, out))
            which = is_unseen[judged]
            truth = np.where(which, np.searchsorted(out, y[judged]), np.searchsorted(kept, y[judged]))
            yield seen, unseen, truth, which

    def _outputs(self, data: Dataset, store: Store | None) -> np.ndarray:
        X = (self._matrix(data, store) - self.center_) / self.scale_
        scores = self.map_.scores(X, self.attributes_) - self.penalty_
        return np.asarray(softmax(scores / self.sharpness_, axis=1))

    def settings(self) -> dict[str, Any]:
        """Constructor keywords as JSON; the table itself is among the arrays."""
        settings = super().settings()
        settings["attributes"] = str(self.attributes) if isinstance(self.attributes, str | Path) else None
        return settings

    def _arrays(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        facts, arrays = ({}, {}) if self.vectors_ is None else self.vectors_.state()
        own = {field.name: getattr(self.map_, field.name) for field in dataclasses.fields(self.map_)}
        kept = {f"map.{name}": np.asarray(value) for name, value in own.items()}
        kept |= {f"vectors.{name}": value for name, value in arrays.items()}
        kept |= {"attributes": self.attributes_, "penalty": self.penalty_, "center": self.center_, "scale": self.scale_}
        return {"vectors": facts, "sharpness": self.sharpness_, "record": self.record_}, kept

    def _restore(self, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        own = {name.removeprefix("map."): value for name, value in arrays.items() if name.startswith("map.")}
        self.map_ = Direct(**own) if self.method == "dap" else Bilinear(own["map"], tuple(own["strengths"].tolist()))
        vectors = {name.removeprefix("vectors."): v for name, v in arrays.items() if name.startswith("vectors.")}
        self.vectors_ = None
        if self.backbone_ is None:
            self.vectors_ = MODALITIES[self.task_.modality].vectors().from_state(state["vectors"], vectors)
        self.attributes_, self.penalty_ = arrays["attributes"], arrays["penalty"]
        self.center_, self.scale_ = arrays["center"], arrays["scale"]
        self.sharpness_, self.record_ = float(state["sharpness"]), state["record"]
        self.stacking_, self.strengths_ = self.record_["stacking"], tuple(self.record_["strengths"])
