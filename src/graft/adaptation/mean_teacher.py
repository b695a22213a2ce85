"""Self-ensembling (自集成): a network learns to say on one view of a target row what its own average says on another.

Idea: the average of the weights over the last steps, the teacher, is right more often than the network itself; where it is
sure, it labels.  Helps when: random views of a row keep its class (pictures), and a network trained on the source alone is
right on many target rows.  Hurts when: it is sure and wrong: classes of the target that it mixes up from the start.
References: Tarvainen & Valpola (2017), Mean teachers; French, Mackiewicz & Fisher (2018), Self-ensembling for visual domain
adaptation.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from torch import Tensor, nn
from torch.func import functional_call

from graft.adaptation.deep import AdaptationObjective, DeepAdaptation, Given
from graft.adaptation.paired import part_of
from graft.core.errors import UsageError
from graft.core.registry import ADAPTATIONS
from graft.core.types import ModelSpec
from graft.engine.objective import Batch, Loss
from graft.sources.base import Backbone

LOSSES = ("squared", "cross-entropy")


class Averaged(nn.Module):
    """Float32 averages of a network's trainable parameters, as buffers: checkpoints hold them, optimizers do not.

    After step t the average is d a + (1 - d) w with d = min(decay, t / (t + 1)): at first a plain mean.

    Args:
        network: What is averaged; it stays outside.
        decay: The memory, below 1.
    """

    steps: Tensor

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.names = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
        for number, parameter in enumerate(self._parameters_of(network)):
            self.register_buffer(str(number), parameter.detach().float().clone())
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def _parameters_of(self, network: nn.Module) -> Iterator[nn.Parameter]:
        every = dict(network.named_parameters())
        return (every[name] for name in self.names)

    def weights(self) -> dict[str, Tensor]:
        """The averages by the names of the parameters."""
        return {name: self.get_buffer(str(number)) for number, name in enumerate(self.names)}

    def update(self, network: nn.Module) -> None:
        """Take in the weights of one more step."""
        step = int(self.steps)
        newest = max(1 - self.decay, 1 / (step + 1))
        averages = list(self.weights().values())
        torch._foreach_lerp_(averages, [p.detach().float() for p in self._parameters_of(network)], newest)
        self.steps += 1

    def put(self, network: nn.Module) -> None:
        """Give the network its average."""
        with torch.no_grad():
            for parameter, average in zip(self._parameters_of(network), self.weights().values(), strict=True):
                parameter.copy_(average)


class SelfEnsembling(AdaptationObjective):
    """ℓ(source) + λ mean 1[max p̄ ≥ τ] |p(a) - p̄(b)|² of two views a, b of target rows; p̄ is the teacher's softmax.

    The threshold takes the place of a ramp (French et al. 2018, section 3.3).

    Args:
        given: Networks, task and settings.
        threshold: τ.
        decay: Memory of the teacher.
        form: ``"squared"``, or ``"cross-entropy"``: -Σ p̄ log p in the place of the square.
    """

    def __init__(self, given: Given, *, threshold: float, decay: float, form: str) -> None:
        super().__init__(given)
        self.threshold, self.form = threshold, form
        self.teacher, self.teacher_head = Averaged(self.backbone, decay), Averaged(self.head, decay)

    def on_step(self, progress: float) -> None:
        super().on_step(progress)
        self.teacher.update(self.backbone)
        self.teacher_head.update(self.head)

    def finish(self) -> None:
        self.teacher.put(self.backbone)
        self.teacher_head.put(self.head)

    def taught(self, inputs: Batch) -> Tensor:
        """The teacher's probabilities (B, C)."""
        with torch.no_grad():
            features = functional_call(self.backbone, self.teacher.weights(), (inputs,)).float()
            logits = F.linear(features, *self.teacher_head.weights().values()).float()
        return logits.softmax(1)

    def loss(self, batch: Batch, player: str) -> Loss:
        del player
        seen, wanted = self.see(batch), self.taught(self.view(part_of(batch, "target")))
        sure = (wanted.amax(1) >= self.threshold).float()
        right = float((seen.source_logits.argmax(1) == batch["y"]).float().mean())
        term = (sure * disagreement(seen.target_logits, wanted, self.form)).mean()
        per_example = self.supervised(seen.source_logits, batch, seen.target_logits)
        return Loss(per_example, self.strength * term, {"accuracy": right, "sure": float(sure.mean())})


def disagreement(logits: Tensor, wanted: Tensor, form: str) -> Tensor:
    """How far softmax(logits) (B, C) is from probabilities (B, C), per row (B,): squared, or by cross-entropy.

    Example:
        >>> import torch
        >>> disagreement(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]), "squared").tolist()
        [0.5]
    """
    if form == "squared":
        return (logits.softmax(1) - wanted).square().sum(1)
    return -(wanted * logits.log_softmax(1)).sum(1)


@ADAPTATIONS.register("mean_teacher")
class MeanTeacher(DeepAdaptation):
    """Self-ensembling; the teacher is what is kept.

    Args:
        source: URI, ``ModelSpec`` or ``Backbone`` to start from; None for a small network trained from scratch.
        threshold: Probability from which the teacher counts; 0.968 in the paper.
        decay: Memory of the teacher per step.
        form: ``"squared"`` or ``"cross-entropy"`` between network and teacher.
        strength: Weight of the term on target rows.
        epochs: Passes over the larger domain; None: as many as 3,000 steps take, 30 at most.
        lr: Peak rate of the network; None as for every deep adaptation.
        head_lr: Peak rate of the head.
        batch_size: Rows of each domain per step.
        weight_decay: Decoupled weight decay.
        augment: Whether pictures are seen in random views; None: for a network of graft's own.
        seed: Seed of weights, order, views and dropout.
    """

    label = "self-ensembling"
    name = "mean_teacher"
    tried = True

    def __init__(
        self,
        source: str | ModelSpec | Backbone | None = None,
        *,
        threshold: float = 0.968,
        decay: float = 0.99,
        form: str = "cross-entropy",
        strength: float = 1.0,
        epochs: float | None = None,
        lr: float | None = None,
        head_lr: float | None = None,
        batch_size: int = 64,
        weight_decay: float = 0.01,
        augment: bool | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(
            source, strength=strength, epochs=epochs, lr=lr, head_lr=head_lr, batch_size=batch_size,
            weight_decay=weight_decay, augment=augment, seed=seed,
        )  # fmt: skip
        self.threshold, self.decay, self.form = threshold, decay, form

    def _check(self) -> None:
        super()._check()
        if not 0 <= self.threshold <= 1 or not 0 <= self.decay < 1 or self.form not in LOSSES:
            what = f"threshold {self.threshold}, decay {self.decay}, form {self.form!r} cannot be learned with"
            raise UsageError(what, hint=f"use 0 to 1, 0 to below 1, {' or '.join(LOSSES)}")

    def objective(self, given: Given) -> SelfEnsembling:
        return SelfEnsembling(given, threshold=self.threshold, decay=self.decay, form=self.form)
