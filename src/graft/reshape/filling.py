"""Fill a fresh network with the weights of another, tensor by tensor, and note what became of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from graft.core.errors import UsageError
from graft.reshape.networks import Family, Plan, Rows
from graft.reshape.plan import Changes, Fate
from graft.reshape.tensors import from_rows, input_axis, offset, on_grid, on_line, to_channels, widened
from graft.sources.base import Backbone

LAST = (  # what the last layer of a branch is called that is added to what came in
    "attention.output.dense", "output.dense", "o_proj", "down_proj", "c_proj", "out_proj", "fc2", "out_lin", "lin2",
    "SelfAttention.o", "DenseReluDense.wo", "attn.o", "Wo", "weights_out", "attention.dense", "dense_4h_to_h", "out",
    "down",
)  # fmt: skip
TINY = 1e-12  # least variance that is divided by


class Filling:
    """Fills a fresh network with the weights of another, tensor by tensor."""

    def __init__(
        self, family: Family, new: Backbone, settings: Any, changes: Changes, plan: Plan | None, rows: Rows | None
    ) -> None:
        self.family, self.new, self.settings, self.changes = family, new, settings, changes
        self.plan, self.rows = plan, rows
        self.old = {name: tensor.detach().cpu() for name, tensor in family.backbone.state_dict().items()}
        self.fates: list[Fate] = []
        self.notes: list[str] = []
        self.used: set[str] = set()
        self.silent = False  # whether new blocks add nothing
        wanted = {
            "tokens": rows is not None,
            "channels": changes.channels is not None,
            "places": bool(changes.size or changes.length or rows is not None),
            "width": changes.widen > 1,
        }
        self.axes = {what: family.axes(what) for what, needed in wanted.items() if needed and not changes.fresh}
        sides = [self.old[name].shape[axis] for name, axes in self.axes.get("width", {}).items() for axis in axes]
        self.inner = min(sides, default=1)
        self.offsets = self._offsets() if "channels" in self.axes else {}

    def fill(self) -> None:
        """Fill every tensor and note its fate."""
        seen: dict[int, str] = {}
        with torch.no_grad():
            for name, target in self.new.state_dict().items():
                if target.numel() and target.data_ptr() in seen:
                    self.notes.append(f"{name} is the same tensor as {seen[target.data_ptr()]}")
                    continue
                seen[target.data_ptr()] = name
                self.fates.append(self._filled(name, target))
        if self.plan is not None and not self.changes.fresh:
            self._rest()

    def left(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Old tensors of which nothing was used."""
        return tuple((name, tuple(value.shape)) for name, value in self.old.items() if name not in self.used)

    def _filled(self, name: str, target: Tensor) -> Fate:
        shape = tuple(target.shape)
        if self.changes.fresh:
            return Fate(name, "", None, shape, "new")
        origin = self.family.origin(name, self.plan)
        if origin is None:
            return Fate(name, "", None, shape, "new", "in a new block")
        if origin not in self.old and name in self.old and self.old[name].shape == target.shape:
            origin = name  # what only the block in this place has, such as T5's table of distances in the lowest
        if origin not in self.old:
            return Fate(name, "", None, shape, "new", "the source has none")
        value, what, how = self._resized(origin, name, self.old[origin], target)
        before = tuple(self.old[origin].shape)
        if value is None or value.shape != target.shape:
            if self.plan is not None and origin != name:
                wrong = f"{origin} of shape {before} does not fit in the place of {name}, {shape}"
                raise UsageError(wrong, hint="blocks can change places with blocks of their own shape")
            self.notes.append(f"{name} is new: graft has no rule that makes {shape} of {before}")
            return Fate(name, "", None, shape, "new", f"no rule for {before}")
        target.copy_(value)
        self.used.add(origin)
        return Fate(name, origin, before, shape, what, "; ".join(how))

    def _resized(self, origin: str, name: str, value: Tensor, target: Tensor) -> tuple[Tensor | None, str, list[str]]:
        """The value for a tensor, what happened to it, and how."""
        what, how = "copied", []
        if origin in self.axes.get("tokens", {}) and self.rows is not None:
            value, what = from_rows(value, self.rows[0]), "resized"
            how.append(self.rows[1])
        if origin in self.axes.get("channels", {}):
            _, scale, _, one = self.family.normalisation()
            channels = self.changes.channels or 0
            per = self.family.columns(value)
            if value.shape[1] != channels * per:
                old_channels = value.shape[1] // per
                value = to_channels(value, channels, per=per, old_scale=scale, new_scale=[one])
                what = "resized"
                how.append(f"{old_channels} channels summed and spread over {channels}")
        elif origin in self.offsets:
            value, what = value + self.offsets[origin], "resized"
            how.append("with what the means of the channels add")
        placed = self._placed(origin, name, value, target)
        if placed is not None:
            value, words = placed
            what = "resized"
            how.append(words)
        if origin in self.axes.get("width", {}) and value.shape != target.shape:
            value = self._wide(origin, value, target)
            what = "widened"
            how.append(f"×{self.changes.widen:g}")
        return value, what, how

    def _placed(self, origin: str, name: str, value: Tensor, target: Tensor) -> tuple[Tensor, str] | None:
        """Positions of a picture of another size or a text of another length, and how they were made."""
        if origin not in self.axes.get("places", {}) or not value.is_floating_point():
            return None
        if not self.changes.size:
            start, now = (_first(net, of) for net, of in ((self.family.backbone, origin), (self.new, name)))
            if value.shape == target.shape and start == now:
                return None
            made, how = on_line(value, len(target), start, now)
            return made, how
        sides = self.family.grid(self.family.settings), self.family.grid(self.settings)
        if value.shape == target.shape:
            return None
        grid = on_grid(value, *sides)
        return (
            None if grid is None else (grid, f"{sides[0]} × {sides[0]} patches made {sides[1]} × {sides[1]}, bicubic")
        )

    def _wide(self, origin: str, value: Tensor, target: Tensor) -> Tensor:
        module = self.family.backbone.get_submodule(origin.rpartition(".")[0])
        for axis in self.axes["width"][origin]:
            old = value.shape[axis]
            chunks = old // self.inner if old % self.inner == 0 else 1  # gate and value in one tensor
            inputs = axis == input_axis(module, value)
            value = widened(value, axis, target.shape[axis], chunks=1 if inputs else chunks, divide=inputs)
        return value

    def _offsets(self) -> dict[str, Tensor]:
        """What follows the first layer takes up that channels with means of their own are read with one mean.

        A bias or the positions of the patches gain it; a BatchNorm expects it no longer (which is not exact at the edges, where
        a convolution reads zeros).
        """
        means, scale, mean, _ = self.family.normalisation()
        found: dict[str, Tensor] = {}
        for name in self.axes["channels"]:
            weight, layer = self.old[name], name.rpartition(".")[0]
            if weight.ndim != 4 or max(means) == min(means):
                continue
            added = offset(weight, means, scale, mean)
            after = _batch_norm_after(self.family.backbone, layer)
            grid = self.family.grid(self.family.settings)
            places = [n for n in self.family.axes("places") if self.old[n].shape[-1] == len(added) and grid]
            if f"{layer}.bias" in self.old:
                found[f"{layer}.bias"] = added
            elif f"{after}.running_mean" in self.old:
                found[f"{after}.running_mean"] = -added
            elif places:
                found[places[0]] = torch.zeros_like(self.old[places[0]])
                found[places[0]][..., -grid * grid :, :] = added
            else:
                self.notes.append(f"nothing behind {name} can take up the different means of the channels")
        return found

    # -- new blocks --------------------------------------------------------------------------------------------------

    def _new_blocks(self) -> list[int]:
        return [number for number, (_, kept) in enumerate(self.plan or ()) if not kept]

    def _rest(self) -> None:
        """Let new blocks add nothing at first: He et al. (2016), section 3; Goyal et al. (2017) for zero as a start."""
        for number in self._new_blocks():
            path = f"{self.family.path}.{number}"
            block = self.new.get_submodule(path)
            for name, module in block.named_modules():
                if f".{name}".endswith(tuple(f".{last}" for last in LAST)) and hasattr(module, "weight"):
                    for parameter in module.parameters(recurse=False):
                        nn.init.zeros_(parameter)
                    self.silent = True
                    self._say(f"{path}.{name}.", "zero: the new block adds nothing at first")

    def _say(self, start: str, how: str) -> None:
        for place, fate in enumerate(self.fates):
            if fate.name.startswith(start) and "." not in fate.name.removeprefix(start):
                self.fates[place] = dataclasses.replace(fate, how=how)

    def pass_on(self, run: Callable[[], object]) -> Callable[[], None] | None:
        """Let normalisations in new blocks give back what they get, where a block normalises after its sums (BERT).

        Every new normalisation gets the weight and bias by which its normalised input comes nearest to what the block below
        puts out, column by column.  This is not exact: mean and variance over the columns differ from token to token.

        Args:
            run: Runs the new network on some rows.

        Returns:
            What undoes it; None where there are no such normalisations.
        """
        kept: list[tuple[Tensor, Tensor]] = []
        fates = list(self.fates)
        for number in self._new_blocks():
            below = next(n for n in range(number, -1, -1) if self.plan is not None and self.plan[n][1])
            last = list(_norms(self.new.get_submodule(f"{self.family.path}.{below}")).values())[-1:]
            path = f"{self.family.path}.{number}"
            norms = _norms(self.new.get_submodule(path)) if last else {}
            kept += [(part, part.detach().clone()) for norm in norms.values() for part in (norm.weight, norm.bias)]
            for name in norms:
                self._say(f"{path}.{name}.", "gives back what the block below puts out, about")
            if norms:
                _imitate(_output(last[0], run), list(norms.values()))

        def undo() -> None:
            self.fates = fates
            with torch.no_grad():
                for part, value in kept:
                    part.copy_(value)

        return undo if kept else None


def _norms(block: nn.Module) -> dict[str, nn.LayerNorm]:
    return {n: part for n, part in block.named_modules() if isinstance(part, nn.LayerNorm) and part.bias is not None}


def _output(module: nn.Module, run: Callable[[], object]) -> Tensor:
    """What a part of a network puts out (N, D) while the network runs."""
    found: list[Tensor] = []
    handle = module.register_forward_hook(lambda _module, _inputs, output: found.append(output))
    try:
        run()
    finally:
        handle.remove()
    return found[-1].detach().flatten(0, -2)


def _imitate(wanted: Tensor, norms: list[nn.LayerNorm]) -> None:
    """Fit normalisations that follow each other so that each gives back ``wanted`` (N, D), by least squares."""
    now = wanted
    with torch.no_grad():
        for norm in norms:
            input_ = nn.functional.layer_norm(now, norm.normalized_shape, eps=norm.eps)
            centred = input_ - input_.mean(0)
            norm.weight.copy_((centred * wanted).sum(0) / centred.square().sum(0).clamp_min(TINY))
            norm.bias.copy_((wanted - norm.weight * input_).mean(0))
            now = norm(now)


def _batch_norm_after(network: nn.Module, layer: str) -> str:
    """The BatchNorm that is registered right behind a layer; empty where there is none."""
    names = list(network.named_modules())
    place = next(number for number, (name, _) in enumerate(names) if name == layer)
    return next((name for name, part in names[place + 1 : place + 2] if isinstance(part, nn.BatchNorm2d)), "")


def _first(backbone: Backbone, name: str) -> int:
    """Row of the first position in a table: RoBERTa's stands behind that of the padding."""
    padding = getattr(backbone.get_submodule(name.rpartition(".")[0]), "padding_idx", None)
    return 0 if padding is None else padding + 1
