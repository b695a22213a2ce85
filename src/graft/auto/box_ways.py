"""Which ways are tried on pictures with boxes."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from graft.auto.ways import RESERVE, SLACK, Ways
from graft.core.errors import UsageError
from graft.core.registry import TRANSFERS
from graft.core.types import RankRow
from graft.data.picture_sizes import sizes
from graft.evaluate.cost import TRAINING, opening_bytes
from graft.evaluate.search import Candidate
from graft.sources.base import open_model
from graft.transfer.maps import MapReader

if TYPE_CHECKING:
    from graft.auto.state import State

BOXES = ("mean_boxes", "hand_boxes", "box_probe", "detector", "detector_scratch", "detr")
TIMED = 4  # pictures of the pass that is timed
LEAST = 8  # passes over the pictures below which training is not worth the while
TOP = 0.4  # share of the blocks that is trained where it is not all


class BoxWays(Ways):
    """Candidates of a detection: mean boxes, closed forms, and detectors with none, some or all of a source trained."""

    _forward: dict[str, float]

    def __init__(self, state: State) -> None:
        for name in state.config.methods:  # said here, where the ways for boxes are known
            kinds = TRANSFERS[name].kinds
            if not state.data.task.served_by(kinds):
                hint = f"ways for boxes are {', '.join(BOXES)}"
                raise UsageError(f"{name} is for {', '.join(kinds)}, not for detection", hint=hint)
        super().__init__(state)

    def baselines(self) -> Iterator[Candidate]:
        """What needs no source; mean boxes are always among them."""
        yield Candidate("mean_boxes", seconds=TRANSFERS["mean_boxes"].seconds)
        if self.wanted("hand_boxes"):
            yield Candidate("hand_boxes", seconds=TRANSFERS["hand_boxes"].seconds)

    def probes(self) -> Iterator[Candidate]:
        """Closed forms on maps."""
        if self.wanted("box_probe"):
            for row in self.shortlist(2):
                if not TRANSFERS["box_probe"].fits(row.spec):
                    yield self.of("box_probe", row)

    def trained(self) -> Iterator[Candidate]:
        """What is trained: the frozen source first, which costs least."""
        yield from (one for one in self.others() if one.transfer not in BOXES)
        if self.wanted("detr"):
            for row in self.state.ranking.usable:
                if not TRANSFERS["detr"].fits(row.spec):
                    yield self.of("detr", row, **self._seed)
        if self.wanted("detector"):
            fitting = [row for row in self.shortlist(3) if not TRANSFERS["detector"].fits(row.spec)]
            for row in fitting[:2]:
                yield self.of("detector", row, **self._seed)
            for row in fitting[:1]:
                yield self.of("detector", row, **self._seed, blocks=TOP)
                if self._thorough:
                    yield self.of("detector", row, **self._seed, blocks=None)
        if self.wanted("detector_scratch"):
            scratch: Any = TRANSFERS["detector_scratch"]
            yield Candidate("detector_scratch", self._seed, seconds=scratch.seconds, memory=TRAINING, share=0.5)

    def of(self, method: str, row: RankRow, **settings: Any) -> Candidate:
        """A candidate of one source; its time follows from that of a picture at the detector's own size."""
        transfer: Any = TRANSFERS[method](row.spec, **settings)
        forward = self._timed(row) if hasattr(transfer, "cost") else 0.0

        def seconds(rows: int) -> float:
            return float(transfer.cost(rows, forward) if forward else transfer.seconds(rows))

        memory = opening_bytes(row.spec) + (0 if method == "box_probe" else TRAINING)
        return Candidate(method, settings, row.spec, seconds=seconds, memory=memory, share=0.6)

    def _timed(self, row: RankRow) -> float:
        """Seconds that a picture takes through a source at the detector's own size; 0 where that cannot be told."""
        known = self.__dict__.setdefault("_forward", {})
        if row.spec.uri not in known:
            known[row.spec.uri] = 0.0
            with contextlib.suppress(Exception):  # what is wrong with it will be said by the trial itself
                some = self.state.search.select(np.arange(min(TIMED, len(self.state.search))))
                wide, high = np.median(sizes(some), axis=0)
                reader = MapReader.build(open_model(row.spec), (int(high), int(wide)), TRANSFERS["detector"]().size)
                batch = reader.collate(reader.pictures(some))
                start = time.perf_counter()
                with torch.inference_mode():
                    reader.maps(batch)
                known[row.spec.uri] = (time.perf_counter() - start) / len(some)
        return float(known[row.spec.uri])

    def affordable(self, candidate: Candidate) -> Candidate:
        """A training with as many passes as fit into the time left; every other candidate as it is."""
        left = (self.state.clock.left() - RESERVE) * SLACK * candidate.share
        transfer = candidate.make()
        if math.isinf(left) or "epochs" not in transfer.get_params(deep=False) or "epochs" in candidate.settings:
            return candidate
        rows = len(self.state.data)
        passes = transfer.steps(rows) / math.ceil(rows / transfer.batch_size)
        settings = candidate.settings
        while passes > LEAST and self._whole(candidate) > left:
            passes = max(LEAST, 0.8 * passes)
            row = self._row(candidate)
            settings = {**settings, "epochs": round(passes, 1)}
            if row is not None:
                candidate = self.of(candidate.transfer, row, **settings)
            else:
                made: Any = TRANSFERS[candidate.transfer](**settings)
                candidate = dataclasses.replace(candidate, settings=settings, seconds=made.cost)
        return candidate

    def _whole(self, candidate: Candidate) -> float:
        """Predicted seconds of all folds and of the fit after them."""
        folds = sum(candidate.seconds(len(train)) for train, _ in self.state.folds)
        return folds + candidate.seconds(len(self.state.data))
