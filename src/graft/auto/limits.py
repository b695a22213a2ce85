"""What the person allows the model to take where it is used: milliseconds per row, megabytes on disk."""

from __future__ import annotations

from graft.auto.config import Config
from graft.core.types import Dataset, RankRow
from graft.evaluate.search import Use
from graft.transfer.base import BaseTransfer
from graft.transfer.cost import milliseconds, model_bytes, sample_of

CLEARLY = 1.3  # a predicted time per row is rough: a source is left out unmeasured only this far beyond the limit


def too_costly(row: RankRow, config: Config) -> str:
    """Why no model on this source can stay within the limits, from what the ranking measured; empty if one may."""
    latency, size = 1000 * row.cost, row.spec.bytes / 1e6
    if config.max_latency is not None and latency > CLEARLY * config.max_latency:
        return f"it takes {latency:.3g} ms per row, {config.max_latency:g} ms are allowed"
    if config.max_size is not None and size > config.max_size:
        return f"it takes {size:.3g} MB, {config.max_size:g} MB are allowed"
    return ""


def beyond(model: BaseTransfer, data: Dataset, config: Config) -> Use:
    """What a fitted model takes of that which is limited, measured, and which limit it is beyond."""
    size = latency = 0.0
    if config.max_size is not None:
        size = model_bytes(model.backbone_, *model._arrays())  # noqa: SLF001  (what save writes)
        if size > 1e6 * config.max_size:
            return Use(f"it takes {size / 1e6:.3g} MB, {config.max_size:g} MB are allowed", bytes=size)
    if config.max_latency is not None:
        sample = sample_of(data)
        latency = milliseconds(lambda: model.outputs(sample), len(sample))
        if latency > config.max_latency:
            what = f"it takes {latency:.3g} ms per row, {config.max_latency:g} ms are allowed"
            return Use(what, latency, size)
    return Use("", latency, size)
