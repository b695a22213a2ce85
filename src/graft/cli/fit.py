"""``graft fit``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from graft.cli.app import Budget, Flag, Level, Many, Natural, Positive, app, load_data, typed
from graft.core.errors import OutputError

if TYPE_CHECKING:
    from graft.core.folder import RunFolder
    from graft.core.runtime import Clock
    from graft.core.types import Dataset, Run
    from graft.transfer.base import BaseTransfer


@app.command
def fit(
    data: str,
    *,
    label: str | None = None,
    inputs: Many = (),
    group: str | None = None,
    unlabelled: Path | None = None,
    task: Literal["classification", "regression", "tagging", "multilabel", "ordinal", "detection"] | None = None,
    order: str | None = None,
    quantiles: str | None = None,
    modality: Literal["text", "image", "audio", "sequence", "series", "table"] | None = None,
    strands: Literal["one", "both"] = "one",
    long: Literal["auto", "windows", "truncate", "head-tail"] = "auto",
    encoding: str = "utf-8",
    bad_rows: Literal["error", "drop"] = "error",
    effort: Literal["probe", "fast", "thorough"] = "fast",
    budget: Budget = "auto",
    memory: str | None = None,
    max_latency: Positive | None = None,
    max_size: Positive | None = None,
    ensemble: Flag = False,
    models: Many = (),
    methods: Many = (),
    folds: Natural = 0,
    level: Level = 0.9,
    seed: Natural = 0,
    out: Path | None = None,
    overwrite: Flag = False,
    resume: Flag = False,
    cache: bool = True,
    history: bool = True,
    quiet: Flag = False,
) -> None:
    """Choose, train and check a model on labelled data; write it with a report.

    Parameters
    ----------
    data
        CSV, TSV, JSON lines, Parquet, svmlight, FASTA or .ts file, or a folder with one folder of pictures, sounds or series per class.
    label
        Label column; found by its name if not given. Columns of 0 and 1 are labels of which a row has several: a,b,c.
    inputs
        Input columns; found if not given. Several text columns are read as pairs.
    group
        Column whose values are never split between training and test (patient, user …).
    unlabelled
        File or folder of rows without a label that ways may learn from too, beside those of the data whose label is empty.
    task
        classification, ordinal (classes with an order), regression or tagging (of words); read off the data if not given.
    order
        Classes from lowest to highest (low,medium,high), which makes the task ordinal; without it --task ordinal takes that of numbers.
    quantiles
        Of a regression: quantiles to predict beside the value (0.05,0.5,0.95); intervals are then as wide as they say.
    modality
        text, image, audio, sequence (DNA, RNA, protein), series (in time) or table; guessed if not given.
    strands
        both: the other strand of DNA has the same class, so it is learned from and asked too; never for splice sites.
    long
        How networks read texts that are too long for them: in windows, their beginning (truncate), or beginning and end; auto takes windows where many are.
    encoding
        Encoding of text files, for example gb18030.
    bad_rows
        error names the rows that cannot be read; drop leaves them out, and rows without a label too.
    effort
        probe: nothing is trained, 30 s; fast: the ways that win most often, 2 min; thorough: all ways, and the settings of the best are searched, 15 min.
    budget
        Time for everything: 90s, 2m, 1h30m; that of the effort if not given.
    memory
        Memory that graft may take (2GB); what the machine has left if not given. What needs more is left out.
    max_latency
        Milliseconds per row that the model may take on this machine, many rows at a time.
    max_size
        Megabytes that the model may take on disk.
    ensemble
        Return the mean of several ways if it is better beyond noise; it takes the time and the room of all of them.
    models
        Sources to consider: URIs (hf:NAME, sbert:NAME, file:RUN) or folders; all that are within reach if not given.
    methods
        Ways to consider: classical, probe, finetune, scratch, contrastive, adapters, bias, soup …; those of the effort if not given.
    folds
        Folds of the comparison; 0 chooses by the number of rows, 1 holds one part out.
    level
        Confidence level of intervals and of the guard.
    seed
        Seed of everything random.
    out
        Folder to write; runs/NAME if not given.
    overwrite
        Replace the folder if it exists.
    resume
        Go on with an interrupted run of the same command.
    cache
        Keep features on disk for the next run.
    history
        Begin with what won on similar tasks before, and remember this run; see graft history.
    quiet
        Print only the answer.
    """  # noqa: D405, D411, D416  (an option is called methods)
    from shlex import join, quote

    from rich.markup import escape

    from graft.auto.config import Config
    from graft.core.folder import RunFolder, free_name
    from graft.core.runtime import Clock

    named = tuple(name for one in methods for name in one.split(","))
    searching = {
        "models": models, "methods": named, "folds": folds, "level": level, "seed": seed, "effort": effort,
        "max_latency": max_latency, "max_size": max_size, "memory": memory, "ensemble": ensemble,
    }  # fmt: skip
    if quantiles is not None:
        from graft.transfer.spread import parse_quantiles

        searching["quantiles"] = parse_quantiles(quantiles)
    config = Config(budget, **searching)
    _ = config.bytes  # what is no size is said before anything is written
    clock = Clock(config.seconds)
    reading = {
        "label": label, "inputs": inputs or None, "group": group, "task": task, "modality": modality,
        "order": tuple(name.strip() for name in order.split(",")) if order else (), "strands": strands, "long": long, "encoding": encoding, "bad_rows": bad_rows,
    }  # fmt: skip
    for place in filter(None, (data, unlabelled)):
        if not Path(place).exists():
            load_data(str(place))  # raises the line about the missing file before anything is written
    name = Path(data).resolve().name.split(".")[0] or "data"
    out = out or free_name(Path("runs") / name, resume=resume)
    facts = {"data": str(Path(data).resolve()), **reading, **searching}
    facts |= {"unlabelled": str(unlabelled.resolve())} if unlabelled else {}
    folder = RunFolder(out, facts, resume=resume, overwrite=overwrite)
    try:
        from graft.auto.run import AutoFit
        from graft.core.store import Store
        from graft.history.history import History
        from graft.screen import Screen

        with Screen(quiet=quiet, clock=Clock(clock.budget, spent=folder.spent + clock.elapsed())) as screen:
            table, others = _rows(data, unlabelled, reading, folder.partial)
            spent = folder.spent + clock.elapsed()
            store = Store(None if cache else folder.partial / "features")
            past = History() if history else None
            auto = AutoFit(table, config, store, screen, folder.work, spent, past, others)
            model, run = auto.run()
            run.config |= {"command": join(["graft", *typed]), "data": data}
            _write(model, run, folder, clock)
    except BaseException as error:
        folder.leave(error, folder.spent + clock.elapsed())
        raise
    screen.facts("report", escape(str(folder.out / "report.html")), always=True)
    screen.facts("next", escape(f"graft predict {quote(str(folder.out))} NEW_DATA --out predictions.csv"), always=True)


def _rows(
    data: str, unlabelled: Path | None, reading: dict[str, Any], folder: Path
) -> tuple[Dataset, tuple[Dataset, ...]]:
    """The data, rows without a label among them unless bad ones are dropped; and the other rows without a label."""
    partly = reading["bad_rows"] == "error" and not Path(data).is_dir()
    table = load_data(data, **reading, partly=partly, workdir=folder / "data")
    if unlabelled is None:
        return table, ()
    options = {"encoding": reading["encoding"], "bad_rows": reading["bad_rows"], "labelled": False, "like": table}
    return table, (load_data(str(unlabelled), **options, workdir=folder / "unlabelled"),)


def _write(model: BaseTransfer, run: Run, folder: RunFolder, clock: Clock) -> None:
    """Write the model, the record and the report, then move them into place together."""
    import json

    from safetensors import SafetensorError

    from graft.report import write_report

    run.answer["folder"] = str(folder.out)
    try:
        model.save(folder.result)
    except SafetensorError as error:  # how safetensors says that a disk is full
        hint = "free some space, or choose another --out"
        raise OutputError(f"cannot write the model: {error}", where=str(folder.partial), hint=hint) from error
    run.answer["size_bytes"] = sum(f.stat().st_size for f in folder.result.rglob("*") if f.is_file())
    run.answer["seconds"] = round(folder.spent + clock.elapsed(), 1)
    text = json.dumps(run.to_json(), ensure_ascii=False, indent=1, allow_nan=False, default=float)
    # file names may hold any bytes
    (folder.result / "run.json").write_text(text, encoding="utf-8", errors="backslashreplace")
    write_report(run, folder.result)
    folder.finish()
