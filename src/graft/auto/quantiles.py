"""Quantiles of a regression beside the value that the chosen way predicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graft.core.errors import UsageError
from graft.transfer.spread import Spread

if TYPE_CHECKING:
    from graft.auto.config import Config
    from graft.core.types import Dataset
    from graft.evaluate.search import Trial
    from graft.transfer.base import BaseTransfer


def refuse(config: Config, data: Dataset) -> None:
    """Say at once that quantiles are asked for where there are none."""
    if config.quantiles and data.task.kind != "regression":
        raise UsageError(f"quantiles are for a regression, not for {data.task.kind}", hint="leave --quantiles out")


def add_quantiles(model: BaseTransfer, data: Dataset, chosen: Trial, config: Config) -> None:
    """Fit those that are asked for on what the chosen way said of rows held out."""
    assert chosen.outputs is not None
    if config.quantiles:
        rows, said = data.select(chosen.rows), chosen.outputs[chosen.rows]
        model.spread_ = Spread.fit(model, rows, said, config.quantiles, seed=config.seed)
