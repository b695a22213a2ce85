"""Cut a network above its frozen blocks, whose outputs can then be computed once and read ever after."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from graft.sources.base import Backbone, Batch

PREFIX = "prefix"  # entry of a batch with what the cut blocks would have put out


class _ReachedError(Exception):
    """The last of the cut blocks has put out what was asked for."""


class UpperPart(nn.Module):
    """A backbone whose stem and lowest blocks are skipped: it reads their output from ``batch["prefix"]``.

    The network itself runs as ever, masks and positions included; only the modules that are cut hand on what they are
    given.  No architecture is known here: ``cut`` makes sure on a few rows that the result is the same.

    Args:
        backbone: The whole; its weights are shared.
        blocks: How many blocks are cut, counted from the bottom, at least one.
    """

    def __init__(self, backbone: Backbone, blocks: int) -> None:
        super().__init__()
        self.backbone = backbone
        self._cut = [*backbone.stem(), *backbone.blocks()[:blocks]]
        self._outputs: dict[nn.Module, Any] = {}
        self._hidden: Tensor | None = None

    def lower(self, batch: Batch) -> Tensor:
        """Output of the last cut block, (B, T, D) or (B, C, H, W), without gradients.

        Raises:
            RuntimeError: The block is never called: the network cannot be cut here.
        """
        handles = [part.register_forward_hook(self._keep) for part in self._cut]
        try:
            with torch.no_grad(), contextlib.suppress(_ReachedError):
                self.backbone(batch)
                raise RuntimeError("the last of the blocks to cut is never called")
        finally:
            for handle in handles:
                handle.remove()
        return _first(self._outputs[self._cut[-1]])

    def _keep(self, module: nn.Module, _inputs: Any, output: Any) -> None:
        self._outputs[module] = output
        if module is self._cut[-1]:
            raise _ReachedError

    def forward(self, batch: Batch) -> Tensor:
        """Pooled last layer (B, D)."""
        inputs = dict(batch)
        self._hidden = inputs.pop(PREFIX)
        with self._skipping():
            return self.backbone(inputs)

    @contextlib.contextmanager
    def _skipping(self) -> Iterator[None]:
        try:
            for part in self._cut:
                part.forward = self._handed_on(self._outputs[part])
            yield
        finally:
            for part in self._cut:
                del part.forward
            self._hidden = None

    def _handed_on(self, form: Any) -> Any:
        """A ``forward`` that gives the hidden state in the form of the real output."""
        if isinstance(form, Tensor):
            return lambda *_args, **_kwargs: self._hidden
        return lambda *_args, **_kwargs: type(form)((self._hidden, *[None] * (len(form) - 1)))

    def release(self) -> None:
        """Forget the outputs that were kept to know their form, but not the form."""
        for part, output in self._outputs.items():
            self._outputs[part] = output[:0] if isinstance(output, Tensor) else type(output)(
                (output[0][:0], *[None] * (len(output) - 1))
            )  # fmt: skip


def _first(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else output[0]


def cut(backbone: Backbone, blocks: int, batch: Batch) -> UpperPart | None:
    """The part above the lowest blocks, or None where the network cannot be cut there.

    Args:
        backbone: The whole.
        blocks: Blocks to cut, counted from the bottom.
        batch: A few rows, on which both ways must give the same features.
    """
    if not 1 <= blocks < len(backbone.blocks()):
        return None
    was = backbone.training
    backbone.eval()
    upper = UpperPart(backbone, blocks)
    try:
        with torch.no_grad():
            whole, parts = backbone(batch), upper({**batch, PREFIX: upper.lower(batch)})
        same = torch.allclose(whole, parts, rtol=1e-3, atol=1e-4 * float(whole.abs().max()))
    except (RuntimeError, TypeError, KeyError, AttributeError, IndexError, ValueError):
        return None  # built in another way than is needed here
    finally:
        backbone.train(was)
    upper.release()
    return upper if same else None
