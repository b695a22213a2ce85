"""One cell of a table in a process of its own: one system, one set, one seed.  Prints one line of JSON.

The option ``draw`` stands for all systems: ``{"per_class": 8}`` or ``{"rows": 400}`` of the training rows.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import draws, sets
from benchmarks.systems import SYSTEMS


def main() -> None:
    system, name, seed, data, models = sys.argv[1:6]
    options = json.loads(sys.argv[6])
    wish = options.pop("draw", None)
    with tempfile.TemporaryDirectory() as work:
        train, test = sets.paths(name, Path(data), Path(work))
        if wish:
            train = draws.draw(name, train, wish, int(seed), Path(work) / "rows")
        result = SYSTEMS[system](name, train, test, int(seed), Path(models), **options)
    truth, predicted = np.asarray(result["truth"]).astype(str), np.asarray(result["predicted"]).astype(str)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        json.dumps(
            {
                "accuracy": float((truth == predicted).mean()),
                "n": len(truth),
                "seconds": result["seconds"],
                "peak_bytes": peak,
                "threads": int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1),
                "facts": result.get("facts", {}),
            },
            default=float,
        )
    )


if __name__ == "__main__":
    main()
