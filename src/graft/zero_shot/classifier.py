"""Zero-shot classification by the words of the classes.

Idea: a row belongs to the class whose name or description is nearest to it, for a source that compares texts (a sentence
    model, word vectors), pictures with captions (CLIP), or says whether one text follows from another (NLI).
Helps when: there are no labels, and the classes differ in topic and have telling names; descriptions help more than names.
Hurts when: classes are defined by something a name does not say (who asks, how sure), or the script is unknown to the source.
References: Yin, Hay & Roth (2019) for entailment, Reimers & Gurevych (2019) for sentence models, Radford et al. (2021) for
    pictures; Zhao et al. (2021), Holtzman et al. (2021) and Hu et al. (2022) for the bias towards some names.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from scipy.special import softmax

from graft.core.errors import DataError, SourceError, UsageError
from graft.core.registry import ZERO_SHOTS
from graft.core.rows import evenly_spaced
from graft.core.store import Store
from graft.core.task import Task
from graft.core.types import Dataset, ModelSpec
from graft.data.load import load, recipe
from graft.nn.label_bias import match_offsets, mean_offsets
from graft.nn.rejection import Rejection, background_threshold, mixture_threshold
from graft.sources.base import Backbone
from graft.transfer.base import BaseTransfer, Setting
from graft.zero_shot.comparison import class_vectors, entailment_odds, reading_of, temperature_of, unit
from graft.zero_shot.wording import EMPTY, Classes, check_classes, script_of, sentences

CALIBRATIONS = ("auto", "none", "context", "mean", "match")
NONE = "none of these"
SEEN = 20_000  # unlabelled rows that calibration looks at
ENOUGH = 10  # unlabelled rows per class from which they calibrate
SAMPLE = 500  # rows on which the script is judged


@ZERO_SHOTS.register("zero_shot")
class ZeroShot(BaseTransfer):
    """Classes by their words; nothing is trained, and no label is looked at.

    Args:
        source: URI, ``ModelSpec`` or opened ``Backbone``: a sentence model (``sbert:``), word vectors (``vectors:``), a
            classifier of entailment (``hf:``), or CLIP (``clip:``).
        classes: Names, or names with a description or several; None: the classes that the labels of ``fit`` name.
        templates: Sentences with ``{}`` for the name; None: usual ones in the script of the classes.
        temperature: Of the softmax over scores; None: what the source was trained with, 1 for entailment.
        calibration: ``"none"``; ``"context"``: divide by what is said of texts that say nothing; ``"mean"``: by the mean over
            unlabelled rows; ``"match"``: until the mean shares are the ``prior``; ``"auto"``: ``match`` where there is a prior,
            else ``mean`` where there are ten rows per class, else none.
        prior: Expected share of each class by name; None: equal shares.
        none: Accepted share of rows of no class that get one all the same; adds the class ``"none of these"``.
        seed: Seed of the sample of very many rows.

    Attributes:
        record_: What was done, as JSON.

    Example:
        >>> model = ZeroShot("sbert:all-MiniLM-L6-v2", classes=["sport", "cooking"]).fit()
        >>> model.predict(["She won the match.", "Bake for an hour."]).tolist()
        ['sport', 'cooking']
    """

    label = "zero-shot classification"
    name = "zero_shot"
    needs_source = True
    zero_shot = True
    kinds = ("classification",)
    effort = "request"
    simplicity: ClassVar[int] = 1

    def __init__(
        self,
        source: str | ModelSpec | Backbone | None = None,
        *,
        classes: Classes | None = None,
        templates: Sequence[str] | None = None,
        temperature: float | None = None,
        calibration: str = "auto",
        prior: Mapping[str, float] | None = None,
        none: float | None = None,
        seed: int = 0,
    ) -> None:
        self.source, self.classes, self.templates = source, classes, templates
        self.temperature, self.calibration, self.prior = temperature, calibration, prior
        self.none, self.seed = none, seed

    @classmethod
    def fits(cls, spec: ModelSpec) -> str:
        if reading_of(spec):
            return ""
        return f"{spec.name} compares nothing with sentences: it is no sentence model, NLI classifier or CLIP"

    def fit(self, X: Any = None, y: Any = None, *, background: Any = None, setting: Setting | None = None) -> Self:
        """Put the classes into words, and take out the label bias with unlabelled rows where there are any.

        Args:
            X: Rows, or a ``Dataset``; labels are not looked at, except for the names of the classes where none are given.
            y: Labels of raw rows, for these names.
            background: Rows that belong to none of the classes, for the threshold of ``none``.
            setting: Cache and progress.

        Raises:
            UsageError: Classes, templates or options are wrong.
            SourceError: The source compares no sentences, or cannot read the script.
            DataError: The source reads another kind of input.
        """
        self._check()
        setting = setting or Setting()
        if isinstance(X, Dataset) or X is None:
            data = X
        elif self.classes is None:
            data = load(X if y is None else (X, y))
        else:
            data = load(X, labelled=False)
        names: Any = self.classes if self.classes is not None else data.task.classes if data is not None else ()
        if not names and self.classes is None:
            raise UsageError("no classes are given", hint="name them with classes")
        classes = check_classes(names)
        if self.none is not None and NONE in classes:
            raise UsageError(f"a class is called {NONE!r}", hint="leave it out of the classes; none adds it")
        self.backbone_, self.temperature_, self.precision_, self.curve_ = self._open(), 1.0, None, []
        spec = self.backbone_.spec
        if self.fits(spec):
            raise SourceError(self.fits(spec), hint="for example sbert:all-MiniLM-L6-v2")
        if data is not None and data.task.modality != spec.modality:
            raise DataError(f"{spec.name} reads {spec.modality}, {data.name} is {data.task.modality}")
        target = data.task.target if data is not None else "label"
        every = (*classes, NONE) if self.none is not None else tuple(classes)
        self.task_ = Task("classification", spec.modality, every, "accuracy", target)
        columns = ("text",) if spec.modality == "text" else ()
        bare = Dataset(_NoRows(), None, self.task_, np.empty(0, np.int64), columns=columns)
        self.recipe_ = recipe(bare if data is None else dataclasses.replace(data, task=self.task_))
        self._compare(classes, data)
        self._calibrate(classes, data, setting)
        self._reject(data, background, setting)
        return self

    def _fit(self, data: Dataset, setting: Setting) -> None:
        raise NotImplementedError  # ``fit`` needs no labels, so it is written anew

    def _check(self) -> None:
        if self.calibration not in CALIBRATIONS:
            raise UsageError(f"no calibration {self.calibration!r}", hint=f"use {', '.join(CALIBRATIONS)}")
        if self.temperature is not None and not self.temperature > 0:
            raise UsageError(f"the temperature must be above 0, not {self.temperature}")
        if self.none is not None and not 0 < self.none < 1:
            raise UsageError(f"none is the share of errors that is accepted, between 0 and 1, not {self.none}")
        if self.prior is not None and self.calibration not in {"auto", "match"}:
            raise UsageError(f"a prior is for calibration match, not {self.calibration}")

    def _compare(self, classes: Mapping[str, tuple[str, ...]], data: Dataset | None) -> None:
        """Say every class, and see that the source reads its words and the rows."""
        assert self.backbone_ is not None
        self.reading_ = reading_of(self.backbone_.spec)
        entails = self.reading_ == "entailment"
        self.said_ = sentences(classes, self.templates, modality=self.task_.modality, entailment=entails)
        words = [" ".join([name, *parts]) for name, parts in classes.items()]
        looked: list[tuple[str, Any]] = [("the classes", words)] if self.task_.modality == "text" else []
        if data is not None and len(data):
            looked.append(("the rows", data.take(evenly_spaced(len(data), SAMPLE))))
        for what, some in looked:
            found = self.backbone_.coverage(some)
            if not found.ok:
                where = f"{self.backbone_.spec.name} cannot read {what}: {found.reason}"
                raise SourceError(where, hint="choose a source that knows this script")
        self.vectors_ = np.zeros((0, 0)) if entails else class_vectors(self.backbone_, self.said_)
        own = 1.0 if entails else temperature_of(self.backbone_)
        self.sharpness_ = self.temperature if self.temperature is not None else own

    def _raw(self, data: Dataset, store: Store | None, setting: Setting | None = None) -> np.ndarray:
        """Scores (n, C) before temperature and calibration: cosines, or log-odds of entailment."""
        if self.reading_ == "entailment":
            return self._entailment(data.take())
        return unit(self._features(data, store, setting).layer(-1)) @ self.vectors_.T

    def _entailment(self, rows: Sequence[Any]) -> np.ndarray:
        assert self.backbone_ is not None
        scores, found = entailment_odds(self.backbone_, rows, self.said_, precision=self.precision_ or "auto")
        self.precision_ = self.precision_ or (found if len(rows) else None)
        return scores

    def _some(self, data: Dataset) -> Dataset:
        if len(data) <= SEEN:
            return data
        return data.select(np.sort(np.random.default_rng(self.seed).choice(len(data), SEEN, replace=False)))

    def _calibrate(self, classes: Mapping[str, tuple[str, ...]], data: Dataset | None, setting: Setting) -> None:
        rows, count = 0 if data is None else len(data), len(classes)
        how = self.calibration
        if how == "auto" and self.prior is not None:
            how = "match"
        elif how == "auto":
            # all-MiniLM-L6-v2 on training rows of 18 tasks (benchmarks: wordings): none 0.636, context 0.609, mean 0.654
            how = "mean" if rows >= ENOUGH * count else "none"
        if how in {"mean", "match"} and not rows:
            raise UsageError(f"calibration {how!r} needs unlabelled rows", hint="pass them to fit, or use context")
        self.best_ = np.empty(0)
        scores = np.empty((0, count))
        if data is not None and rows and (how in {"mean", "match"} or self.none is not None):
            scores = self._raw(self._some(data), setting.store, setting)
            self.best_ = scores.max(axis=1)
        if how == "context":
            self.offsets_ = mean_offsets(self._blank(classes) / self.sharpness_)
        elif how == "mean":
            self.offsets_ = mean_offsets(scores / self.sharpness_)
        elif how == "match":
            self.offsets_ = match_offsets(scores / self.sharpness_, self._prior(classes))
        else:
            self.offsets_ = np.zeros(count)
        self.record_ = {"reading": self.reading_, "calibration": how, "rows": len(scores)}
        self.record_ |= {"temperature": self.sharpness_, "sentences": dict(zip(classes, self.said_, strict=True))}

    def _prior(self, classes: Mapping[str, Any]) -> np.ndarray | None:
        if self.prior is None:
            return None
        if set(self.prior) != set(classes):
            odd = min(set(self.prior) ^ set(classes))
            raise UsageError(f"the prior and the classes differ in {odd!r}", hint="give a share for every class")
        return np.array([self.prior[name] for name in classes], np.float64)

    def _blank(self, classes: Mapping[str, tuple[str, ...]]) -> np.ndarray:
        """Scores of rows that say nothing."""
        if self.task_.modality == "image":
            empty = load(np.full((1, 64, 64, 3), 128, np.uint8), labelled=False)
            return self._raw(empty, None)
        texts = EMPTY["Han" if script_of(classes) == "Han" else "text"]
        if self.reading_ == "entailment":
            return self._entailment(texts)
        return class_vectors(self.backbone_, [[text] for text in texts]) @ self.vectors_.T  # type: ignore[arg-type]

    def _reject(self, data: Dataset | None, background: Any, setting: Setting) -> None:
        self.rejection_: Rejection | None = None
        if self.none is None:
            if background is not None:
                raise UsageError(
                    "background rows are for the class none of these", hint="say how many errors none may make"
                )
            return
        if background is not None:
            rows = background if isinstance(background, Dataset) else load(background, labelled=False)
            if rows.task.modality != self.task_.modality:
                raise DataError(f"the background is {rows.task.modality}, the model reads {self.task_.modality}")
            best = self._raw(self._some(rows), setting.store, setting).max(axis=1)
            self.rejection_ = background_threshold(best, self.none)
        elif data is None or not len(data):
            raise UsageError("none needs unlabelled rows or a background", hint="pass rows to fit")
        else:
            self.rejection_ = mixture_threshold(self.best_, self.none)
        facts = None if self.rejection_ is None else dataclasses.asdict(self.rejection_)
        if facts and np.isnan(facts["lost"]):
            facts["lost"] = None
        self.record_["none"] = facts

    def _outputs(self, data: Dataset, store: Store | None) -> np.ndarray:
        scores = self._raw(data, store)
        chances = softmax(scores / self.sharpness_ + self.offsets_, axis=1)
        if self.none is None:
            return np.asarray(chances)
        if self.rejection_ is None:
            return np.hstack([chances, np.zeros((len(chances), 1))])
        below = (self.rejection_.threshold - scores.max(axis=1)) / self.rejection_.scale
        nothing = chances.max(axis=1) * np.exp(below.clip(-50, 50))  # wins exactly where the threshold is not reached
        whole = np.column_stack([chances, nothing])
        return np.asarray(whole / whole.sum(axis=1, keepdims=True))

    def _arrays(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        state = {"reading": self.reading_, "said": self.said_, "sharpness": self.sharpness_, "record": self.record_}
        limits = self.rejection_
        state["rejection"] = limits and [limits.threshold, limits.scale, limits.error, limits.how]
        return state, {"vectors": self.vectors_, "offsets": self.offsets_}

    def _restore(self, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        self.reading_, self.said_, self.sharpness_ = state["reading"], state["said"], float(state["sharpness"])
        self.record_, self.vectors_, self.offsets_ = state["record"], arrays["vectors"], arrays["offsets"]
        self.rejection_ = None if state["rejection"] is None else Rejection(*state["rejection"])


class _NoRows:
    """The storage of a model that has not seen a row."""

    def __len__(self) -> int:
        return 0

    def take(self, rows: np.ndarray) -> list[Any]:
        return [None for _ in rows]

    def digest(self) -> str:
        return ""
