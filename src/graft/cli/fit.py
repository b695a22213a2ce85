"""``graft fit``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from graft.cli.app import Budget, Flag, Level, Many, Natural, Positive, app, load_data, typed
from graft.core.errors import OutputError

if TYPE_CHECKING:
    from graft.core.folder import RunFolder
    from graft.core.runtime import Clock
    from graft.core.types import Run
    from graft.transfer.base import BaseTransfer


@app.command
def fit(
    data: str,
    *,
    label: str | None = None,
    inputs: Many = (),
    group: str | None = None,
    task: Literal["classification", "regression"] | None = None,
    modality: Literal["text", "image", "audio", "table"] | None = None,
    encoding: str = "utf-8",
    bad_rows: Literal["error", "drop"] = "error",
    effort: Literal["probe", "fast", "thorough"] = "fast",
    budget: Budget = "auto",
    memory: str | None = None,
    max_latency: Positive | None = None,
    max_size: Positive | None = None,
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
        CSV, TSV, JSON lines, Parquet or svmlight file, or a folder with one folder of pictures or sounds per class.
    label
        Label column; found by its name if not given.
    inputs
        Input columns; found if not given. Several text columns are read as pairs.
    group
        Column whose values are never split between training and test (patient, user …).
    task
        classification or regression; read off the labels if not given.
    modality
        text, image, audio or table; guessed if not given.
    encoding
        Encoding of text files, for example gb18030.
    bad_rows
        error names the rows that cannot be read; drop leaves them out.
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

    searching = {
        "models": models, "methods": methods, "folds": folds, "level": level, "seed": seed, "effort": effort,
        "max_latency": max_latency, "max_size": max_size, "memory": memory,
    }  # fmt: skip
    config = Config(budget, **searching)
    _ = config.bytes  # what is no size is said before anything is written
    clock = Clock(config.seconds)
    reading = {
        "label": label, "inputs": inputs or None, "group": group, "task": task, "modality": modality,
        "encoding": encoding, "bad_rows": bad_rows,
    }  # fmt: skip
    if not Path(data).exists():
        load_data(data)  # raises the line about the missing file before anything is written
    name = Path(data).resolve().name.split(".")[0] or "data"
    out = out or free_name(Path("runs") / name, resume=resume)
    facts = {"data": str(Path(data).resolve()), **reading, **searching}
    folder = RunFolder(out, facts, resume=resume, overwrite=overwrite)
    try:
        from graft.auto.run import AutoFit
        from graft.core.store import Store
        from graft.history.history import History
        from graft.screen import Screen

        with Screen(quiet=quiet, clock=Clock(clock.budget, spent=folder.spent + clock.elapsed())) as screen:
            table = load_data(data, **reading, workdir=folder.partial / "data")
            spent = folder.spent + clock.elapsed()
            store = Store(None if cache else folder.partial / "features")
            past = History() if history else None
            auto = AutoFit(table, config, store, screen, folder.work, spent, past)
            model, run = auto.run()
            run.config |= {"command": join(["graft", *typed]), "data": data}
            _write(model, run, folder, clock)
    except BaseException as error:
        folder.leave(error, folder.spent + clock.elapsed())
        raise
    screen.facts("report", escape(str(folder.out / "report.html")), always=True)
    screen.facts("next", escape(f"graft predict {quote(str(folder.out))} NEW_DATA --out predictions.csv"), always=True)


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
