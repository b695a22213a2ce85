"""``graft label``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter, validators

from graft.cli.app import Budget, Flag, Level, Many, Natural, app
from graft.core.errors import UsageError

if TYPE_CHECKING:
    from graft.active.labeller import Labeller
    from graft.active.reading import Partly
    from graft.active.sheet import Answer
    from graft.core.types import Dataset
    from graft.screen import Screen

Rows = Annotated[int, Parameter(validator=validators.Number(gte=1, lt=2**31))]


@app.command
def label(
    data: str,
    *,
    rows: Rows = 20,
    out: Path | None = None,
    ask: Flag = False,
    add: Path | None = None,
    strategy: Literal[
        "auto", "random", "kmeans", "typiclust", "probcover", "core_set", "margin", "entropy", "badge",
        "diverse_margin", "greedy_values",
    ] = "auto",
    label: str | None = None,
    inputs: Many = (),
    classes: Many = (),
    new_classes: Flag = False,
    test: str | None = None,
    models: Many = (),
    task: Literal["classification", "regression"] | None = None,
    modality: Literal["text", "image", "audio", "sequence", "series", "table"] | None = None,
    encoding: str = "utf-8",
    budget: Budget = "5m",
    level: Level = 0.9,
    seed: Natural = 0,
    overwrite: Flag = False,
    quiet: Flag = False,
) -> None:  # fmt: skip
    """Propose the rows to label next, and say what more labels may bring.

    The label column of DATA has empty cells, or is empty, or is not there
    yet. The proposed rows go into a sheet with an empty label column; fill
    it in, or answer on the terminal (--ask), and bring the labels back:

        graft label reviews.csv --rows 30 --out sheet.csv
        graft label reviews.csv --add sheet.csv --out reviews-2.csv

    With few labels, rows that stand for many others come first; later those
    on which a model hesitates. No row is proposed twice, and no copy of one.

    Parameters
    ----------
    data
        Partly labelled CSV, TSV, JSON lines or Parquet file, or a folder of pictures or sounds.
    rows
        Rows to propose.
    out
        Sheet to write (NAME-to-label.csv if not given); with --add, the data with the new labels.
    ask
        Ask for one label at a time on the terminal; every answer is in the sheet before the next question. An interrupted sitting goes on with the same --out.
    add
        A sheet that was filled in: write DATA with these labels to --out.
    strategy
        auto; blind to labels: random, kmeans, typiclust, probcover, core_set; by a model's doubts: margin, entropy, badge, diverse_margin; for numbers: greedy_values.
    label
        Label column; found by its name if not given.
    inputs
        Input columns; found if not given.
    classes
        All classes; others are refused then. What the labels so far show, if not given.
    new_classes
        With --add: take labels of classes that are not known yet.
    test
        Labelled file of rows that were drawn at random, for an honest score: a sheet of --strategy random will do. They are neither learned from nor proposed.
    models
        Sources to look at the rows with: URIs or folders; the one within reach that does best if not given.
    task
        classification or regression; read off the labels if not given.
    modality
        text, image, audio, sequence, series or table; guessed if not given.
    encoding
        Encoding of text files.
    budget
        Time for everything: 90s, 2m.
    level
        Confidence level of intervals.
    seed
        Seed of everything random.
    overwrite
        Replace the file if it exists.
    quiet
        Print only what was written.
    """
    from graft.active.reading import read_partly
    from graft.core.runtime import Clock, parse_budget
    from graft.screen import Screen

    if add is not None and (out is None or ask):
        raise UsageError("--add writes the data with the new labels", hint="name the file with --out, without --ask")
    reading = {"inputs": inputs or None, "modality": modality, "encoding": encoding}
    with Screen(quiet=quiet) as screen:
        partly = read_partly(data, label=label, classes=classes, task=task, **reading)
        if add is not None and out is not None:
            _add(data, partly, add, out, screen, new_classes=new_classes, encoding=encoding, overwrite=overwrite)
            return
        sheet = out or Path(f"{Path(data).resolve().name.split('.')[0]}-to-label.csv")
        earlier = _earlier(sheet, partly, ask=ask, overwrite=overwrite)
        from graft.active.answers import checked
        from graft.active.labeller import Labeller
        from graft.active.reading import with_labels
        from graft.active.sheet import lines_of, write_sheet

        if earlier:
            partly = with_labels(partly, checked(partly, earlier[1], new_classes=True))
        apart, partly = _apart(test, partly, encoding) if test is not None else (None, partly)
        clock = Clock(parse_budget(budget))
        labeller = Labeller(
            partly.data, source=_sources(models, partly), strategy=strategy, seed=seed, clock=clock,
            progress=screen.progress,
        )  # fmt: skip
        proposals = labeller.propose(rows)
        _tell(labeller, partly, rows, apart, screen, level=level)
        lines = lines_of(partly.data, proposals, partly.label)
    if ask:
        _ask(lines, partly, sheet, earlier[0] if earlier else [])
    else:
        write_sheet(sheet, lines)
        screen.facts("sheet", f"{sheet}: {len(lines)} rows; fill in the column {partly.label}", always=True)
    _next(data, sheet, screen)


def _sources(models: tuple[str, ...], partly: Partly) -> list[object]:
    """The sources asked for, folders of several opened up; none asked for leaves the choice."""
    if not models:
        return []
    from graft.auto.sources import find_sources

    return list(find_sources(partly.data.task.modality, models))


def _earlier(
    sheet: Path, partly: Partly, *, ask: bool, overwrite: bool
) -> tuple[list[dict[str, str]], list[Answer]] | None:
    """Lines and answers of a sitting that was interrupted."""
    from graft.active.sheet import read_answers, read_lines
    from graft.predict import check_out

    if ask and sheet.is_file() and not overwrite:
        answers, _ = read_answers(sheet, partly.label)
        return [line for line in read_lines(sheet) if line.get(partly.label, "").strip()], answers
    check_out(sheet, overwrite=overwrite)
    return None


def _tell(
    labeller: Labeller, partly: Partly, ahead: int, apart: Dataset | None, screen: Screen, *, level: float
) -> None:
    """What there is, how good a model is by now, what more labels may bring, and which rows are proposed why."""
    import numpy as np
    from rich.markup import escape

    from graft.active.outlook import METRICS
    from graft.core.errors import BudgetError
    from graft.screen import interval

    data, done = partly.data, int(partly.labelled.sum())
    screen.heading("Labels")
    screen.line(f"{escape(data.name)}: {len(data):,} rows, {done:,} with a label in “{escape(partly.label)}”")
    if partly.classes:
        y = np.empty(0, np.int64) if data.y is None else data.y[partly.labelled]
        counts = zip(partly.classes, np.bincount(y, minlength=len(partly.classes)).tolist(), strict=True)
        few = [f"{escape(name)} {count:,}" for name, count in counts]
        screen.line(f"classes: {', '.join(few[:12])}{' …' if len(few) > 12 else ''}")
    for note in [*data.notes, *labeller.notes]:
        screen.line(f"[dim]· {escape(note)}[/dim]")
    source = labeller.backbone
    screen.line(
        f"read by {escape(source.spec.uri) if source is not None else 'classical features (no source reads them)'}"
    )
    screen.heading("Outlook")
    name, why = labeller.chosen()
    screen.facts("strategy", f"{name}: {escape(why)}")
    if apart is not None:
        score = labeller.score(apart, level=level)
        said = f"[bold]{interval(score)}[/bold]  {level:.0%} interval, {len(apart):,} rows apart"
        screen.facts("test", said if score is not None else "there is no model yet")
    try:
        found = labeller.outlook(ahead, level=level)
    except BudgetError as error:  # the proposals are there all the same
        screen.facts("ahead", escape(str(error)))
        return
    if found.score is not None:
        name = METRICS.get(found.metric, found.metric)
        how = f"{level:.0%} interval, cross-validated on the {found.labels:,} labels so far, which were chosen and not drawn"
        screen.facts(name, f"[bold]{interval(found.score)}[/bold]  {how}")
    if found.curve:
        screen.facts("curve", ", ".join(f"{size}: {value:.3f}" for size, value in found.curve))
    screen.facts("ahead", escape(found.sentence))


def _apart(test: str, partly: Partly, encoding: str) -> tuple[Dataset, Partly]:
    """Rows that were labelled apart to judge by, and the others: what judges is neither learned from nor proposed."""
    import dataclasses

    import numpy as np

    from graft.active.reading import labels_in, with_classes
    from graft.cli.app import load_data
    from graft.core.errors import DataError
    from graft.data.load import recipe
    from graft.data.splits import content_keys

    if partly.data.task.is_classification:  # a class of the test is a class
        seen, _ = labels_in(test, partly.label, encoding)
        partly = with_classes(partly.data, sorted({*partly.classes, *map(str, seen)}))
    rows = load_data(test, like=recipe(partly.data), label=partly.label, encoding=encoding)
    shared = np.isin(content_keys(partly.data), content_keys(rows))
    learned = int((shared & partly.labelled).sum())
    if learned:
        what = f"{learned} labelled rows of {partly.data.name} are among the rows of {test}"
        raise DataError(what, hint="a score on rows that were learned from says nothing")
    return rows, dataclasses.replace(partly, data=partly.data.select(~shared))


def _ask(lines: list[dict[str, str]], partly: Partly, sheet: Path, earlier: list[dict[str, str]]) -> None:
    """Ask on the terminal; the sheet holds the answers of earlier sittings and of this one."""
    import sys

    from graft.active.asking import Asking
    from graft.active.sheet import write_sheet

    asking = Asking(
        lines, partly.label, list(partly.classes), save=lambda answered: write_sheet(sheet, [*earlier, *answered]),
        say=lambda text: print(text, flush=True), values=not partly.data.task.is_classification,
    )  # fmt: skip
    asking.run(iter(sys.stdin.readline, ""))
    print(
        f"\n{len(asking.answered)} labelled, {asking.skipped} skipped; {sheet} holds {len(earlier) + len(asking.answered)}"
    )


def _add(
    data: str,
    partly: Partly,
    add: Path,
    out: Path,
    screen: Screen,
    *,
    new_classes: bool,
    encoding: str,
    overwrite: bool,
) -> None:
    """Bring the labels of a sheet back."""
    from shlex import quote

    from rich.markup import escape

    from graft.active.answers import checked, write_labelled
    from graft.active.sheet import read_answers
    from graft.core.errors import DataError

    answers, empty = read_answers(add, partly.label)
    if not answers:
        raise DataError(f"no row of {add} has a label", hint=f"fill in its column {partly.label!r}")
    found = checked(partly, answers, new_classes=new_classes)
    task = partly.data.task
    write_labelled(
        data, out, partly.label, found, values=not task.is_classification, modality=task.modality, encoding=encoding,
        overwrite=overwrite,
    )  # fmt: skip
    before = int(partly.labelled.sum())
    again = f", {len(answers) - len(found)} were there already" if len(answers) > len(found) else ""
    screen.facts("added", f"{len(found)} labels{again}, {empty} cells are still empty", always=True)
    screen.facts(
        "data", escape(f"{out}: {before + len(found):,} of {len(partly.data):,} rows have a label"), always=True
    )
    screen.facts("next", escape(f"graft label {quote(str(out))}, or graft fit {quote(str(out))}"), always=True)


def _next(data: str, sheet: Path, screen: Screen) -> None:
    from shlex import quote

    from rich.markup import escape

    if sheet.is_file():
        screen.facts("next", escape(f"graft label {quote(data)} --add {quote(str(sheet))} --out NEW_FILE"), always=True)
