"""What a model costs: where it is used, bytes on disk and time per row; while it is trained, bytes of activations."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graft.core.errors import UsageError
from graft.core.rows import evenly_spaced
from graft.core.runtime import bf16_is_faster
from graft.core.types import Dataset
from graft.engine.precision import fast_products
from graft.features import encode
from graft.sources.base import Backbone

ROWS, TIMES = 64, 3  # rows whose time is measured, and how often
PLACES = (0.5, 0.9, 1.0)  # among rows by length: of those whose activations are measured, one after the other


def sample_of(data: Dataset) -> Dataset:
    """A few evenly spaced rows, whose time is measured."""
    return data.select(evenly_spaced(len(data), ROWS))


def milliseconds(run: Callable[[], object], rows: int) -> float:
    """Median time per row of a few runs, after one that warms up."""
    run()
    times = []
    for _ in range(TIMES):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times)) / rows


def model_bytes(backbone: Backbone | None, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> int:
    """What a model takes on disk: the network with its vocabulary, the arrays, and the state as JSON."""
    size = sum(array.nbytes for array in arrays.values()) + len(json.dumps(state))
    if backbone is None:
        return size
    with tempfile.TemporaryDirectory() as folder:
        backbone.save(Path(folder))
        return size + sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())


def network_cost(backbone: Backbone, sample: Dataset) -> dict[str, Any]:
    """``bytes`` on disk, and ``ms`` per row when many are read at a time, as ``graft predict`` does."""
    rows = sample.take()
    precision = encode(backbone, rows, precision="auto").precision
    ms = milliseconds(lambda: encode(backbone, rows, precision=precision), len(sample))
    return {"bytes": model_bytes(backbone, {}, {}), "ms": ms}


def largest_within(costs: list[dict[str, Any]], *, max_ms: float | None, max_mb: float | None) -> int:
    """Number of the largest of some networks (``name``, ``bytes``, ``ms``) that is within both limits.

    Raises:
        UsageError: None is.

    Example:
        >>> largest_within([{"name": "a", "bytes": 9, "ms": 1.0}, {"name": "b", "bytes": 5, "ms": 0.1}], max_ms=0.5, max_mb=None)
        1
    """
    fitting = [
        place
        for place, cost in enumerate(costs)
        if (max_ms is None or cost["ms"] <= max_ms) and (max_mb is None or cost["bytes"] <= 1e6 * max_mb)
    ]
    if fitting:
        return max(fitting, key=lambda place: costs[place]["bytes"])
    given = ((max_ms, "ms per row"), (max_mb, "MB"))
    limits = [f"{most:g} {unit}" for most, unit in given if most is not None]
    found = ", ".join(f"{cost['name']} takes {cost['ms']:.2g} ms and {cost['bytes'] / 1e6:.3g} MB" for cost in costs)
    what = f"no student stays within {' and '.join(limits)}: {found}"
    raise UsageError(what, hint="raise the limit, or name a smaller student")


def kept_bytes(backbone: Backbone, encoded: list[Any], room: float) -> int:
    """Bytes of activations that a training keeps of the longest of some rows.

    Measured on rows of growing length; where the next might take more than ``room``, what the last one keeps, times the
    square of how much longer the longest is, is the answer.
    """
    ordered = sorted(encoded, key=backbone.length)
    size, length, longest = 0, 0, backbone.length(ordered[-1])
    for share in PLACES:
        row = ordered[int(share * (len(ordered) - 1))]
        next_length = max(1, backbone.length(row))
        if length and 3 * size * (next_length / length) ** 2 > room:  # of three rows, see ``_kept``
            break
        if next_length > length:
            size, length = _kept(backbone, row), next_length
    return int(size * (longest / length) ** 2)


def _kept(backbone: Backbone, row: Any) -> int:
    """Bytes that two rows keep beyond those that one does: weights that were rounded for a product are left out."""

    def size(rows: list[Any]) -> int:
        places: dict[int, int] = {}

        def count(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            places[storage.data_ptr()] = storage.nbytes()
            return tensor.detach()  # a result that its own graph held would never be freed

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor), fast_products("cpu", low=low):
            kept = backbone(backbone.collate(rows))  # holds what was saved
        del kept
        return sum(places.values())

    low = bf16_is_faster()
    return max(0, size([row, row]) - size([row]))
