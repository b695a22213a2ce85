"""The record of a run: what was tried, what it scored, and the answer in words.  Everything the report shows."""

from __future__ import annotations

import dataclasses
import io
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import numpy as np

from graft import __version__
from graft.core.boxes import CLASS, SURE
from graft.core.ragged import flat, lengths
from graft.core.registry import MODALITIES, TRANSFERS
from graft.core.rows import evenly_spaced
from graft.core.runtime import environment
from graft.core.spans import span_counts, types_of
from graft.core.types import Dataset, RankRow, Run
from graft.data.bands import shown
from graft.data.picture_sizes import sizes
from graft.data.series_rows import as_picture as series_picture
from graft.data.series_rows import filled
from graft.data.spectrogram import as_picture, log_mel
from graft.data.written import in_brackets
from graft.evaluate.metrics import confusion, evaluate, per_class, reliability
from graft.evaluate.passes import Passes, stacked
from graft.evaluate.search import Trial
from graft.evaluate.selection import selected_score
from graft.nn import box_metrics
from graft.nn.calibration import fit_temperature
from graft.nn.heads import to_outputs
from graft.trust.audit import audit_sentences, hardest, label_sentences, mislabelled
from graft.trust.boxes import box_sentences, counted, drawn, hard_pictures
from graft.trust.guard import Verdict
from graft.trust.spans import error_sentences, hard_sentences, span_errors

if TYPE_CHECKING:
    from graft.auto import AutoFit, Config
    from graft.transfer.base import BaseTransfer

PICTURES, DRAWN = 8, 320  # pictures that are drawn with boxes, and their longer side
SHOWN = 20  # rows in the tables of hard and doubtful rows
Score = tuple[float, float, float]


def data_facts(data: Dataset) -> dict[str, Any]:
    """What was understood of a data set, for the screen and the report."""
    modality = MODALITIES[data.task.modality]
    facts: dict[str, Any] = {
        "name": data.name,
        "rows": len(data),
        "columns": list(data.columns),
        "notes": list(data.notes),
        "facts": modality.describe(data),
        "example": modality.walk(data, 0),
    }
    if data.task.is_tagging:
        spans = span_counts(data.y, data.y, len(types_of(data.task.classes))).sum(axis=0)[:, 1]
        facts["per_class"] = dict(zip(types_of(data.task.classes), spans.tolist(), strict=True))
        facts["facts"]["words"] = int(lengths(data.y).sum())
        facts["example"].append(("spans", in_brackets(data.take(slice(0, 1))[0], data.labels[0])))
    elif data.task.is_detection:
        kinds = flat(data.y)[:, CLASS].astype(int) if any(map(len, data.y)) else np.zeros(0, int)
        facts["per_class"] = dict(
            zip(data.task.classes, np.bincount(kinds, minlength=data.task.outputs).tolist(), strict=True)
        )
        facts["facts"]["objects"] = len(kinds)
        facts["example"].append(("boxes", counted(data.task, data.y[0])))
    elif data.task.is_multilabel:
        facts["per_class"] = dict(zip(data.task.classes, data.y.sum(axis=0).astype(int).tolist(), strict=True))
    elif data.task.is_classification:
        counts = np.bincount(data.y, minlength=data.task.outputs)
        facts["per_class"] = dict(zip(data.task.classes, counts.tolist(), strict=True))
    else:
        quantiles = np.quantile(data.labels, [0, 0.05, 0.25, 0.5, 0.75, 0.95, 1])
        names = ("min", "q05", "q25", "q50", "q75", "q95", "max")
        facts["target_quantiles"] = dict(zip(names, quantiles.tolist(), strict=True))
    return facts


def trial_score(trial: Trial, data: Dataset, config: Config) -> Score | None:
    """The task's metric of a trial on the rows it predicted, with its interval."""
    if trial.outputs is None or not trial.rows.any():
        return None
    task, found = data.task, _passes([trial], data, np.flatnonzero(trial.rows))
    scores = evaluate(
        task,
        found.y,
        found.outputs[0],
        metrics=(task.metric,),
        groups=found.groups,
        repeats=found.count,
        seed=config.seed,
        level=config.level,
    )
    return scores[task.metric]


def _passes(trials: list[Trial], data: Dataset, rows: np.ndarray) -> Passes:
    groups = None if data.groups is None else data.groups[rows]
    return stacked(data.y[rows], [trial.passes(rows) for trial in trials], groups)


def make_run(auto: AutoFit, chosen: Trial, verdict: Verdict, model: BaseTransfer, fitted_rows: int) -> Run:
    """Put everything that happened into a ``Run``."""
    data, config, task = auto.search, auto.config, auto.search.task
    scores = [trial_score(trial, data, config) for trial in auto.trials]
    final, optimism = _honest_score(auto, chosen)
    baseline = _strongest_baseline(auto.trials, scores, chosen)
    run = Run(
        config={**dataclasses.asdict(config), "budget_seconds": auto.clock.budget, "version": __version__},
        task=dataclasses.asdict(task),
        data={
            **data_facts(auto.data),
            "fingerprint": auto.data.fingerprint(),
            "unlabelled": sum(map(len, auto.unlabelled)),
            "split": _split_facts(auto),
            "ranking_sentences": [*auto.ranking.sentences, *_left_out(auto)],
        },
        ranking=[
            _rank_row(row, apart)
            for row, apart in zip(
                auto.ranking.rows, [None, *auto.ranking.separated, *[None] * len(auto.ranking.rows)], strict=False
            )
        ],
        trials=[_trial_row(trial, value) for trial, value in zip(auto.trials, scores, strict=True)],
        history=[
            {"trial": trial.candidate.name, **point} for trial in auto.trials for point in (trial.curves or [[]])[0]
        ],
        guard={
            "level": config.level,
            "chosen": verdict.chosen,
            "decision": verdict.decision,
            "sentence": verdict.sentence,
            "compared": [dataclasses.asdict(item) for item in verdict.compared],
        },
        environment=environment(),
    )
    _judge(run, auto, chosen)
    if model.spread_ is not None:
        run.metrics["quantiles"] = {"values": list(model.spread_.quantiles), **model.spread_.measured}
    spec = chosen.candidate.spec
    run.answer = {
        "decision": "transfer" if chosen.candidate.transfers else "simpler",
        "trial": chosen.candidate.name,
        "transfer": chosen.candidate.transfer,
        "source": spec.uri if spec else None,
        "source_name": spec.name if spec else None,
        "settings": model.settings(),
        "members": _members(chosen),
        "metric": task.metric,
        "score": list(final),
        "level": config.level,
        "optimism": optimism,
        "baseline": baseline,
        "seconds": round(auto.clock.elapsed(), 1),
        "budget_seconds": auto.clock.budget,
        "ms_per_example": auto.latency,
        "fitted_rows": fitted_rows,
    }
    run.answer["sentence"] = _sentence(run)
    return run


def _honest_score(auto: AutoFit, chosen: Trial) -> tuple[Score, float]:
    """The score of the chosen way, corrected for having been the best of several on the same rows."""
    data, task = auto.search, auto.search.task
    usable = [t for t in auto.trials if t.usable and (t is chosen or not t.candidate.members)]
    usable = list({t.candidate.name: t for t in usable}.values())
    rows = np.flatnonzero(np.logical_and.reduce([t.rows for t in usable]))
    own = trial_score(chosen, data, auto.config)
    assert own is not None
    if len(usable) < 2:
        return own, 0.0
    found = _passes(usable, data, rows)
    picked = selected_score(
        task,
        found.y,
        {trial.candidate.name: outputs for trial, outputs in zip(usable, found.outputs, strict=True)},
        level=auto.config.level,
        seed=auto.config.seed,
        groups=found.groups,
        repeats=found.count,
    )
    shift = max(0.0, picked.optimism)
    value, low, high = own
    return (value - shift, low - shift, high - shift), shift


def _strongest_baseline(trials: list[Trial], scores: list[Score | None], chosen: Trial) -> dict[str, Any] | None:
    """The best simple model beside the chosen one."""
    found = [
        (value[0], trial.candidate.name, value)
        for trial, value in zip(trials, scores, strict=True)
        if value and trial.usable and trial is not chosen and TRANSFERS[trial.candidate.transfer].simplicity <= 1
    ]
    if not found:
        return None
    _, name, value = max(found)
    return {"name": name, "score": list(value)}


def _judge(run: Run, auto: AutoFit, chosen: Trial) -> None:
    """Metrics, confusion, reliability and doubtful rows of the chosen way on held-out rows."""
    data, task = auto.search, auto.search.task
    rows = np.flatnonzero(chosen.rows)
    found = _passes([chosen], data, rows)
    y, outputs = found.y, found.outputs[0]
    if task.is_classification:
        # the model that is returned carries this one temperature too
        logits = np.log(outputs.clip(1e-12))
        outputs = to_outputs(logits, task, fit_temperature(logits, y, prior=1))
    seed, level = auto.config.seed, auto.config.level
    metrics = evaluate(task, y, outputs, groups=found.groups, repeats=found.count, seed=seed, level=level)
    run.metrics = {name: list(value) for name, value in metrics.items()}
    y, outputs = y[: len(rows)], outputs[: len(rows)]  # tables and curves count every row once: its first pass
    if task.is_tagging:
        run.metrics["per_class"] = per_class(task, y, outputs)
        hard_ones = hard_sentences(task, data.select(rows), outputs, SHOWN)
        run.metrics["hardest"] = [_row(item, data.select(rows)) for item in hard_ones]
        run.audit = {"sentences": error_sentences(span_errors(task, y, outputs))}
        return
    if task.is_detection:
        _judge_boxes(run, data.select(rows), y, outputs)
        return
    if task.is_multilabel:
        run.metrics["per_class"] = per_class(task, y, outputs)
        hard = hardest(task, y, outputs, top=SHOWN)
        run.metrics["hardest"] = [_row(item, data.select(rows)) for item in hard]
        run.audit = {"sentences": label_sentences(task, y, outputs)}
        return
    if not task.is_classification:
        truth, guess = task.decode(y), task.decode(outputs)
        some = evenly_spaced(len(rows), 500)
        run.metrics["scatter"] = [[float(a), float(b)] for a, b in zip(truth[some], guess[some], strict=True)]
        names = ("q05", "q25", "q50", "q75", "q95")
        residual = np.quantile(guess - truth, [0.05, 0.25, 0.5, 0.75, 0.95])
        run.metrics["residuals"] = dict(zip(names, residual.tolist(), strict=True))
        return
    run.metrics["confusion"] = confusion(task, y, outputs).tolist()
    run.metrics["per_class"] = per_class(task, y, outputs)
    run.metrics["reliability"] = reliability(task, y, outputs)
    hard, doubtful = hardest(task, y, outputs, top=SHOWN), mislabelled(task, y, outputs, top=SHOWN)
    run.metrics["hardest"] = [_row(item, data.select(rows)) for item in hard]
    run.metrics["mislabelled"] = [_row(item, data.select(rows)) for item in doubtful]
    run.audit = {"sentences": audit_sentences(task, y, outputs)}


def _judge_boxes(run: Run, data: Dataset, y: np.ndarray, outputs: np.ndarray) -> None:
    """Tables, curves and pictures of boxes, at the thresholds that the model that is returned has too."""
    least = box_metrics.thresholds(y, outputs, data.task.outputs, SURE)
    task = dataclasses.replace(data.task, thresholds=least)
    run.metrics["per_class"] = per_class(task, y, outputs)
    found = zip(task.classes, box_metrics.matches(y, outputs, (0.5,)), strict=False)
    run.metrics["precision_recall"] = {name: box_metrics.curve(one) for name, one in found if one.objects.any()}
    run.metrics["hardest"] = []
    for item in hard_pictures(task, y, outputs, PICTURES):
        one = data.select(np.array([item["row"]]))
        picture = drawn(one.take()[0], y[item["row"]], item.pop("given"), sizes(one)[0], DRAWN)
        run.metrics["hardest"].append(_row(item, data) | {"thumbnail": _thumbnail(picture, DRAWN)})
    run.audit = {"sentences": box_sentences(task, y, outputs)}


def _row(item: Any, data: Dataset) -> dict[str, Any]:
    """A doubtful row with what a person needs to judge it."""
    facts = dataclasses.asdict(item) if dataclasses.is_dataclass(item) else dict(item)
    position = int(facts["row"])
    storage = int(data.rows[position])
    facts["row"] = storage
    if data.line_of is not None:
        facts["line"] = int(data.line_of[storage])
    example = data.take(slice(position, position + 1))
    if data.task.modality == "image":
        facts["thumbnail"] = _thumbnail(shown(example[0]))
    elif data.task.modality == "audio":
        values = log_mel(example[0].samples, example[0].rate)
        facts["thumbnail"] = _thumbnail(as_picture(values, values.min(), values.max()))
        facts["input"] = data.X.name(storage)  # type: ignore[attr-defined]
    elif data.task.modality == "series":
        facts["thumbnail"] = _thumbnail(series_picture(filled(example[0])))
        facts["input"] = f"{len(example[0])} steps"
    elif data.task.modality == "counts":
        pairs = zip(example[0].indices[:8].tolist(), example[0].values[:8].tolist(), strict=True)
        facts["input"] = ", ".join(f"feature_{index}={value:g}" for index, value in pairs)
    elif data.task.modality == "table":
        facts["input"] = ", ".join(f"{key}={value[0]}" for key, value in list(example.items())[:8])
    else:
        text = example[0] if isinstance(example[0], str) else " ⁂ ".join(example[0])
        facts["input"] = text if len(text) <= 240 else text[:239] + "…"
    return facts


def _thumbnail(picture: np.ndarray, side: int = 96) -> str:
    from PIL import Image

    image = Image.fromarray(picture)
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=80)
    return "data:image/jpeg;base64," + b64encode(buffer.getvalue()).decode("ascii")


def _split_facts(auto: AutoFit) -> dict[str, Any]:
    many = len(auto.folds) > 1
    return {
        "kind": f"{len(auto.folds)}-fold" if many else "holdout",
        "folds": len(auto.folds),
        "train": len(auto.folds[0][0]),
        "test": len(auto.scored),
        "grouped": auto.search.groups is not None,
        "searched": len(auto.search),
        "repeats": 1 + max((len(trial.repeats) for trial in auto.trials), default=0),
    }


def _left_out(auto: AutoFit) -> list[str]:
    said = [f"{spec.name}: {note}" for spec, note in auto.noticed]
    return [*said, *(f"{spec.name} was not considered: {reason}" for spec, reason in auto.left_out)]


def _rank_row(row: RankRow, apart: bool | None) -> dict[str, Any]:
    return {
        "uri": row.spec.uri,
        "name": row.spec.name,
        "parameters": row.spec.parameters,
        "cost_ms": 1000 * row.cost,
        "seconds": row.seconds,
        "scores": {name: list(value) for name, value in row.scores.items()},
        "failure": row.failure,
        "separated": apart,
        "licence": row.spec.licence,
        "languages": list(row.spec.languages),
    }


def _trial_row(trial: Trial, value: Score | None) -> dict[str, Any]:
    candidate = trial.candidate
    return {
        "name": candidate.name,
        "source": candidate.spec.uri if candidate.spec else None,
        "source_name": candidate.spec.name if candidate.spec else None,
        "transfer": candidate.transfer,
        "settings": candidate.settings,
        "members": _members(trial),
        "baseline": TRANSFERS[candidate.transfer].simplicity <= 1,
        "state": trial.state,
        "score": list(value) if value else None,
        "seconds": round(trial.seconds, 3),
        "predicted_seconds": round(trial.predicted_seconds, 3),
        "ms_per_example": trial.ms_per_example,
        "folds": trial.folds,
        "repeats": 1 + len(trial.repeats),
        "reason": trial.reason,
    }


def _members(trial: Trial) -> list[dict[str, Any]]:
    """What an ensemble is the mean of, the weightiest first; empty for everything else."""
    pairs = zip(trial.candidate.members, trial.candidate.settings.get("weights", ()), strict=False)
    return [
        {
            "name": one.name,
            "transfer": one.transfer,
            "source": one.spec.uri if one.spec else None,
            "settings": one.settings,
            "weight": weight,
        }
        for one, weight in sorted(pairs, key=lambda pair: -pair[1])
    ]


def _sentence(run: Run) -> str:
    """The answer in one plain sentence; intervals and the guard's reasons stand beside it."""
    answer = run.answer
    value, metric, baseline = answer["score"][0], answer["metric"], answer["baseline"]
    name = answer["trial"][:1].upper() + answer["trial"][1:]
    text = {
        "accuracy": f"{name} gets {value:.1%} of unseen rows right",
        "macro_f1": f"{name} reaches a macro F1 of {value:.3f} on unseen rows",
        "quadratic_kappa": f"{name} reaches a quadratic kappa of {value:.3f} on unseen rows",
        "r2": f"{name} explains {value:.0%} of the variance of unseen rows",
        "micro_f1": f"{name} finds labels with an F1 of {value:.3f} in unseen rows",
        "map": f"{name} reaches a mAP of {value:.3f} in unseen pictures",
        "entity_f1": f"{name} finds spans with an F1 of {value:.3f} in unseen sentences",
    }[metric]
    if baseline and TRANSFERS[answer["transfer"]].simplicity > 1:
        gap = 100 * (value - baseline["score"][0])
        return f"{text}, {abs(gap):.1f} points {'more' if gap >= 0 else 'less'} than {baseline['name']}."
    tried = any(trial["source"] and trial["state"] == "done" for trial in run.trials)
    return f"{text}; no transfer that was tried beats it beyond noise." if tried else f"{text}."
