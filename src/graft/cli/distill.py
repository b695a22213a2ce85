"""``graft distill``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter, validators

from graft.cli.app import Budget, Flag, Level, Many, Natural, Positive, app, load_data, typed

if TYPE_CHECKING:
    from graft.screen import Screen

Share = Annotated[float, Parameter(validator=validators.Number(gte=0, lte=1))]
Half = Annotated[float, Parameter(validator=validators.Number(gte=0, lte=0.5))]


@app.command
def distill(
    run: Path,
    data: str,
    *,
    unlabelled: str | None = None,
    student: Many = (),
    max_latency: Positive | None = None,
    max_size: Positive | None = None,
    temperature: Positive = 2.0,
    trust: Share = 0.7,
    held_out: Half = 0.1,
    label: str | None = None,
    encoding: str = "utf-8",
    budget: Budget = "2m",
    epochs: Positive | None = None,
    level: Level = 0.9,
    seed: Natural = 0,
    out: Path | None = None,
    overwrite: Flag = False,
    resume: Flag = False,
    quiet: Flag = False,
) -> None:
    """Teach a small, fast student what a run knows; the student predicts without it.

    The model of the run, the teacher, answers every row once; the student
    learns from these answers and from the labels. On the rows that it was
    fitted on a teacher is too sure of itself: give it other rows, too. They
    need no labels (--unlabelled), so there may be many.

        graft distill runs/reviews reviews.csv --unlabelled mails.txt
        graft distill runs/reviews reviews.csv --student blocks:3 --max-size 40

    Parameters
    ----------
    run
        Folder that graft fit wrote: the teacher.
    data
        Labelled file or folder of the form of the teacher's training data; these data themselves will do.
    unlabelled
        More rows; a label column is not looked at. The more, the nearer the student comes to its teacher.
    student
        An encoder (textcnn, lstm, transformer; resnet for pictures; mlp for tables), with a size if you like (lstm:tiny, lstm:small, lstm:base); blocks:2 for the lower two blocks of the teacher's network; or a source such as hf:NAME. Of several, the largest within the limits. The simplest encoder that reads the rows if not given.
    max_latency
        Milliseconds per row that the student may take on this machine, many rows at a time as graft predict reads them; measured before the training.
    max_size
        Megabytes that the student may take on disk; measured before the training.
    temperature
        How far the teacher's probabilities are evened out; 1 takes them as they are.
    trust
        Weight of the teacher against the labels, 0 to 1.
    held_out
        Share of the rows that are not learned from, to see how often student and teacher agree.
    label
        Label column; found if not given.
    encoding
        Encoding of text files.
    budget
        Time for everything: 90s, 2m, 1h30m.
    epochs
        Passes over the rows; as many as pay, within the budget, if not given.
    level
        Confidence level of the intervals.
    seed
        Seed of everything random.
    out
        Folder to write; runs/NAME-distilled if not given.
    overwrite
        Replace the folder if it exists.
    resume
        Go on with an interrupted run of the same command.
    quiet
        Print only the result.
    """
    from shlex import quote

    from rich.markup import escape

    from graft.core.folder import RunFolder, free_name
    from graft.core.registry import TRANSFERS
    from graft.core.runtime import Clock, parse_budget
    from graft.screen import Screen
    from graft.transfer.base import Setting
    from graft.transfer.teacher import open_teacher

    clock = Clock(parse_budget(budget))
    teacher = open_teacher(run)  # what is wrong with it is said before anything is written
    for file in filter(None, (data, unlabelled)):
        if not Path(file).exists():
            load_data(file)
    options: dict[str, Any] = {
        "student": list(student) or None, "max_latency": max_latency, "max_size": max_size, "temperature": temperature,
        "trust": trust, "held_out": held_out, "epochs": epochs, "seed": seed,
    }  # fmt: skip
    out = out or free_name(Path("runs") / f"{run.resolve().name}-distilled", resume=resume)
    more = str(Path(unlabelled).resolve()) if unlabelled else None
    facts = {"run": str(run.resolve()), "data": str(Path(data).resolve()), "unlabelled": more, "label": label}
    folder = RunFolder(out, {**facts, "encoding": encoding, **options}, resume=resume, overwrite=overwrite)
    try:
        clock = Clock(clock.budget, spent=folder.spent + clock.elapsed())
        with Screen(quiet=quiet, clock=clock) as screen:
            reading = {"like": teacher.recipe_, "encoding": encoding, "workdir": folder.partial / "data"}
            rows = load_data(data, label=label, **reading)
            reading["workdir"] = folder.partial / "unlabelled"
            others = load_data(unlabelled, labelled=False, **reading) if unlabelled else None
            screen.heading("Distillation")
            for table in filter(None, (rows, others)):
                screen.line(f"{escape(table.name)}: {len(table):,} rows")
                for note in table.notes:
                    screen.line(f"[dim]· {escape(note)}[/dim]")
            model: Any = TRANSFERS["distill"](teacher=teacher, **options)
            setting = Setting(clock, screen.progress, checkpoint=folder.work / "student.safetensors")
            model.fit(rows, unlabelled=others, setting=setting)
            model.teacher = str(run)  # what is saved says where it was
            model.save(folder.result)
            _report(model, screen, folder.result, level)
            folder.finish()
    except BaseException as error:
        folder.leave(error, clock.elapsed())
        raise
    screen.facts("next", escape(f"graft predict {quote(str(folder.out))} NEW_DATA --out predictions.csv"), always=True)


def _report(model: Any, screen: Screen, folder: Path, level: float) -> None:
    """Write ``distill.json`` and show what it says."""
    import json
    from shlex import join

    from rich.markup import escape

    from graft.screen import duration, interval, metric_name

    scores = _scores(model, level)
    record = model.record_ | scores | {"level": level, "seconds": model.curve_[-1]["seconds"] if model.curve_ else 0.0}
    record |= {"stopped": model.stopped_, "command": join(["graft", *typed])}
    text = json.dumps(record, ensure_ascii=False, indent=1, allow_nan=False, default=float)
    (folder / "distill.json").write_text(text, encoding="utf-8", errors="backslashreplace")
    time, whole, small = record["time"], record["teacher"], record["student"]
    screen.facts("teacher", escape(f"{whole['name']}: {_cost(whole['bytes'], time['teacher_ms'])}"), always=True)
    screen.facts("student", escape(f"{small['name']}: {_cost(small['bytes'], time['student_ms'])}"), always=True)
    gain = [_times(record["size_ratio"], "smaller", "larger"), _times(time["ratio"], "faster", "slower")]
    screen.facts("gain", " and ".join(gain), always=True)
    late = f"; {model.stopped_}" if model.stopped_ else ""
    screen.facts("training", f"{duration(record['seconds'])}{escape(late)}")
    if record["agreement"] is None:
        screen.facts("agreement", "not measured: no rows were held out", always=True)
        return
    what = "of the decisions" if model.task_.is_classification else "of the variance of the teacher's values (R²)"
    rows = f"{level:.0%} interval, {record['rows']['held_out']:,} held-out rows"
    screen.facts("agreement", f"[bold]{interval(record['agreement'])}[/bold] {what}  {rows}", always=True)
    for name, score in record["scores"].items():
        beside = f"the teacher {interval(score['teacher'])}, which may have been fitted on these rows"
        screen.facts(metric_name(name), f"[bold]{interval(score['student'])}[/bold]  {beside}", always=True)


def _scores(model: Any, level: float) -> dict[str, Any]:
    """Agreement with the teacher, and the scores of both where held-out rows have labels, with intervals."""
    from graft.evaluate.metrics import evaluate

    task, said, own, y = model.task_, *(model.held_out_[key] for key in ("teacher", "student", "y"))
    if not len(said):
        return {"agreement": None, "scores": {}}
    truth, name = (said.argmax(axis=1), "accuracy") if task.is_classification else (said, "r2")
    found: dict[str, Any] = {"agreement": list(evaluate(task, truth, own, metrics=(name,), level=level)[name])}
    found["scores"] = {}
    if len(y):  # labelled rows come first
        both = {"student": own[: len(y)], "teacher": said[: len(y)]}
        scored = {who: evaluate(task, y, out, metrics=(task.metric,), level=level) for who, out in both.items()}
        found["scores"][task.metric] = {who: list(scores[task.metric]) for who, scores in scored.items()}
    return found


def _cost(size: int, ms: float) -> str:
    return f"{size / 1e6:.3g} MB, {ms:.3g} ms per row"


def _times(ratio: float, more: str, less: str) -> str:
    return f"{ratio:.3g} times {more}" if ratio >= 1 else f"{1 / ratio:.3g} times {less}"
