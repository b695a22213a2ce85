"""Learn the rule that graft ships: what evidence without labels is worth, on shifts of data that judge nothing else.

    python -m benchmarks.rule --data shared/data --work build/rule --out src/graft/unlabelled/pooled.json

No set, and no pair of domains, of ``experiments/shifts.toml`` is among them.  Every case is a source with at most 400 labelled rows,
a target, and all adaptations of numbers; its gains are counted on all rows of the target.  Shifts of one family of sets are left
out together where the rule is checked.  An interrupted run goes on where it stood.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.development import FAMILIES, PAIRS, REVIEWS, reviews
from benchmarks.drifts import Rows, drifted
from benchmarks.shifts import BASE, _plain

SIZES = (170, 260, 400)  # rows of a source
TIMES = 1  # draws of each shift
HARMFUL, WORST = 0.0, 0.3  # no harm on any of them, as users' data are another family
Case = tuple[Any, Any, Any, np.ndarray]  # source, target, further rows of the target, classes of both


def cases(data: Path) -> Iterator[tuple[str, str, Callable[[], Case]]]:
    """Name, family and rows of every case."""
    for time in range(TIMES):
        for family, sets in FAMILIES.items():
            for name, (make, kinds) in sets.items():
                for number, kind in enumerate(kinds):
                    yield (
                        f"{name}, {kind}, {time}",
                        family,
                        lambda m=make, k=kind, s=(time, number): _drifted(m(data), k, *s),
                    )
        for family, pairs in PAIRS.items():
            for name, (one, two) in pairs.items():
                yield f"{name}, {time}", family, lambda a=one, b=two, t=time: _pair(a(data), b(data), t)
        for name, kind in REVIEWS:
            yield f"{name}, {kind}, {time}", "reviews", lambda n=name, k=kind, t=time: reviews(data, n, k, t)


def _drifted(rows: Rows, kind: str, time: int, number: int) -> Case:
    count = int(np.random.default_rng([time, number, len(rows.y)]).choice(SIZES))
    return _loaded(*drifted(rows, kind, count=count, seed=100 + 17 * time + number))


def _pair(one: Rows, two: Rows, time: int) -> Case:
    rng = np.random.default_rng([time, 1])
    size = min(SIZES[-1], len(one.y), len(two.y) // 2)
    first, second = rng.permutation(len(one.y)), rng.permutation(len(two.y))
    parts = [(one, first[:size]), (two, second[:size]), (two, second[size:])]
    return _loaded(*(Rows(rows.X[some], rows.y[some], rows.Z[some], rows.side) for rows, some in parts))


def _loaded(source: Rows, target: Rows, more: Rows) -> Case:
    from graft.data.load import load

    labelled = load((_plain(source.X), source.y), name="source", task="classification")
    sides = [load((_plain(one.X), one.y), like=labelled) for one in (target, more)]
    y = np.concatenate([side.y for side in sides])
    return labelled, dataclasses.replace(sides[0], y=None), dataclasses.replace(sides[1], y=None), y


def measured(name: str, family: str, case: Case, seed: int = 0) -> list[dict[str, Any]]:
    """One trial of each adaptation, as plain data: evidence as ``graft adapt`` sees it, and the gain on all target rows."""
    from graft.adaptation.shallow import Matrices
    from graft.auto.adapt import HELD_OUT
    from graft.core.errors import GraftError
    from graft.core.registry import ADAPTATIONS, MODALITIES
    from graft.data.splits import holdout
    from graft.nn.heads import to_outputs
    from graft.unlabelled.learning import trials_on
    from graft.unlabelled.observed import Observed, contrast
    from graft.unlabelled.ratio import density_ratio

    source, target, more, y = case
    vectors = MODALITIES[source.task.modality].vectors().fit(source)
    Xs, Xt, further = (vectors.transform(side) for side in (source, target, more))
    train, held = holdout(source, test=HELD_OUT, seed=seed)
    rows = Matrices(Xs, source.y, Xt, np.zeros(len(source), np.int64), source.task.outputs)
    part = dataclasses.replace(rows, source=rows.source[train], y=rows.y[train], origin=rows.origin[train])
    ratio = density_ratio(rows.source, rows.target, seed=seed)[held]
    seen, every = {}, {}
    for method in (BASE, *(key for key, one in ADAPTATIONS.items() if one.tried and not one.trains and key != BASE)):
        model = ADAPTATIONS[method]()
        try:
            model.fit_numbers(part)
        except (GraftError, ValueError, np.linalg.LinAlgError):
            continue
        own, others, held_out = (
            to_outputs(scores, source.task)
            for scores in (model.scores(rows.target), model.scores(further), model.source_scores(rows.source[held]))
        )
        label = ADAPTATIONS[method].label
        seen[label] = Observed(own, held_out, rows.y[held], rows.target, rows.source[held], ratio)
        every[label] = Observed(np.concatenate([own, others]))
    base = ADAPTATIONS[BASE].label
    first, plain = seen.pop(base), every.pop(base)
    evidence = contrast(first, seen)
    found = trials_on(name, y, plain, every, family)
    return [dataclasses.asdict(dataclasses.replace(one, evidence=evidence[one.candidate])) for one in found]


def main() -> None:
    """Measure what is missing, learn, and write the rule."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("data", "work", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    folders = parser.parse_args()
    from graft.unlabelled.learning import Trial, learn, written

    folders.work.mkdir(parents=True, exist_ok=True)
    trials: list[Trial] = []
    for name, family, make in cases(folders.data):
        path = folders.work / f"{name}.json"
        if not path.exists():
            path.write_text(json.dumps(measured(name, family, make())), encoding="utf-8")
        own = [Trial(**one) for one in json.loads(path.read_text(encoding="utf-8"))]
        print(f"{name:<34}", {one.candidate: round(one.gain, 3) for one in own}, flush=True)
        trials += own
    rule = learn(trials, harmful=HARMFUL, worst=WORST)
    folders.out.write_text(written(rule), encoding="utf-8")
    print(f"{rule.shifts} shifts of {rule.families} families, those of a family left out together: rank correlation "
          f"{rule.rank:.2f}, harmful {rule.harmful:.1%}, kept {rule.kept:.0%}, threshold {rule.threshold:.4f}")  # fmt: skip


if __name__ == "__main__":
    main()
