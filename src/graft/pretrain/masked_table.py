"""Fill-in-the-blank prediction over tables: hidden columns of a row are predicted from the others.

Idea: columns of one field hang together; who can fill one in from the others has learned how.  Helps when: there are
many rows without labels and few with.  Hurts when: columns are independent, or a linear model on them is enough.
Reference: Yoon et al. (2020), VIME: extending the success of self- and semi-supervised learning to tabular domain.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from torch import Tensor, nn

from graft.core.errors import DataError, UsageError
from graft.core.registry import OBJECTIVES
from graft.core.runtime import Progress
from graft.core.types import Dataset, ModelSpec
from graft.engine.loop import History
from graft.engine.objective import Batch, Loss, Objective
from graft.nn.encoders import size_of
from graft.pretrain.base import BasePretrain, choose_encoder, decayed, held_out_rows
from graft.pretrain.tables import CHUNK, write_vectors
from graft.sources.base import Backbone
from graft.sources.native import NativeBackbone

MEASURED_ROWS = 5_000  # held-out rows that are scored at most
SHOWN = 4  # rows among the samples


@dataclass(frozen=True)
class Column:
    """Where a column of the table lies in its vector.

    Attributes:
        name: Of the column.
        places: Its numbers (or levels) in the vector.
        flag: Place of the mark that its value is missing, or -1.
        levels: Names of the levels; empty for a number.
    """

    name: str
    places: slice
    flag: int = -1
    levels: tuple[str, ...] = ()


def columns_of(vectors: Any) -> list[Column]:
    """The columns of ``TableVectors`` that hold something to predict."""
    numbers = len(vectors.numbers)
    flags = {name: numbers + place for place, name in enumerate(vectors.flagged)}
    found = [Column(name, slice(i, i + 1), flags.get(name, -1)) for i, name in enumerate(vectors.numbers)]
    place = numbers + len(flags)
    for name, levels in vectors.levels.items():
        if len(levels) > 1:
            found.append(Column(name, slice(place, place + len(levels)), -1, tuple(levels)))
        place += len(levels)
    return found


class _MaskedTable(Objective):
    """An encoder that sees a learned stand-in for hidden columns, and a layer that predicts them."""

    def __init__(self, backbone: NativeBackbone, columns: list[Column], *, lr: float, weight_decay: float) -> None:
        super().__init__()
        self.backbone, self.columns, self.lr, self.weight_decay = backbone, columns, lr, weight_decay
        inputs, width = backbone.arguments["inputs"], backbone.spec.hidden_size
        self.blank = nn.Parameter(torch.zeros(inputs))
        self.decoder = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, inputs))

    def players(self) -> dict[str, list[dict[str, Any]]]:
        return {"model": decayed(self, lr=self.lr, weight_decay=self.weight_decay)}

    def predicted(self, batch: Batch) -> Tensor:
        """Vector (B, D) of every row, from what is visible of it."""
        seen = torch.where(batch["covered"], self.blank, batch["values"])
        out: Tensor = self.decoder(self.backbone.body.forward_features({"values": seen})[-1])
        return out.float()

    def errors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Error (B, K) of every column, and which of them count: hidden, and known.

        Squared error of a standardised number, negative log-likelihood of a category.
        """
        out, values, hidden = self.predicted(batch), batch["values"], batch["hidden"]
        errors, counted = [], []
        for place, column in enumerate(self.columns):
            guess, truth = out[:, column.places], values[:, column.places]
            if column.levels:
                errors.append(-(F.log_softmax(guess, dim=1) * truth).sum(dim=1))
                known = truth.sum(dim=1) > 0  # a level that training did not see is all zeros
            else:
                errors.append(F.mse_loss(guess, truth, reduction="none")[:, 0])
                known = values[:, column.flag] == 0 if column.flag >= 0 else torch.ones_like(hidden[:, place])
            counted.append(hidden[:, place] & known)
        return torch.stack(errors, dim=1), torch.stack(counted, dim=1)

    def loss(self, batch: Batch, player: str) -> Loss:
        del player
        errors, counted = self.errors(batch)
        return Loss((errors * counted).sum(dim=1) / counted.sum(dim=1).clamp(min=1))


@OBJECTIVES.register("masked-table")
class MaskedTable(BasePretrain):
    """Predict hidden columns; the loss of a row is the mean over them of squared error or -log p.

    Numbers are standardised, so 1 is the error of always saying the mean.

    Args:
        encoder: ``"mlp"``.
        size: ``"tiny"``, ``"small"`` or ``"base"``.
        hidden: Share of the columns of a row that is hidden; at least one is.
        epochs: Passes over the rows; None: as many as the time allows, or 3 without a budget.
        batch_size: Rows of a step.
        lr: Peak rate.
        weight_decay: Decoupled weight decay.
        seed: Seed of weights, order and what is hidden.

    Example:
        >>> from graft.data.load import load
        >>> from graft.pretrain.masked_table import MaskedTable
        >>> rows = load({"a": [0.0, 1.0, 2.0, 3.0] * 20, "b": ["x", "x", "y", "y"] * 20}, labelled=False)
        >>> made = MaskedTable(size="tiny", epochs=2).fit(rows)
        >>> [score["name"] for score in made.record_["scores"]]
        ['error of hidden numbers', 'hidden categories filled rightly']
    """

    name = "masked-table"
    label = "fill-in-the-blank prediction"
    encoders: ClassVar[dict[str, tuple[str, ...]]] = {"table": ("mlp",)}

    def __init__(
        self,
        *,
        encoder: str | None = None,
        size: str = "small",
        hidden: float = 0.3,
        epochs: float | None = None,
        batch_size: int = 128,
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        seed: int = 0,
    ) -> None:
        self.encoder = encoder
        self.size = size
        self.hidden = hidden
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.seed = seed

    def _start(
        self, data: Dataset, folder: Path, progress: Progress
    ) -> tuple[Backbone, Objective, Callable[[int], Iterable[Batch]], int]:
        if not 0 < self.hidden < 1:
            raise UsageError(f"a share of {self.hidden} cannot be hidden", hint="use a number between 0 and 1")
        name = choose_encoder(self.encoder, self.encoders["table"], self.label)
        held_out = held_out_rows(len(data), self.seed)
        written = write_vectors(data, folder, held_out=held_out, progress=progress)
        self.vectors_, self.rows_ = written.reader.vectors, written.train
        self.columns_ = columns_of(self.vectors_)
        if len(self.columns_) < 2:
            raise DataError(f"{data.name} has fewer than two columns that vary", hint="one is filled in from another")
        self.held_out_ = np.array(written.held_out[:MEASURED_ROWS])
        self.raw_ = data.select(np.flatnonzero(held_out)[:SHOWN]).take()
        if not np.ptp(self.rows_[: 10 * CHUNK], axis=0).any():
            raise DataError(f"all rows of {data.name} are equal", hint="there is nothing to learn")
        arguments = {"inputs": self.vectors_.width, **size_of(name, self.size)}
        spec = ModelSpec(f"new:{name}", name, "table", architecture=f"{name}-{self.size}")
        backbone = NativeBackbone(name, arguments, written.reader, spec)
        objective = _MaskedTable(backbone, self.columns_, lr=self.lr, weight_decay=self.weight_decay)
        return backbone, objective, self._batches, math.ceil(len(self.rows_) / self.batch_size)

    def _batches(self, epoch: int) -> Iterator[Batch]:
        rng = np.random.default_rng((self.seed, epoch))
        order = rng.permutation(len(self.rows_))
        for start in range(0, len(order), self.batch_size):
            yield self._batch(self.rows_[np.sort(order[start : start + self.batch_size])], rng)

    def _batch(self, values: np.ndarray, rng: np.random.Generator) -> Batch:
        """Values (B, D), which columns are hidden (B, K), and which places that covers (B, D)."""
        draws = rng.random((len(values), len(self.columns_)))
        hidden = draws < self.hidden
        hidden[np.arange(len(values)), draws.argmin(axis=1)] = True
        return self._cover(values, hidden)

    def _cover(self, values: np.ndarray, hidden: np.ndarray) -> Batch:
        covered = np.zeros(values.shape, dtype=bool)
        for place, column in enumerate(self.columns_):
            covered[:, column.places] = hidden[:, place, None]
            if column.flag >= 0:
                covered[:, column.flag] = hidden[:, place]
        arrays = {"values": np.asarray(values, np.float32), "hidden": hidden, "covered": covered}
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}

    def _measure(self, objective: Any) -> list[dict[str, Any]]:
        """Every column of every held-out row is hidden once, alone."""
        assert isinstance(objective, _MaskedTable)
        place = next(objective.parameters()).device
        scores = []
        numbers, right = ([], []), ([], [])  # those of the model, those of the simple guess
        commonest = np.asarray(self.rows_[: 10 * CHUNK]).mean(axis=0)
        for index, column in enumerate(self.columns_):
            hidden = np.zeros((len(self.held_out_), len(self.columns_)), dtype=bool)
            hidden[:, index] = True
            batch = {name: tensor.to(place) for name, tensor in self._cover(self.held_out_, hidden).items()}
            with torch.inference_mode():
                out = objective.predicted(batch).cpu().numpy()[:, column.places]
                counted = objective.errors(batch)[1][:, index].cpu().numpy()
            truth = self.held_out_[:, column.places]
            if column.levels:
                hits = out.argmax(axis=1) == truth.argmax(axis=1), commonest[column.places].argmax() == truth.argmax(1)
                for kept, found in zip(right, hits, strict=True):
                    kept.append(np.where(counted, found, np.nan))
            else:
                for kept, guess in zip(numbers, (out[:, 0], 0.0), strict=True):
                    kept.append(np.where(counted, np.square(guess - truth[:, 0]), np.nan))
        for name, unit, simple, kept in (
            ("error of hidden numbers", "squared deviations", "column mean", numbers),
            ("hidden categories filled rightly", "share", "commonest level", right),
        ):
            if kept[0]:
                known = ~np.isnan(np.stack(kept[0])).all(axis=0)
                values, base = (np.nanmean(np.stack(each)[:, known], axis=0) for each in kept)
                if known.any():
                    scores.append(self._score(name, values, {simple: base}, float, unit))
        return scores

    def _samples(self, objective: Any) -> list[dict[str, Any]]:
        """Held-out rows with two columns hidden, and what is said to stand there."""
        assert isinstance(objective, _MaskedTable)
        rng = np.random.default_rng((self.seed, 3))
        values = self.held_out_[:SHOWN]
        hidden = rng.random((len(values), len(self.columns_))).argsort(axis=1) < min(2, len(self.columns_) - 1)
        place = next(objective.parameters()).device
        batch = {name: tensor.to(place) for name, tensor in self._cover(values, hidden).items()}
        with torch.inference_mode():
            out = objective.predicted(batch).cpu()
        samples = []
        for row in range(len(values)):
            blanks = [
                {"true": self._said(column, row), "guesses": self._guesses(column, out[row, column.places])}
                for column, gone in zip(self.columns_, hidden[row], strict=True)
                if gone
            ]
            unseen = {column.name for column, gone in zip(self.columns_, hidden[row], strict=True) if gone}
            given = [f"{name}={'___' if name in unseen else _shown(found[row])}" for name, found in self.raw_.items()]
            samples.append({"kind": "filled", "given": ", ".join(given[:20]), "blanks": blanks})
        return samples

    def _said(self, column: Column, row: int) -> str:
        return f"{column.name}={_shown(self.raw_[column.name][row])}"

    def _guesses(self, column: Column, out: Tensor) -> list[list[Any]]:
        if not column.levels:
            index = self.vectors_.numbers.index(column.name)
            return [[_shown(float(out[0]) * self.vectors_.scale[index] + self.vectors_.center[index]), None]]
        best = torch.softmax(out, dim=0).topk(min(3, len(column.levels)))
        return [[column.levels[int(i)], round(float(p), 3)] for p, i in zip(best.values, best.indices, strict=True)]

    def _facts(self) -> dict[str, Any]:
        return {"train_rows": len(self.rows_), "columns": len(self.columns_)}

    def _throughput(self, history: History) -> dict[str, float]:
        seen = history.steps * min(self.batch_size, len(self.rows_))
        return {"rows_per_second": round(seen / history.seconds) if history.seconds else 0.0}


def _shown(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "?"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
