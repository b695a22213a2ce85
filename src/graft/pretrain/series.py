"""What objectives over time series share: they are those over sounds, with steps of numbers in the place of spectra."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from graft.core.errors import UsageError
from graft.core.types import Dataset
from graft.data.series_rows import as_picture
from graft.pretrain.pictures import sheet
from graft.pretrain.sounds import SoundPretrain
from graft.sources.series import SeriesReader


class SeriesPretrain(SoundPretrain):
    """Base of objectives over time series; it stands before one over sounds.

    A step holds every channel twice (``sources.series.SeriesReader``): as the training series scale it, and as its own
    series does.
    """

    modality: ClassVar[str] = "series"
    unit: ClassVar[str] = "series"

    def _reader(self, data: Dataset, form: str) -> SeriesReader:
        del form
        if self.length is not None:
            raise UsageError(f"{self.label} has no option --length", hint="all steps of a series are read")
        return SeriesReader.of(data)

    def _measure(self, objective: Any) -> list[dict[str, Any]]:
        return super()._measure(objective)[:1]  # the others are in decibels

    def _sheet(self, rows: list[Tensor], real: Tensor) -> str:
        """Rows of series (B, T, F) below each other, as lines."""
        pictures = []
        ends = real.sum(dim=1).long().tolist()
        for row in rows:
            values = row.float().cpu().numpy()[:, :, : self.reader_.count]
            pictures.append(np.stack([as_picture(one[:end]) for one, end in zip(values, ends, strict=True)]))
        return sheet(pictures)

    def _facts(self) -> dict[str, Any]:
        reader = self.reader_
        found = {"train_series": len(self.train_), "held_out_series": len(self.held_out_)}
        return {**found, "channels": reader.count, "steps_in_one": reader.step}
