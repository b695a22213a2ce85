"""Soup: several fine-tunings of one source, averaged weight by weight into one network.

Idea: fine-tunings of one source end in one valley of the loss; their mean lies lower in it than each of them, and costs
what one network costs.  Helps when: there is time for several fine-tunings and no single rate is known to be right.
Hurts when: rates are so high that members leave the valley (a greedy soup then leaves them out), or rows are so few that
those held out to choose are missed.
Reference: Wortsman et al. (2022), Model soups: averaging weights of multiple fine-tuned models improves accuracy without
increasing inference time, ICML.
"""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from graft.core.errors import DataError, UsageError
from graft.core.registry import TRANSFERS
from graft.core.task import Task
from graft.core.types import Dataset, ModelSpec
from graft.data.splits import holdout
from graft.nn.averaging import Weights, average_weights, sharing
from graft.nn.heads import LinearHead
from graft.sources.base import Backbone
from graft.transfer.base import TINY, Setting, Workload
from graft.transfer.finetune import Finetune

CHOICES = ("greedy", "uniform")
SHARED = (
    "blocks", "epochs", "head_lr", "layer_decay", "batch_size", "weight_decay", "warmup", "optimizer", "head_start", "dropout",
)  # fmt: skip
COEF, INTERCEPT = "head.coef", "head.intercept"


@TRANSFERS.register("soup")
class Soup(Finetune):
    """Average the weights of several fine-tunings that differ in rate and seed; heads too.

    ``"greedy"`` holds out rows, sorts the members by what they are worth on them (accuracy with the weights of imbalanced
    classes, then likelihood; squared error for values), and takes each into the mean if the mean does not get worse by it.
    ``"uniform"`` trains on all rows and takes all members, as does ``"greedy"`` where no rows can be held out.  Members need
    one network each in memory, without what they have in common.

    Args:
        source: URI or ``ModelSpec``.
        members: How many fine-tunings.
        lrs: Peak rates of the top block; member i takes the i-th, from the first on again where there are fewer.
        choose: ``"greedy"`` or ``"uniform"``.
        held_out: Share of the rows that choose.
        blocks: How many blocks to train, counted from the top; None for all.
        epochs: Passes over the rows; None: 3, or more on small data.
        head_lr: Peak rate of the head; None: by the size of the features, see ``Finetune``.
        layer_decay: Factor on the rate per block downwards.
        batch_size: Rows per step.
        weight_decay: Decoupled weight decay.
        warmup: Share of the steps over which the rate rises.
        optimizer: ``"adamw"``, ``"adam"`` or ``"sgd"``.
        head_start: ``"probe"``, ``"zero"``, or None: the probe from four rows per feature; the same for all members.
        dropout: Dropout inside the source while training; None leaves what the source was made with.
        seed: Of the rows held out; member i has the seed ``seed + i``.

    Attributes:
        members_: ``lr``, ``seed``, ``score`` on the held-out rows (None without) and ``taken`` of each member.

    Example:
        >>> from graft.transfer.soup import Soup
        >>> texts = ["great film", "dull film", "a joy", "a bore"] * 5
        >>> soup = Soup("sbert:all-MiniLM-L6-v2", members=2, blocks=1, epochs=2).fit(texts, ["good", "bad"] * 10)
        >>> soup.predict(["what a joy"]).tolist(), len(soup.members_)
        (['good'], 2)
    """

    label = "soup of fine-tunings"
    name = "soup"
    kinds = ("classification", "regression")
    simplicity = 4
    space: ClassVar = {}
    effort = "thorough"

    def __init__(
        self,
        source: str | ModelSpec | Backbone | None = None,
        *,
        members: int = 3,
        lrs: Sequence[float] = (1.2e-4, 6e-5, 2.4e-4),
        choose: str = "greedy",
        held_out: float = 0.2,
        blocks: int | None = None,
        epochs: float | None = None,
        head_lr: float | None = None,
        layer_decay: float = 1.0,
        batch_size: int = 40,
        weight_decay: float = 0.01,
        warmup: float = 0.1,
        optimizer: str = "adamw",
        head_start: str | None = None,
        dropout: float | None = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(
            source,
            blocks=blocks,
            epochs=epochs,
            head_lr=head_lr,
            layer_decay=layer_decay,
            batch_size=batch_size,
            weight_decay=weight_decay,
            warmup=warmup,
            optimizer=optimizer,
            head_start=head_start,
            dropout=dropout,
            seed=seed,
        )
        self.members = members
        self.lrs = lrs
        self.choose = choose
        self.held_out = held_out

    def workload(self, rows: int, task: Task) -> Workload | None:
        one = super().workload(rows, task)
        assert one is not None
        held = 0 if self.choose == "uniform" else int(self.held_out * rows)
        train, times = rows - held, 2 * self.members - 1  # members alone, and each soup that may become better
        return dataclasses.replace(
            one,
            steps=self.members * self.steps(train),
            read=self.members * one.read + times * held,
            copies=self.members,
        )

    @classmethod
    def of(cls, fitted: Sequence[Finetune]) -> Self:
        """The uniform soup of fine-tunings that are there already.

        Raises:
            UsageError: There are none, or they are not of one source and one task.
        """
        if not fitted:
            raise UsageError("a soup needs members", hint="give fitted fine-tunings of one source")
        first = fitted[0]
        assert first.backbone_ is not None
        for other in fitted[1:]:
            assert other.backbone_ is not None
            if other.task_ != first.task_:
                raise UsageError("members of a soup must have learned the same task", hint="fit them on the same data")
            if other.backbone_.preprocessing() != first.backbone_.preprocessing():
                raise UsageError("members of a soup must read rows alike", hint="fine-tune one source several times")
        soup = cls(first.source, members=len(fitted), lrs=tuple(one.lr for one in fitted), choose="uniform")
        soup.task_, soup.recipe_, soup.curve_ = first.task_, first.recipe_, first.curve_
        soup.temperature_, soup.precision_, soup.stopped_ = 1.0, first.precision_, ""
        soup.backbone_ = copy.deepcopy(first.backbone_)
        soup.members_ = [{"lr": one.lr, "seed": one.seed, "score": None, "taken": True} for one in fitted]
        soup._place(average_weights([_weights_of(one) for one in fitted]))
        return soup

    def _fit(self, data: Dataset, setting: Setting) -> None:
        self._checked()
        train, held = self._parts(data)
        weights, self.members_, curves = [], [], []
        for number in range(self.members):
            if number and setting.clock.expired:
                break
            member = self._member(number)
            found, curve = self._tuned(member, number, train, setting)
            weights.append(sharing(found, weights[0]) if weights else found)
            curves.append(curve)
            self.members_.append({"lr": member.lr, "seed": member.seed, "score": None, "taken": True})
        backbone = self._backbone(train)
        self.backbone_ = backbone.requires_grad_(requires_grad=False).eval()
        chosen = list(range(len(weights))) if held is None else self._greedy(weights, held)
        self._place(average_weights([weights[number] for number in chosen]))
        self._settle(backbone, self.head_, train)
        self.curve_, self.stopped_ = curves[chosen[0]]["points"], curves[chosen[0]]["stopped"]
        for path in _files(setting.checkpoint, self.members):
            path.unlink(missing_ok=True)

    def _checked(self) -> None:
        if self.choose not in CHOICES:
            raise UsageError(f"no choice {self.choose!r}", hint=f"use {' or '.join(CHOICES)}")
        if self.members < 1:
            raise UsageError(f"a soup of {self.members} members cannot be made", hint="use 2 or more")
        if not len(self.lrs) or min(self.lrs) < 0:
            raise UsageError(f"no rates in lrs={self.lrs!r}", hint="give one or more, such as (1.2e-4, 6e-5)")
        if not 0 < self.held_out < 1:
            raise UsageError(f"a share of {self.held_out} cannot be held out", hint="use 0.1 to 0.5")

    def _parts(self, data: Dataset) -> tuple[Dataset, Dataset | None]:
        """Rows to train on and rows that choose; the latter None where all are trained on."""
        if self.choose == "uniform" or self.members == 1:
            return data, None
        assert data.y is not None
        alike = data
        if data.task.is_classification:  # the rows that are held out must not depend on the names of the classes
            _, first = np.unique(data.y, return_index=True)
            alike = dataclasses.replace(
                data, y=np.argsort(np.argsort(first))[np.unique(data.y, return_inverse=True)[1]]
            )
        try:
            train, test = holdout(alike, test=self.held_out, seed=self.seed)
        except DataError:  # too few
            return data, None
        missing = data.task.is_classification and len(np.unique(data.y[train])) < len(np.unique(data.y))
        return (data, None) if missing else data.split(train, test)

    # -- members -----------------------------------------------------------------------------------------------------

    def _member(self, number: int) -> Finetune:
        shared = {key: getattr(self, key) for key in SHARED}
        return Finetune(self.source, lr=self.lrs[number % len(self.lrs)], seed=self.seed + number, **shared)

    def _tuned(self, member: Finetune, number: int, train: Dataset, setting: Setting) -> tuple[Weights, dict[str, Any]]:
        """Weights of a fine-tuning and its curve, from the disk where a killed fit had finished it."""
        left = setting.clock.left() / (self.members - number)
        clock = setting.clock if setting.clock.budget is None else setting.clock.part(left)
        own = dataclasses.replace(setting, clock=clock)
        done = None
        if setting.checkpoint is not None:
            training, done = _files(setting.checkpoint, self.members)[2 * number :][:2]
            own = dataclasses.replace(own, checkpoint=training)
            signature = json.dumps([member.settings(), train.fingerprint()], sort_keys=True)
            kept = _read(done, signature)
            if kept is not None:
                return kept
        member.fit(train, setting=own)
        weights, curve = _weights_of(member), {"points": member.curve_, "stopped": member.stopped_}
        if done is not None:
            facts = {"signature": signature, "curve": json.dumps(curve)}
            done.parent.mkdir(parents=True, exist_ok=True)
            # tied weights are stored once each: safetensors refuses aliases
            save_file({key: value.clone() for key, value in weights.items()}, done, facts)
        return weights, curve

    def _greedy(self, weights: list[Weights], held: Dataset) -> list[int]:
        """Members of the greedy soup, the best first; notes what each is worth."""

        def worth(chosen: list[int]) -> tuple[float, float]:
            self._place(average_weights([weights[number] for number in chosen]))
            return self._worth(held)

        scores = [worth([number]) for number in range(len(weights))]
        order = sorted(range(len(weights)), key=lambda number: scores[number], reverse=True)
        chosen, best = order[:1], scores[order[0]]
        for number in order[1:]:
            found = worth([*chosen, number])
            if found >= best:
                chosen, best = [*chosen, number], found
        for number, facts in enumerate(self.members_):
            facts |= {"score": scores[number][0], "taken": number in chosen}
        return chosen

    def _worth(self, held: Dataset) -> tuple[float, float]:
        """Weighted accuracy and mean log-likelihood on held-out rows, or minus the mean squared error; larger is better."""
        assert held.y is not None
        outputs, y = self._outputs(held, None), held.y
        if not held.task.is_classification:
            return -float(np.square(outputs - y).mean()), 0.0
        weight = held.task.sample_weights(y)
        right = np.average(outputs.argmax(axis=1) == y, weights=weight)
        likelihood = np.average(np.log(outputs[np.arange(len(y)), y].clip(TINY)), weights=weight)
        return float(right), float(likelihood)

    def _place(self, weights: Weights) -> None:
        """Put weights into the network and the head."""
        assert self.backbone_ is not None
        self.backbone_.load_state_dict({key: value for key, value in weights.items() if key not in (COEF, INTERCEPT)})
        coef = weights[COEF].numpy()
        self.head_ = LinearHead((-1,), np.ones(len(coef), dtype=np.float32), coef, weights[INTERCEPT].numpy())

    def _arrays(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        state, arrays = super()._arrays()
        return {**state, "members": self.members_}, arrays

    def _restore(self, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        super()._restore(state, arrays)
        self.members_ = list(state["members"])


def _weights_of(member: Finetune) -> Weights:
    assert member.backbone_ is not None
    weights = {name: tensor.detach().cpu().clone() for name, tensor in member.backbone_.state_dict().items()}
    head = member.head_
    return {**weights, COEF: torch.from_numpy(head.coef.copy()), INTERCEPT: torch.from_numpy(head.intercept.copy())}


def _files(checkpoint: Path | None, members: int) -> list[Path]:
    """For each member the checkpoint of its training, and where its weights are kept once it is trained."""
    if checkpoint is None:
        return []
    return [checkpoint.with_name(f"{checkpoint.name}.{i}{kind}") for i in range(members) for kind in ("", ".done")]


def _read(path: Path, signature: str) -> tuple[Weights, dict[str, Any]] | None:
    """Weights and curve of a member that was finished before; None if there is none of this signature."""
    try:
        with safe_open(path, framework="pt") as file:
            facts = file.metadata()
            if facts["signature"] != signature:
                return None
            return {key: file.get_tensor(key) for key in file.keys()}, json.loads(facts["curve"])  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, ValueError, TypeError):
        return None  # an unreadable file is worth nothing: train again
