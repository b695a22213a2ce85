"""Reshaping of networks of transformers: their settings are the configuration."""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
import json
import re
from typing import Any

import numpy as np
from torch import nn

from graft.core.errors import UsageError
from graft.reshape.networks import BLOCKS, Family, Plan, Rows
from graft.reshape.plan import Changes
from graft.reshape.vocabulary import ROLES, origins, retrained, roles_between
from graft.sources.base import Backbone
from graft.sources.image import ImageReader
from graft.sources.layers import NetworkBackbone
from graft.sources.loading import first_line, quiet
from graft.sources.text import TextBackbone, longest_input, pad_number

INNER = ("intermediate_size", "d_ff", "encoder_ffn_dim", "ffn_dim", "hidden_dim", "n_inner", "mlp_ratio")


class Transformers(Family):
    """Networks of transformers; their settings are the configuration."""

    def __init__(self, backbone: NetworkBackbone) -> None:
        super().__init__(backbone)
        self.settings = backbone.model.config
        base = f"model.{backbone.model.base_model_prefix}." if backbone._has_head else "model."  # noqa: SLF001
        self.prefix = "model."
        self.path = base + backbone._path if backbone._path else ""  # noqa: SLF001  (what finds its blocks)
        self.is_text = isinstance(backbone, TextBackbone)
        self.tokenizer = backbone.tokenizer if isinstance(backbone, TextBackbone) else None

    def able(self) -> list[str]:
        can = [*BLOCKS] * self._counts_blocks() + ["widen"] * bool(self.axes("width"))
        if self.is_text:
            return [*can, "length", "vocabulary"]
        return can + ["channels"] * bool(self.axes("channels")) + ["size"]

    def _now(self) -> tuple[int | None, int | None]:
        facts = getattr(getattr(self.backbone, "reader", None), "facts", {})
        side = (facts.get("crop_size") if facts.get("do_center_crop") else facts.get("size")) or {}
        sides = {side.get("height"), side.get("width")}
        return getattr(self.settings, "num_channels", None), sides.pop() if len(sides) == 1 else None

    def _counts_blocks(self) -> bool:
        """Whether the number of blocks is a setting, and blocks are what it counts."""
        if not self.path or getattr(self.settings, "num_hidden_layers", None) != self.depth:
            return False
        one = copy.deepcopy(self.settings)
        _set_depth(one, [0])
        numbers = {re.match(rf"{re.escape(self.path)}\.(\d+)\.", name) for name in self.shapes(one)}
        return {match.group(1) for match in numbers if match} == {"0"}

    def vocabulary(self, changes: Changes) -> Rows:
        old = self.backbone.tokenizer
        self.tokenizer = made = retrained(old, changes.vocabulary, changes.tokens)
        return origins(old.backend_tokenizer, made.backend_tokenizer, roles_between(old, made))

    def changed(self, changes: Changes, plan: Plan | None) -> Any:
        made = copy.deepcopy(self.settings)
        made._attn_implementation = self.backbone.__dict__.get("_attention", made._attn_implementation)  # noqa: SLF001
        if plan is not None:
            _set_depth(made, [number for number, _ in plan])
        if changes.widen > 1:
            self._widen(made, changes.widen)
        if changes.channels:
            made.num_channels = changes.channels
        if changes.size:
            self._check_side(changes.size)
            if hasattr(made, "image_size"):
                made.image_size = changes.size
        if changes.vocabulary is not None:
            self._set_vocabulary(made)
        if changes.length:
            self._set_length(made, changes.length)
        return made

    def _set_vocabulary(self, config: Any) -> None:
        assert self.tokenizer is not None
        config.vocab_size = max(self.tokenizer.get_vocab().values()) + 1
        for role in ROLES:
            if getattr(config, f"{role}_token_id", None) is not None:
                setattr(config, f"{role}_token_id", getattr(self.tokenizer, f"{role}_token_id", None))

    def _set_length(self, config: Any, length: int) -> None:
        config.graft_length = length  # read by ``longest_input``
        if self.axes("places") or (getattr(config, "max_position_embeddings", None) or 0) < length:
            config.max_position_embeddings = length + self._first_place(config)

    def _first_place(self, config: Any) -> int:
        """Rows of the table of positions that stand before the first one: RoBERTa begins behind the padding number."""
        tables = [self.backbone.get_submodule(name.rpartition(".")[0]) for name in self.axes("places")]
        shifted = any(getattr(table, "padding_idx", None) is not None for table in tables)
        return int(config.pad_token_id) + 1 if shifted else 0

    def _check_side(self, size: int) -> None:
        patch, side = getattr(self.settings, "patch_size", None), getattr(self.settings, "image_size", None)
        name = self.backbone.spec.name
        if isinstance(side, list | tuple) and len(set(side)) > 1:
            raise UsageError(f"{name} reads pictures of {side[0]} × {side[1]}, which stay", hint="leave size out")
        if isinstance(patch, int) and isinstance(side, int) and size % patch:
            hint = f"its patches have {patch}: use a multiple of it"
            raise UsageError(f"{name} cannot read pictures of {size} pixels", hint=hint)

    def _widen(self, config: Any, factor: float) -> None:
        key = self._inner
        value = getattr(config, key) or 4 * config.hidden_size  # GPT-2 leaves it out
        wide = value * factor
        setattr(config, key, wide if key == "mlp_ratio" and wide != int(wide) else round(wide))

    @functools.cached_property
    def _inner(self) -> str:
        """The setting for the number of inner units; empty where no setting alters them, and them alone."""
        now = self.shapes(self.settings)
        for key in INNER:
            value = getattr(self.settings, key, None)
            if not isinstance(value, int | float) and not (key == "n_inner" and hasattr(self.settings, key)):
                continue
            other = copy.deepcopy(self.settings)
            setattr(other, key, 2 * (value or 4 * self.settings.hidden_size))
            try:
                then = self.shapes(other)
            except Exception:  # noqa: BLE001, S112  (a setting that cannot be doubled is none for us)
                continue
            moved = [name for name in now if now[name] != then.get(name)]
            if moved and all(name.startswith(f"{self.path}.") for name in moved) and self.path:
                return key
        return ""

    def _varied(self, what: str) -> Any:
        other = copy.deepcopy(self.settings)
        if what == "width":
            if not self._inner:
                return None
            self._widen(other, 2)
            return other
        places = "max_position_embeddings" if self.is_text else "image_size"
        key = {"tokens": "vocab_size", "channels": "num_channels", "places": places}[what]
        value = getattr(other, key, None)
        value = value[0] if isinstance(value, list | tuple) and len(set(value)) == 1 else value
        if not isinstance(value, int):
            return None
        setattr(other, key, 2 * value if what == "places" else value + 1)
        return other

    def grid(self, settings: Any) -> int:
        side, patch = getattr(settings, "image_size", None), getattr(settings, "patch_size", None)
        side, patch = (one[0] if isinstance(one, list | tuple) and one else one for one in (side, patch))
        return side // patch if isinstance(side, int) and isinstance(patch, int) else 0

    def normalisation(self) -> tuple[list[float], list[float], float, float]:
        reader = self.backbone.reader
        channels = getattr(
            self.settings, "num_channels", 3
        )  # a grey picture is read as three equal ones, then their mean
        means, deviations = (np.atleast_1d(part).astype(float)[:channels] for part in (reader.mean, reader.std))
        return means.tolist(), deviations.tolist(), float(means.mean()), float(deviations.mean())

    def build(self, settings: Any, changes: Changes) -> Backbone:
        old = self.backbone
        bare = changes.fresh or not old._has_head  # noqa: SLF001
        try:
            with quiet():
                model = _construct(old.network if bare else old.model, settings, bare=bare).eval()
        except Exception as error:
            hint = "change less at once"
            raise UsageError(f"{old.spec.name} cannot be built so: {first_line(error)}", hint=hint) from error
        new: Any = copy.deepcopy(old, {id(old.model): model})  # all but the network
        new._has_head = not bare  # noqa: SLF001
        if isinstance(new, TextBackbone):
            if changes.length or changes.vocabulary is not None:
                self._set_texts(new, settings, changes)
        else:
            new._count = len(new.blocks())  # noqa: SLF001
            if changes.channels or changes.size:
                new.reader = self._pictures(changes)
        if changes.fresh:
            for part in getattr(new, "dense", ()):
                part.linear.reset_parameters()
            new.spec = dataclasses.replace(new.spec, classes=())
        parameters = sum(p.numel() for p in new.parameters())
        new.spec = dataclasses.replace(new.spec, parameters=parameters, bytes=4 * parameters, flops=0)
        return new.eval()  # type: ignore[no-any-return]

    def _set_texts(self, new: TextBackbone, config: Any, changes: Changes) -> None:
        tokenizer: Any = self.tokenizer if changes.vocabulary is not None else new.tokenizer
        wanted = changes.length or new.longest
        tokenizer.model_max_length = wanted
        new.longest = longest_input(tokenizer, new.network, cap=wanted)
        new.tokenizer, new._backend = tokenizer, tokenizer.backend_tokenizer  # noqa: SLF001
        new._backend.no_padding()  # noqa: SLF001
        new._backend.enable_truncation(new.longest)  # noqa: SLF001
        new._pad = pad_number(tokenizer, config)  # noqa: SLF001

    def _pictures(self, changes: Changes) -> ImageReader:
        """The reader of pictures with another size; grey ones are read with one mean and one deviation."""
        processor = self.backbone.reader.processor
        facts = json.loads(processor.to_json_string())
        size, crop = facts.get("size") or {}, facts.get("crop_size") or {}
        if changes.size and "shortest_edge" in size:
            before = crop["height"] if facts.get("do_center_crop") and crop else size["shortest_edge"]
            facts["size"] = {"shortest_edge": round(changes.size * size["shortest_edge"] / before)}
        elif changes.size:
            facts["size"] = {"height": changes.size, "width": changes.size}
        if changes.size and crop:
            facts["crop_size"] = {"height": changes.size, "width": changes.size}
        if changes.channels and facts.get("do_normalize"):
            _, _, mean, deviation = self.normalisation()
            facts |= {"image_mean": [mean] * 3, "image_std": [deviation] * 3}
        with quiet():
            return ImageReader(type(processor).from_dict(facts))

    def _module(self, settings: Any) -> nn.Module:
        with quiet():
            module: nn.Module = _construct(self.backbone.model, settings, bare=not self.backbone._has_head)  # noqa: SLF001
        return module


def _set_depth(config: Any, numbers: list[int]) -> None:
    """Keep these blocks in a configuration, with the kind that each of them has."""
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[number] for number in numbers]
    config.num_hidden_layers = len(numbers)
    if hasattr(config, "set_output_features_output_indices"):  # networks that may stand in others name their stages
        config.stage_names = ["stem", *(f"stage{number}" for number in range(1, len(numbers) + 1))]
        config.set_output_features_output_indices(out_features=None, out_indices=None)


def _construct(model: nn.Module, config: Any, *, bare: bool = True) -> Any:
    """A network of the class of another with weights of its own; a bare one has no pooler for texts, as when opened."""
    spare = bare and hasattr(config, "vocab_size")
    spare = spare and "add_pooling_layer" in inspect.signature(type(model).__init__).parameters
    return type(model)(copy.deepcopy(config), **({"add_pooling_layer": False} if spare else {}))
