"""Detection transformers: a source that was itself trained to find objects, with new classes.

Idea: such a model asks a set of learned questions, each answered with one box or with none; only its classes are new.  Helps
when: the source is a YOLOS or DETR model and there are hundreds of pictures.  Hurts when: time is short; without a GPU a pass
takes seconds.
References: Carion et al. (2020), End-to-end object detection with transformers, ECCV; Fang et al. (2021), You only look at one
sequence, NeurIPS.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from graft.core.boxes import SCORE, area, from_centre, to_centre
from graft.core.errors import SourceError
from graft.core.ragged import ragged
from graft.core.registry import TRANSFERS
from graft.core.runtime import bf16_is_faster, device, seeded
from graft.core.store import Store
from graft.core.task import Task
from graft.core.types import Dataset, ModelSpec
from graft.data.picture_sizes import relative, sizes
from graft.engine.callbacks import Checkpoint
from graft.engine.loop import fit
from graft.engine.objective import Batch, Loss, Objective
from graft.nn.detector import FAINT, PEAKS
from graft.sources.base import Backbone
from graft.sources.loading import first_line, quiet
from graft.transfer.base import BaseTransfer, Setting
from graft.transfer.maps import draws_of, sides_of, view

FAMILY = ("yolos", "detr", "conditional_detr", "deformable_detr", "table-transformer", "rt_detr", "dab-detr", "d_fine")
NORMAL = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and spread where the folder names none
PIECE = 0.4  # seconds of training on a picture, roughly
FOLDER = "detector"  # of the saved model


@TRANSFERS.register("detr")
class Detr(BaseTransfer):
    """Train a YOLOS- or DETR-type source on boxes, with a new head for the classes.

    Args:
        source: URI or ``ModelSpec`` of a folder of transformers.
        size: Longer side in pixels to which pictures are brought.
        epochs: Passes over the pictures.
        lr: Peak rate of the network.
        head_lr: Peak rate of the new head.
        batch_size: Pictures per step.
        weight_decay: Decoupled weight decay.
        seed: Seed of the head, views and order.
    """

    label = "detection transformer"
    name = "detr"
    kinds = ("detection",)
    needs_source = True
    effort = "fast"
    space: ClassVar = {"lr": (2e-5, 2e-4)}
    simplicity = 3

    def __init__(
        self,
        source: str | ModelSpec | Backbone | None = None,
        *,
        size: int = 320,
        epochs: float = 30.0,
        lr: float = 5e-5,
        head_lr: float = 1e-3,
        batch_size: int = 8,
        weight_decay: float = 1e-4,
        seed: int = 0,
    ) -> None:
        self.source, self.size, self.epochs, self.lr, self.head_lr = source, size, epochs, lr, head_lr
        self.batch_size, self.weight_decay, self.seed = batch_size, weight_decay, seed

    @classmethod
    def fits(cls, spec: ModelSpec) -> str:
        if spec.architecture in FAMILY:
            return "" if spec.path else f"{spec.name} is not on this machine"
        return f"{spec.name} is no detection transformer ({', '.join(FAMILY[:4])} …)"

    def steps(self, rows: int) -> int:
        """Optimizer steps for that many pictures."""
        return max(1, round(self.epochs * math.ceil(rows / self.batch_size)))

    def cost(self, rows: int, forward: float = PIECE / 3) -> float:
        """Predicted seconds of a fit, where a picture takes ``forward`` seconds through the network."""
        return 3 * forward * self.steps(rows) * self.batch_size

    @classmethod
    def seconds(cls, rows: int) -> float:
        return 1.0 + cls().cost(rows)

    def workload(self, rows: int, task: Task) -> None:
        """Nothing follows from a pass over pictures of the source's own size."""

    def _fit(self, data: Dataset, setting: Setting) -> None:
        source = self.source
        spec = source.spec if isinstance(source, Backbone) else source
        if not isinstance(spec, ModelSpec):
            spec = self._open().spec
        reason = self.fits(spec)
        if reason:
            raise SourceError(reason, hint="use the detector, which takes any network for pictures")
        wide, high = np.median(sizes(data), axis=0)
        self.shape_ = sides_of((high, wide), self.size)
        self.normal_ = _normal(Path(spec.path))
        with seeded(self.seed):
            self.network_ = _open(Path(spec.path), data.task.classes)
            history = fit(
                _Set(self.network_, self._groups()),
                self._batches(data),
                steps=self.steps(len(data)),
                clip=0.1,
                device=device(),
                precision="bf16" if bf16_is_faster() else "fp32",
                clock=setting.clock,
                callbacks=[Checkpoint(setting.checkpoint)] if setting.checkpoint else [],
                progress=setting.progress,
                name=self.label,
            )
        self.curve_, self.stopped_ = history.points, history.stopped
        self.network_.cpu().eval().requires_grad_(requires_grad=False)

    def _groups(self) -> list[dict[str, Any]]:
        """The head for the classes learns faster than all else."""
        head = [one for name, one in self.network_.named_parameters() if name.startswith("class_")]
        mine = {id(one) for one in head}
        body = [one for one in self.network_.parameters() if id(one) not in mine and one.requires_grad]
        return [
            {"params": head, "lr": self.head_lr, "weight_decay": self.weight_decay},
            {"params": body, "lr": self.lr, "weight_decay": self.weight_decay},
        ]

    def _batches(self, data: Dataset) -> Callable[[int], Iterator[Batch]]:
        pictures, objects = self._pictures(data), relative(data)

        def batches(epoch: int) -> Iterator[Batch]:
            order = np.random.default_rng((self.seed, epoch)).permutation(len(data))
            for start in range(0, len(order), self.batch_size):
                rows = order[start : start + self.batch_size]
                drawn = draws_of(self.seed, epoch + 1, data.rows[rows])
                shown, moved = view(pictures[rows], [objects[row] for row in rows], drawn)
                counts = np.array([len(one) for one in moved])
                padded = np.zeros((len(rows), max(1, counts.max()), 5), np.float32)
                for place, one in enumerate(moved):
                    padded[place, : len(one)] = np.concatenate([to_centre(one[:, :4]), one[:, 4:]], axis=1)
                yield {
                    "pixel_values": self._pixels(shown),
                    "objects": torch.from_numpy(padded),
                    "counts": torch.from_numpy(counts),
                }

        return batches

    def _pictures(self, data: Dataset) -> np.ndarray:
        size = (self.shape_[1], self.shape_[0])
        return np.stack(
            [np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BILINEAR)) for one in data.take()]
        )

    def _pixels(self, pictures: np.ndarray) -> Tensor:
        mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in self.normal_)
        return (torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255 - mean) / std

    def _outputs(self, data: Dataset, store: Store | None) -> np.ndarray:
        del store
        found = []
        for start in range(0, len(data), self.batch_size):
            some = data.select(np.arange(start, min(start + self.batch_size, len(data))))
            with torch.inference_mode():
                said = self.network_(pixel_values=self._pixels(self._pictures(some)), return_dict=True)
            named = len(self.task_.classes)
            whole = said.logits.shape[-1] == named + 1  # the last class is that of no object
            chances = said.logits.softmax(-1)[..., :named] if whole else said.logits.sigmoid()
            for each, centres, size in zip(chances.numpy(), said.pred_boxes.numpy(), sizes(some), strict=True):
                found.append(_best(each, from_centre(centres).clip(0, 1) * np.tile(size, 2)))
        return ragged(found)

    def _arrays(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {"shape": self.shape_, "normal": self.normal_}, {}

    def save(self, folder: str | Path) -> Path:
        written = super().save(folder)
        with quiet():
            network: Any = self.network_
            network.save_pretrained(written / FOLDER)
        return written

    def _restore_from(self, folder: Path, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        self._restore(state, arrays)
        self.network_ = _open(folder / FOLDER, self.task_.classes).eval().requires_grad_(requires_grad=False)
        return self

    def _restore(self, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        del arrays
        self.shape_ = tuple(state["shape"])
        self.normal_ = tuple(map(tuple, state["normal"]))


class _Set(Objective):
    """The loss of the model itself: boxes and objects are paired one to one at least cost."""

    def __init__(self, network: nn.Module, groups: list[dict[str, Any]]) -> None:
        super().__init__()
        self.network, self.groups = network, groups

    def players(self) -> dict[str, list[dict[str, Any]]]:
        return {"model": self.groups}

    def loss(self, batch: Batch, player: str) -> Loss:
        del player
        labels = [
            {"boxes": one[:count, :4], "class_labels": one[:count, 4].long()}
            for one, count in zip(batch["objects"], batch["counts"].tolist(), strict=True)
        ]
        total = self.network(pixel_values=batch["pixel_values"], labels=labels, return_dict=True).loss
        return Loss(total.float().expand(len(labels)))  # paired over the batch: there is none of a picture alone


def _best(chances: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Boxes (k, 6) of questions: each with its likeliest class, the best first."""
    kind, score = chances.argmax(axis=1), chances.max(axis=1)
    whole = np.column_stack([boxes, kind, score]).astype(np.float64)
    whole = whole[(score > FAINT) & (area(boxes) > 0)]
    best: np.ndarray = whole[np.argsort(-whole[:, SCORE], kind="stable")][:PEAKS]
    return best


def _normal(folder: Path) -> tuple[tuple[float, ...], ...]:
    """Mean and spread of the channels, as the folder's image processor has them."""
    file = folder / "preprocessor_config.json"
    facts = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return tuple(facts.get("image_mean") or NORMAL[0]), tuple(facts.get("image_std") or NORMAL[1])


def _open(folder: Path, classes: tuple[str, ...]) -> nn.Module:
    """The model of a folder with a head for the classes; what does not fit them begins anew.

    Raises:
        SourceError: It cannot be opened.
    """
    try:
        with quiet():
            from transformers import AutoModelForObjectDetection

            names = dict(enumerate(classes))
            model: nn.Module = AutoModelForObjectDetection.from_pretrained(
                folder, id2label=names, label2id={name: number for number, name in names.items()},
                ignore_mismatched_sizes=True, local_files_only=True, trust_remote_code=False, use_safetensors=True,
            )  # fmt: skip
            return model
    except Exception as error:  # transformers raises many kinds; each becomes one line
        raise SourceError(f"{folder.name} cannot be opened as a detector: {first_line(error)}") from error
