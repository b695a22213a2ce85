"""``graft predict``, ``evaluate``, ``show`` and ``report``: what is done with a run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from graft.cli.app import Flag, Level, Many, app
from graft.core.errors import UsageError

if TYPE_CHECKING:
    from graft.core.types import Run


@app.command
def predict(
    run: Path,
    data: str,
    *,
    out: Path | None = None,
    encoding: str = "utf-8",
    coverage: Level | None = None,
    format: Literal["csv", "jsonl", "json", "conll", "html"] | None = None,  # noqa: A002  (the option is called so)
    overwrite: Flag = False,
) -> None:
    """Predict every row of a file; CSV with the columns prediction and p_CLASS, in the order of the rows.

    Boxes in pictures are a line each, JSON lines of pictures, or COCO results (a file that ends with .json).
    Tagged sentences are JSON lines with the text and its spans, columns of CoNLL, or a page with coloured spans.

    Rows that cannot be read stay in place with an empty prediction and are named on standard error.

    Parameters
    ----------
    run
        Folder that graft fit wrote.
    data
        File or folder of the same form as the training data; the label column may be missing.
    out
        File to write; standard output if not given.
    encoding
        Encoding of text files.
    coverage
        Share of rows whose truth is to be held (0.9): a column set with so many classes as that takes, a|b, or the columns low and high of a value.
    format
        Of tagged sentences: jsonl, conll or html; of boxes: csv, jsonl or json (COCO results); read off the ending of the file's name if not given.
    overwrite
        Replace the file if it exists.
    """
    from graft.predict import predict_file

    notes: list[str] = []
    options = {"encoding": encoding, "overwrite": overwrite, "coverage": coverage, "form": format, "notes": notes}
    bad = predict_file(run, data, out, **options)
    for note in notes:
        print(note, file=sys.stderr)
    for row, reason in bad[:10]:
        print(f"row {row + 1} of {Path(data).name}: {reason}; its prediction is empty", file=sys.stderr)
    if len(bad) > 10:
        print(f"… and {len(bad) - 10:,} more rows with an empty prediction", file=sys.stderr)


@app.command
def evaluate(
    model: str,
    data: str,
    *,
    label: str | None = None,
    encoding: str = "utf-8",
    level: Level = 0.9,
    rename: Many = (),
    coverage: Level | None = None,
    json: Flag = False,
) -> None:
    """Score a run, or a source with classes of its own, on labelled data.

    Parameters
    ----------
    model
        Folder that graft fit wrote, or a URI such as hf:google/vit-base-patch16-224.
    data
        Labelled file or folder.
    label
        Label column; found if not given.
    encoding
        Encoding of text files.
    level
        Confidence level of the intervals.
    rename
        For a source: pairs LABEL=CLASS where the data call a class by another name (ants=ant bees=bee).
    coverage
        For a run: check its sets of classes, or intervals of values, at this coverage (0.9).
    json
        Print JSON.
    """
    from graft.predict import evaluate_model
    from graft.screen import interval, metric_name, print_json

    pairs = dict(map(_pair, rename))
    facts = evaluate_model(model, data, label=label, encoding=encoding, level=level, rename=pairs, coverage=coverage)
    if json:
        print_json(facts)
        return
    print(f"{facts['name']} on {facts['data']}: {facts['rows']:,} rows")
    for name, value in facts["metrics"].items():
        print(f"  {metric_name(name):<20} {interval(value)}")
    for row in facts.get("per_class", ()):
        shares = "  ".join(f"{name} {row[name]:.3f}" for name in ("precision", "recall", "f1"))
        print(f"    {row['class']:<18} {shares}  ({row['support']:,} {facts['unit']}, {row['predicted']:,} predicted)")
    print("".join(f"  {note}\n" for note in facts["notes"]), end="")


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key or not value:
        raise UsageError(f"{text!r} is not a pair", hint="write LABEL=CLASS")
    return key, value


@app.command
def show(run: Path) -> None:
    """Print the answer of a run.

    Parameters
    ----------
    run
        Folder that graft fit wrote.
    """
    from rich.markup import escape

    from graft.screen import Screen

    record = _read_run(run)
    screen = Screen()
    screen.on_answer(record)
    screen.facts("report", escape(str((run if run.is_dir() else run.parent) / "report.html")))
    screen.heading("Trials")
    for trial in record.trials:
        screen.trial_line(trial["name"], trial["state"], trial["score"], trial["seconds"], trial["reason"])


@app.command
def report(run: Path, *, out: Path | None = None, language: Literal["en", "zh"] = "en") -> None:
    """Write report.html and MODEL_CARD.md of a run again; of an adaptation or a pretraining report.html.

    Parameters
    ----------
    run
        Folder that graft fit, graft adapt or graft pretrain wrote, or a run.json.
    out
        Folder to write to; the run itself if not given.
    language
        en or zh.
    """
    from graft.report import write_adaptation, write_pretraining, write_report

    folder = out or (run if run.is_dir() else run.parent)
    for name, write in (("adapt.json", write_adaptation), ("pretrain.json", write_pretraining)):
        if (run / name).is_file():
            print(write(_read_json(run / name), folder, lang=language))
            return
    print(write_report(_read_run(run), folder, lang=language))


def _read_json(path: Path) -> dict[str, Any]:
    import json

    from graft.core.errors import SourceError

    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SourceError(f"{path} is damaged: {error}", hint="run the command that wrote it again") from error
    return found


def _read_run(run: Path) -> Run:
    import json

    from graft.core.errors import SourceError
    from graft.core.types import Run

    path = run / "run.json" if run.is_dir() else run
    try:
        return Run.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SourceError(f"{run} is not a graft run", hint="give the folder that graft fit wrote") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise SourceError(f"{path} is damaged: {error}", hint="run graft fit again") from error
