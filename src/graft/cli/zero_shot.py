"""``graft zero-shot``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter, validators

from graft.cli.app import Flag, Level, Many, Natural, Positive, app, load_data, typed

if TYPE_CHECKING:
    from graft.core.types import Dataset
    from graft.screen import Screen

Rate = Annotated[float, Parameter(validator=validators.Number(gt=0, lt=1))]


@app.command
def zero_shot(
    data: str,
    *,
    classes: str | None = None,
    model: str | None = None,
    label: str | None = None,
    templates: Many = (),
    calibration: Literal["auto", "none", "context", "mean", "match"] = "auto",
    temperature: Positive | None = None,
    none: Rate | None = None,
    background: str | None = None,
    attribute_table: Path | None = None,
    seen: str | None = None,
    method: Literal["dap", "eszsl"] = "dap",
    only_unseen: Flag = False,
    encoding: str = "utf-8",
    level: Level = 0.9,
    seed: Natural = 0,
    out: Path | None = None,
    overwrite: Flag = False,
    quiet: Flag = False,
) -> None:
    """Classify rows that have no labels, by the names or descriptions of the classes.

    The rows themselves are used to take out the preference that a source has
    for some names. With a table of attributes, labelled rows of some classes
    teach what the attributes look like, and the other classes need none.

        graft zero-shot mails.txt --classes "complaint, order, question"
        graft zero-shot photos --model clip:openai/clip-vit-base-patch32 --classes classes.json
        graft zero-shot animals.csv --attribute-table traits.csv --seen labelled.csv

    Parameters
    ----------
    data
        File or folder; no label is looked at, but for the score at the end.
    classes
        Names with commas between, or a file: .txt with a class per line (a description behind a tab), .json or .toml with descriptions. The names in the label column if not given.
    model
        Source: a sentence model (sbert:), word vectors (vectors:), an NLI classifier (hf:) or CLIP (clip:). With --attribute-table whatever reads the rows; tables need none. all-MiniLM-L6-v2 for English text if not given.
    label
        Label column, for a score with its interval; found among the columns if it has a usual name.
    templates
        Sentences with {} for the name of the class, instead of the usual ones.
    calibration
        How the preference for some names is taken out: context (of rows that say nothing), mean or match (of the rows), or none.
    temperature
        Of the softmax; smaller is surer.
    none
        Adds the class “none of these”: the share of rows of no class that may get one all the same.
    background
        Rows that belong to no class, from which the threshold of --none is counted; otherwise it is read off the rows.
    attribute_table
        CSV of classes by attributes, numbers; the first column names the class.
    seen
        Labelled rows of some of these classes.
    method
        With --attribute-table: dap (a model of each attribute) or eszsl (a bilinear map).
    only_unseen
        With --attribute-table: predict only classes without labelled rows.
    encoding
        Encoding of text files.
    level
        Confidence level of the intervals.
    seed
        Seed of everything random.
    out
        Folder to write; runs/NAME-zero-shot if not given.
    overwrite
        Replace the folder if it exists.
    quiet
        Print only the result.
    """
    from shlex import quote

    from rich.markup import escape

    from graft.core.errors import UsageError
    from graft.core.folder import RunFolder, free_name
    from graft.core.runtime import Clock
    from graft.core.store import Store
    from graft.screen import Screen
    from graft.transfer.base import Setting

    clock = Clock()
    if (attribute_table is None) != (seen is None):
        raise UsageError("attributes need labelled rows of some classes", hint="give both --attribute-table and --seen")
    by_words = {"--classes": classes, "--templates": templates, "--temperature": temperature, "--none": none,
                "--background": background}  # fmt: skip
    mixed = next((name for name, value in by_words.items() if value), None)
    if attribute_table is not None and mixed:
        raise UsageError(f"{mixed} is for classes in words, not for --attribute-table", hint="leave it out")
    options: dict[str, Any] = {"source": model, "seed": seed}
    if attribute_table is None:
        options |= {"templates": list(templates) or None, "calibration": calibration, "temperature": temperature}
        options |= {"none": none, "classes": _classes(classes) if classes else None}
        options["source"] = model or "sbert:all-MiniLM-L6-v2"
    else:
        options |= {"attributes": str(attribute_table), "method": method, "generalised": not only_unseen}
    for file in filter(None, (data, seen, background)):
        if not Path(file).exists():
            load_data(file)
    out = out or free_name(Path("runs") / f"{Path(data).resolve().name.split('.')[0]}-zero-shot")
    facts = {"data": str(Path(data).resolve()), "label": label, "encoding": encoding, **options}
    folder = RunFolder(out, facts, overwrite=overwrite)
    try:
        with Screen(quiet=quiet, clock=clock) as screen:
            setting = Setting(clock, screen.progress, store=Store())
            reading = {"encoding": encoding, "workdir": folder.partial / "data"}
            if attribute_table is None:
                fitted = _by_words(data, options, background, label=label, reading=reading, setting=setting)
            else:
                fitted = _by_attributes(str(seen), options, label=label, encoding=encoding, setting=setting)
            _report(fitted, data, screen, folder.result, label=label, encoding=encoding, level=level)
            folder.finish()
    except BaseException as error:
        folder.leave(error, clock.elapsed())
        raise
    screen.facts("predictions", escape(str(folder.out / "predictions.csv")), always=True)
    screen.facts("next", escape(f"graft predict {quote(str(folder.out))} NEW_DATA --out new.csv"), always=True)


def _classes(text: str) -> dict[str, list[str]]:
    from graft.zero_shot.wording import read_classes

    return {name: list(described) for name, described in read_classes(text).items()}


def _by_words(
    data: str,
    options: dict[str, Any],
    background: str | None,
    *,
    label: str | None,
    reading: dict[str, Any],
    setting: Any,
) -> Any:
    from graft.core.registry import ZERO_SHOTS

    rows = load_data(data, label=label, labelled=options["classes"] is None, **reading)
    rows = rows.one_label_per_row("graft zero-shot")
    more = load_data(background, labelled=False, encoding=reading["encoding"]) if background else None
    return ZERO_SHOTS["zero_shot"](**options).fit(rows, background=more, setting=setting)


def _by_attributes(seen: str, options: dict[str, Any], *, label: str | None, encoding: str, setting: Any) -> Any:
    from graft.core.registry import ZERO_SHOTS

    rows: Dataset = load_data(seen, label=label, task="classification", encoding=encoding)
    return ZERO_SHOTS["attributes"](**options).fit(rows, setting=setting)


def _report(
    model: Any, data: str, screen: Screen, folder: Path, *, label: str | None, encoding: str, level: float
) -> None:
    """Write the model, ``predictions.csv`` and ``zero_shot.json``, and show what they say."""
    import json
    from shlex import join

    from rich.markup import escape

    from graft.screen import interval, metric_name

    model.save(folder)
    record: dict[str, Any] = {**model.record_, "classes": list(model.task_.classes), "level": level}
    record["predicted"], found = _predict(model, data, folder / "predictions.csv", label=label, encoding=encoding)
    record |= {"model": model.settings()["source"], "command": join(["graft", *typed])}
    record["scores"], record["scored"] = _scores(model, *found, level=level) if found else ({}, 0)
    text = json.dumps(record, ensure_ascii=False, indent=1, default=float)
    (folder / "zero_shot.json").write_text(text, encoding="utf-8", errors="backslashreplace")
    screen.heading("Zero-shot classification")
    screen.facts("source", escape(str(record["model"] or "the columns themselves")))
    if "calibration" in record:
        rows = f" over {record['rows']:,} rows" if record["calibration"] in {"mean", "match"} else ""
        screen.facts("calibration", f"{record['calibration']}{rows}")
        if model.none is not None:
            screen.facts("none of these", _about_none(record["none"]), always=True)
    else:
        screen.facts("classes", escape(f"{len(record['seen'])} seen, {len(record['unseen'])} unseen"))
    shares = sorted(record["predicted"].items(), key=lambda item: -item[1])
    shown = ", ".join(f"{name} {count:,}" for name, count in shares[:8]) + (" …" if len(shares) > 8 else "")
    screen.facts("predicted", escape(shown), always=True)
    for name, value in record["scores"].items():
        words = f"[bold]{interval(value)}[/bold]  {level:.0%} interval, {record['scored']:,} labelled rows"
        screen.facts(metric_name(name), words, always=True)


def _about_none(facts: dict[str, Any] | None) -> str:
    if facts is None:
        return "nothing tells rows of no class apart in these rows: every row gets a class; --background would help"
    wrong = f"{facts['error']:.0%} of rows of no class may get one"
    if facts["how"] == "background":
        return f"{wrong}, counted on the background"
    return f"{wrong}, {facts['lost']:.0%} of the others none, by a mixture of two normal distributions (not counted)"


def _predict(
    model: Any, data: str, path: Path, *, label: str | None, encoding: str
) -> tuple[dict[str, int], tuple[Any, Any] | None]:
    """Write a row for every row: prediction, margin over the second class, probabilities; counts, and what can be scored."""
    import csv
    from collections import Counter

    import numpy as np

    from graft.data.stream import stream

    classes, counts = model.task_.classes, Counter[str]()
    outputs, labels = [], []
    how = {**model.recipe_, "label": label or model.recipe_["label"]}
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["prediction", "margin", *(f"p_{name}" for name in classes)])
        for chunk in stream(data, how, encoding=encoding):
            rows = {number: [""] * (2 + len(classes)) for number, _ in chunk.bad}
            if len(chunk.data):
                found = model.outputs(chunk.data)
                second, first = np.sort(found, axis=1)[:, -2:].T
                said = model.task_.decode(found)
                counts.update(said.tolist())
                cells = zip(said, first - second, found, strict=True)
                written = ([name, f"{gap:.6f}", *(f"{p:.6f}" for p in chances)] for name, gap, chances in cells)
                rows |= dict(zip(chunk.row_numbers.tolist(), written, strict=True))
                outputs.append(found)
                labels.append(chunk.labels if chunk.labels is not None else np.full(len(found), None))
            writer.writerows(rows[number] for number in sorted(rows))
    if not outputs:
        return dict(counts), None
    return dict(counts), (np.concatenate(labels), np.concatenate(outputs))


def _scores(model: Any, labels: Any, outputs: Any, *, level: float) -> tuple[dict[str, Any], int]:
    """Accuracy of the rows whose label is a class, with its interval; of seen and unseen classes where there are both."""
    import numpy as np

    from graft.core.errors import DataError
    from graft.evaluate.metrics import evaluate

    index = {name: i for i, name in enumerate(model.task_.classes)}
    y = np.array([index.get(str(name).strip(), -1) for name in labels])
    known = y >= 0
    if not known.any():
        return {}, 0
    found = evaluate(model.task_, y[known], outputs[known], metrics=("accuracy", "macro_f1"), level=level)
    scores: dict[str, Any] = {name: list(value) for name, value in found.items()}
    if "seen" in model.record_:
        from graft.zero_shot.generalised import harmonic

        try:
            parts = harmonic(model.task_, y[known], outputs[known], model.record_["seen"], level=level)
            scores |= {name: list(value) for name, value in parts.items()}
        except DataError:  # rows of only one kind of class
            pass
    return scores, int(known.sum())
