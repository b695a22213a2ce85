"""BaseTransfer: a way to get from a labelled data set to predictions, with or without a pretrained source.

Transfers are scikit-learn estimators whose constructor keywords are their whole configuration.  They take raw rows
(anything ``graft.load_data`` takes) or a ``Dataset``, and write a folder of safetensors and JSON that opens anywhere.
"""

from __future__ import annotations

import copy
import dataclasses
import json
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from graft import __version__
from graft.core.boxes import SURE
from graft.core.errors import DataError, SourceError, UsageError
from graft.core.registry import ADAPTATIONS, TRANSFERS, ZERO_SHOTS
from graft.core.runtime import Clock, Progress, bf16_is_faster, silent
from graft.core.store import Store
from graft.core.task import Task
from graft.core.types import Dataset, Features, ModelSpec
from graft.data.biological import both_strands
from graft.data.load import load, recipe
from graft.features import encode, extract
from graft.nn import box_metrics, multilabel
from graft.nn.calibration import fit_temperature
from graft.nn.conformal import members, nonconformity, threshold
from graft.nn.heads import LinearHead, to_outputs
from graft.sources.aligned import of_rows, per_sentence
from graft.sources.bands import of_channels
from graft.sources.base import Backbone, open_model
from graft.sources.sides import of_sides
from graft.transfer.spread import Spread
from graft.word_features import word_features

BLOCK = 4096  # rows predicted at a time, so memory does not grow with the data
SENTENCES = 1024  # of a tagging, whose rows are words by the dozen
HEAD_ROWS = 2_000  # rows that a head's start is fitted on: more cost a pass and change nothing that training keeps
CONFORMAL = ("classification", "regression")  # kinds of task whose outputs have one truth per row
HELD_OUT = "nonconformity"  # name of its array among those of the model
SIGMOID = "calibration"  # the same of slopes and biases
SPREAD = "spread."  # what the names of the arrays of quantiles begin with
TINY = 1e-12  # smallest probability in a logarithm


@dataclass(frozen=True)
class Setting:
    """The surroundings of one fit.

    Attributes:
        clock: The fit ends before it runs out.
        progress: Told what happens.
        store: Where features are cached; None for no cache.
        checkpoint: File from which a killed training goes on; None for no checkpoint.
        unlabelled: Rows without a label, for transfers that learn from them too (``semi``); all others ignore them.
    """

    clock: Clock = field(default_factory=Clock)
    progress: Progress = silent
    store: Store | None = None
    checkpoint: Path | None = None
    unlabelled: tuple[Dataset, ...] = ()


@dataclass(frozen=True)
class Workload:
    """What a fit asks of the source it starts from: time and memory follow from it and from what a pass costs.

    Attributes:
        steps: Optimizer steps.
        batch_size: Rows of one step.
        blocks: Blocks that gradients reach, counted from the top, or a share of them below 1; None for all.
        trained: Share of the weights of these blocks that is trained.
        lower: Rows for which the blocks below are run once for all steps; 0: every step runs them.
        read: Rows that are passed forward once, beside the training.
        copies: Copies of the network that are kept beside it.
        kept: What a row keeps for the backward pass, over what it keeps without dropout.
        room: Bytes of activations beyond which those of a step are computed twice instead of kept; None for no limit.
    """

    steps: int
    batch_size: int
    blocks: float | None = None
    trained: float = 1.0
    lower: int = 0
    read: int = 0
    copies: int = 0
    kept: float = 1.0
    room: int | None = None


class BaseTransfer(BaseEstimator, ABC):
    """Base of all ways to transfer.  A subclass writes ``_fit``, ``_outputs``, ``_arrays`` and ``_restore``.

    Attributes:
        needs_source: Whether it starts from a pretrained model (a constructor keyword ``source``).
        adapts: Whether it also learns from unlabelled rows of another domain (``graft.adaptation``).
        zero_shot: Whether it needs no labelled row of a class (``graft.zero_shot``).
        semi: Whether it also learns from rows without a label, those of ``Setting.unlabelled``.
        kinds: Kinds of task that it can be fitted on.
        effort: The least ``--effort`` at which ``graft fit`` tries it: ``"probe"``, ``"fast"``, ``"thorough"``, or
            ``"request"`` for only where ``--methods`` names it.  What is ``semi`` is tried where there are rows without a
            label to learn from.
        space: Settings that ``--effort thorough`` searches by name: a list of choices, or (low, high) of a rate.
        word_layers: Of a tagging: the layers whose features of words it reads, ``"last"`` or ``"upper"`` half.
        sides: Whether it reads the texts of a pair one by one, with what differs and agrees beside them.
        trains: Share of the weights of the blocks it reaches that it trains, roughly.
        simplicity: Rank from simple (0) to complex; the guard prefers the simpler of two equals.
        label: What to call it in a sentence.
        task_: The task it was fitted on.
        recipe_: How raw rows are read.
        curve_: Learning curve, a list of dicts; empty for closed forms.
        nonconformity_: How badly outputs fitted held-out rows, sorted; empty before ``calibrate``.
        spread_: Quantiles of a regression; None before ``fit_spread``.
        sigmoid_: Of several labels per row: slope and bias (2, C) of their log-odds; empty before ``calibrate``.
    """

    needs_source: ClassVar[bool] = False
    adapts: ClassVar[bool] = False
    zero_shot: ClassVar[bool] = False
    semi: ClassVar[bool] = False
    kinds: ClassVar[tuple[str, ...]] = ("classification", "regression")
    modalities: ClassVar[tuple[str, ...]] = ()
    effort: ClassVar[str] = "fast"
    space: ClassVar[dict[str, list[Any] | tuple[float, float]]] = {}
    word_layers: ClassVar[str] = "last"
    sides: ClassVar[bool] = False
    trains: ClassVar[float] = 1.0
    simplicity: ClassVar[int] = 0
    label: ClassVar[str] = ""
    name: ClassVar[str] = ""

    task_: Task
    recipe_: dict[str, Any]
    backbone_: Backbone | None
    nonconformity_: np.ndarray = np.empty(0)
    sigmoid_: np.ndarray = np.empty((2, 0))
    spread_: Spread | None = None

    @classmethod
    def called(cls, task: Task) -> str:
        """What to call it in a sentence about a task."""
        del task
        return cls.label

    @classmethod
    def fits(cls, spec: ModelSpec) -> str:
        """Why it cannot start from a source, in words; empty if it can."""
        del spec
        return ""

    @classmethod
    def promising(cls, data: Dataset) -> bool:
        """Whether it is worth a trial on such rows where nobody asks for it."""
        return cls.reads(data.task)

    @classmethod
    def reads(cls, task: Task) -> bool:
        """Whether rows and labels of a task are among what it learns from."""
        return task.served_by(cls.kinds) and (not cls.modalities or task.modality in cls.modalities)

    @classmethod
    def seconds(cls, rows: int) -> float:
        """Predicted time of a fit with the defaults where there is no ``workload``; 1 where nothing is known."""
        del rows
        return 1.0

    def workload(self, rows: int, task: Task) -> Workload | None:
        """What a fit on so many rows asks of its source; None where its cost does not follow from that of the source.

        By default read off ``steps(rows)``, ``batch_size`` and ``blocks``, where there are such.
        """
        del task
        steps: Any = getattr(self, "steps", None)
        if not callable(steps):
            return None
        count, size, blocks = steps(rows), min(rows, getattr(self, "batch_size", rows)), getattr(self, "blocks", None)
        lower = rows if blocks is not None and count * size >= 2 * rows else 0
        return Workload(count, size, blocks, self.trains, lower, read=min(rows, HEAD_ROWS))

    def fit(self, X: Any, y: Any = None, *, setting: Setting | None = None) -> Self:
        """Learn from labelled rows.

        Rows whose target is -1 (NaN where targets are values), as ``load(…, partly=True)`` leaves them, have no label: they
        join ``setting.unlabelled`` where the transfer is ``semi``, and are passed over by all others.

        Args:
            X: A labelled ``Dataset``, or raw rows.
            y: Labels of raw rows; where the transfer is ``semi`` some may be None.
            setting: Clock, progress, cache and checkpoint.

        Raises:
            DataError: There are no labels.
            UsageError: The task is none of its ``kinds``.
        """
        data = X if isinstance(X, Dataset) else load(X if y is None else (X, y), partly=self.semi)
        data, setting = _parted(data, setting or Setting())
        if data.y is None or not len(data):
            raise DataError(f"{data.name} has no labels to learn from")
        if not data.task.served_by(self.kinds):
            raise UsageError(
                f"{self.label} is for {' and '.join(self.kinds)}, not {data.task.kind}",
                hint=f"use {'detector' if data.task.is_detection else 'probe'}",
            )
        if not self.reads(data.task):
            what = f"{self.label}: for {' or '.join(self.modalities)} data alone, not {data.task.modality}"
            raise UsageError(what, hint="use classical, probe or finetune")
        self.task_, self.recipe_, self.curve_ = data.task, recipe(data), []
        self.backbone_, self.temperature_, self.precision_ = None, 1.0, None
        self.nonconformity_, self.sigmoid_, self.spread_ = np.empty(0), np.empty((2, 0)), None
        self._fit(both_strands(data) or data, setting)
        return self

    def outputs(self, X: Any, *, store: Store | None = None) -> np.ndarray:
        """Class probabilities (n, C), or standardised values (n,), of a Dataset or raw rows."""
        data = self._read(X)
        twice = both_strands(data)
        if twice is not None:  # the mean of what is said of either
            both = self.outputs(twice, store=store)
            return (both[: len(data)] + both[len(data) :]) / 2
        most = SENTENCES if data.task.is_tagging else BLOCK
        if store is not None or len(data) <= most:
            return self._tempered(self._outputs(data, store))
        blocks = [np.arange(start, min(start + most, len(data))) for start in range(0, len(data), most)]
        return self._tempered(np.concatenate([self._outputs(data.select(block), None) for block in blocks]))

    def _read(self, X: Any) -> Dataset:
        """Raw rows as the training rows were read."""
        check_is_fitted(self, "task_")
        return X if isinstance(X, Dataset) else load(X, labelled=False, like=self.recipe_)

    def calibrate(self, outputs: np.ndarray, y: np.ndarray) -> None:
        """Learn from held-out outputs of this way of fitting how sure to be.

        One softmax temperature is fitted to probabilities (n, C), which changes no winner; how far outputs lie from the
        truth is kept for ``predict_set`` and ``predict_interval``.  Of several labels per row each gets a slope and a bias
        of its log-odds, and the probability from which it is given.  Of boxes each class gets the score from which one is given.
        """
        if self.task_.is_multilabel:
            self.sigmoid_ = multilabel.fit_sigmoid(multilabel.logits(outputs), y, start=(1.0, 0.0), pull=1.0)
            chosen = multilabel.thresholds(y, self._tempered(outputs), macro=self.task_.metric == "macro_f1")
            self.task_ = dataclasses.replace(self.task_, thresholds=chosen)
        if self.task_.is_detection:
            least = box_metrics.thresholds(y, outputs, self.task_.outputs, SURE)
            self.task_ = dataclasses.replace(self.task_, thresholds=least)
        if self.task_.is_classification:
            self.temperature_ = fit_temperature(np.log(outputs.clip(TINY)), y, prior=1)
        if self.task_.served_by(CONFORMAL):
            self.nonconformity_ = nonconformity(self._tempered(outputs), y)

    def _tempered(self, outputs: np.ndarray) -> np.ndarray:
        if self.sigmoid_.size:
            return multilabel.recalibrated(outputs, self.sigmoid_)
        if self.temperature_ == 1.0 or not self.task_.is_classification:
            return outputs
        return to_outputs(np.log(outputs.clip(TINY)), self.task_, self.temperature_)

    def predict(self, X: Any) -> np.ndarray:
        """Class names, or values in their own unit (n,)."""
        outputs = self.outputs(X)
        return self.task_.decode(outputs)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Class probabilities (n, C), columns in the order of ``classes_``."""
        outputs = self.outputs(X)
        if not self.task_.classes:
            raise AttributeError("a regression has no class probabilities")
        return outputs

    def predict_set(self, X: Any, *, coverage: float = 0.9) -> np.ndarray:
        """Which classes each row may have, bool (n, C): the true one is among them for a share ``coverage`` of new rows.

        Raises:
            UsageError: The task is no classification, or the model was never calibrated.
        """
        if not self.task_.served_by(("classification",)):
            hint = "use predict_proba" if self.task_.is_multilabel else "use predict_interval for values"
            raise UsageError(f"a {self.task_.kind} has no sets of classes", hint=hint)
        return self.region(self.outputs(X), coverage)

    def predict_interval(self, X: Any, *, coverage: float = 0.9) -> np.ndarray:
        """Lowest and highest value (n, 2), in its own unit, that hold the truth of a share ``coverage`` of new rows.

        Raises:
            UsageError: The task is no regression, or the model was never calibrated.
        """
        if self.task_.kind != "regression":
            raise UsageError(f"a {self.task_.kind} has no intervals of values", hint="use predict_set for classes")
        data = self._read(X)
        return self.region(self.outputs(data), coverage, data)

    def predict_quantiles(self, X: Any) -> np.ndarray:
        """Quantiles (n, Q) of each value, in its own unit, in the order of ``spread_.quantiles``.

        Raises:
            UsageError: The model was fitted without quantiles.
        """
        data = self._read(X)
        return self.quantiles(data, self.outputs(data))

    def quantiles(self, data: Dataset, outputs: np.ndarray) -> np.ndarray:
        """What ``predict_quantiles`` gives, of outputs that are there already."""
        if self.spread_ is None:
            raise UsageError("this model was fitted without quantiles", hint="graft fit --quantiles 0.05,0.5,0.95")
        return self.spread_.values(self, data, outputs) * self.task_.scale + self.task_.center

    def region(self, outputs: np.ndarray, coverage: float, data: Dataset | None = None) -> np.ndarray:
        """What ``predict_set`` or ``predict_interval`` gives, of outputs that are there already.

        With the rows, and where the model has quantiles, intervals are as wide as these say.
        """
        if self.spread_ is not None and self.spread_.level and data is not None:
            return self.spread_.interval(self, data, outputs, coverage) * self.task_.scale + self.task_.center
        if self.task_.is_detection:
            raise UsageError("boxes have no sets of classes", hint="leave coverage out")
        if self.task_.is_multilabel:
            what = "no set of several labels is promised to hold all true ones of a row"
            raise UsageError(what, hint="leave coverage out: the probability of each label is calibrated")
        if not len(self.nonconformity_):
            what = "this model never saw how far it errs on rows held out"
            raise UsageError(what, hint="fit it with graft fit, or give calibrate outputs of held-out rows")
        limit = threshold(self.nonconformity_, coverage)
        if self.task_.is_classification:
            return members(outputs, limit)
        values = self.task_.decode(outputs)
        return np.stack([values - limit * self.task_.scale, values + limit * self.task_.scale], axis=1)

    @property
    def classes_(self) -> np.ndarray:
        """Class names in column order."""
        return np.asarray(self.task_.classes, dtype=object)

    @abstractmethod
    def _fit(self, data: Dataset, setting: Setting) -> None:
        """Learn; ``task_`` and ``recipe_`` are set."""

    @abstractmethod
    def _outputs(self, data: Dataset, store: Store | None) -> np.ndarray:
        """Class probabilities (n, C) or standardised values (n,), before calibration."""

    @abstractmethod
    def _arrays(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """JSON state and arrays to save."""

    @abstractmethod
    def _restore(self, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """The inverse of ``_arrays``."""

    def _restore_from(self, folder: Path, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        """``_restore`` where more than arrays lies in the folder that ``save`` wrote."""
        del folder
        self._restore(state, arrays)
        return self

    # -- sources -----------------------------------------------------------------------------------------------------

    def _open(self) -> Backbone:
        """A fresh copy of the source's weights, or the opened source itself where nothing will change it."""
        source = getattr(self, "source", None)
        if isinstance(source, Backbone):
            return source
        if source is None:
            raise SourceError(f"{self.name} needs a pretrained source", hint="give source='sbert:all-MiniLM-L6-v2'")
        return open_model(source)

    def _open_to_train(self) -> Backbone:
        """Like ``_open``, but an opened source is copied: training changes it."""
        opened = self._open()
        return copy.deepcopy(opened) if opened is getattr(self, "source", None) else opened

    def _features(self, data: Dataset, store: Store | None, setting: Setting | None = None) -> Features:
        """Features of the rows, of a tagging of their words: from the cache where there is one, else computed and forgotten."""
        assert self.backbone_ is not None
        backbone = of_channels(of_sides(self.backbone_, data) if self.sides else self.backbone_, data)
        if data.task.is_tagging:
            states, precision = of_rows(self.backbone_, data.task), self.precision_ or "auto"
            clock, progress = (setting.clock, setting.progress) if setting else (None, silent)
            more: dict[str, Any] = {"precision": precision, "clock": clock, "progress": progress}
            features = word_features(states, data, store=store, layers=self.word_layers, **more)
        elif store is not None:  # what was asked for is part of the cache's keys: ask as the ranking did
            clock, progress = (setting.clock, setting.progress) if setting else (None, silent)
            features = extract(backbone, data, store=store, clock=clock, progress=progress)
        else:
            features = encode(backbone, data.take(), precision=self.precision_ or "auto")
        self.precision_ = features.precision  # once per model: later rows must not be read with another precision
        return features

    def _read_out(self, head: LinearHead, data: Dataset) -> np.ndarray:
        """Outputs of a head on features that are computed block by block and forgotten."""
        task, most = self.task_.of_parts, SENTENCES if data.task.is_tagging else BLOCK
        blocks = range(0, max(1, len(data)), most)
        parts = [data.select(np.arange(start, min(start + most, len(data)))) for start in blocks]
        found = [per_sentence(part, head.outputs(self._features(part, None), task)) for part in parts]
        return np.concatenate(found)

    # -- disk --------------------------------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> Path:
        """Write the fitted transfer: ``model.json``, ``model.safetensors`` and, where it has one, ``source/``."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        state, arrays = self._arrays()
        if self.backbone_ is not None:
            self.backbone_.save(folder / "source")
        arrays = {**arrays, HELD_OUT: self.nonconformity_}
        arrays |= {SIGMOID: self.sigmoid_} if self.sigmoid_.size else {}
        spread, more = self.spread_.state() if self.spread_ is not None else (None, {})
        arrays |= {f"{SPREAD}{key}": value for key, value in more.items()}
        whole = {key: np.ascontiguousarray(value) for key, value in arrays.items()}
        (folder / "model.safetensors").write_bytes(save(whole))  # save_file makes files that only their owner can read
        facts = {
            "format": 1,
            "graft": __version__,
            "transfer": self.name,
            "task": dataclasses.asdict(self.task_),
            "recipe": self.recipe_,
            "settings": self.settings(),
            "state": state,
            "temperature": self.temperature_,
            "precision": self.precision_,
            "source": self.backbone_ is not None,
            **({"spread": spread} if spread else {}),
            "adapted": self.adapts,
            "zero_shot": self.zero_shot,
        }
        (folder / "model.json").write_text(json.dumps(facts, ensure_ascii=False, indent=1), encoding="utf-8")
        return folder

    def settings(self) -> dict[str, Any]:
        """Constructor keywords as JSON."""
        settings = self.get_params(deep=False)
        source = settings.get("source")
        if isinstance(source, Backbone | ModelSpec):
            settings["source"] = (source.spec if isinstance(source, Backbone) else source).uri
        return settings


def _parted(data: Dataset, setting: Setting) -> tuple[Dataset, Setting]:
    """The rows with a label, and a setting that holds the others too."""
    known = None if data.y is None else data.task.known(data.y)
    if known is None or known.all():
        return data, setting
    others = dataclasses.replace(data.select(~known), y=None)
    return data.select(known), dataclasses.replace(setting, unlabelled=(*setting.unlabelled, others))


def load_transfer(folder: str | Path) -> BaseTransfer:
    """Open a fitted transfer from the folder that ``save`` or ``graft fit`` wrote.

    Raises:
        SourceError: It is not such a folder, or its files are broken.
    """
    folder = Path(folder)
    try:
        facts = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        arrays = load_file(folder / "model.safetensors")
    except FileNotFoundError as error:
        hint = "give the folder that graft fit wrote (it holds model.json)"
        raise SourceError(f"{folder} is not a graft run", hint=hint) from error
    except (OSError, ValueError, SafetensorError) as error:
        raise SourceError(f"the run {folder} is damaged: {error}", hint="run graft fit again") from error
    try:
        if facts["format"] != 1:
            raise SourceError(f"{folder} was written by another graft ({facts['graft']})", hint="update graft-learn")
        return _restored(folder, facts, arrays)
    except UsageError as error:
        raise SourceError(f"the run {folder} cannot be opened: {error}", hint="install the plug-in it needs") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise SourceError(f"the run {folder} is damaged: {error}", hint="run graft fit again") from error


def _restored(folder: Path, facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> BaseTransfer:
    others = ZERO_SHOTS if facts.get("zero_shot") else TRANSFERS
    name, registry = facts["transfer"], ADAPTATIONS if facts.get("adapted") else others
    transfer: BaseTransfer = registry[name](**facts["settings"])
    task = facts["task"]
    transfer.task_ = Task(**{**task, "classes": tuple(task["classes"])})
    transfer.recipe_, transfer.curve_, transfer.temperature_ = facts["recipe"], [], facts["temperature"]
    transfer.nonconformity_ = arrays.pop(HELD_OUT, np.empty(0))
    transfer.sigmoid_ = arrays.pop(SIGMOID, np.empty((2, 0)))
    more = {key.removeprefix(SPREAD): arrays.pop(key) for key in list(arrays) if key.startswith(SPREAD)}
    transfer.spread_ = Spread.from_state(facts["spread"], more) if facts.get("spread") else None
    # the precision it was judged with, except on a machine where that would be slow
    transfer.precision_ = "fp32" if facts["precision"] == "bf16" and not bf16_is_faster() else facts["precision"]
    transfer.backbone_ = open_model(f"file:{folder / 'source'}") if facts["source"] else None
    return transfer._restore_from(folder, facts["state"], arrays)  # noqa: SLF001  (the other half of save)
