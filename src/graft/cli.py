"""The command line.  Options are the keywords of the functions below; ``--config FILE.toml`` gives them from a file.

Precedence: command line, then file, then default.  Errors print one line and set the exit code (see core/errors.py).
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter, validators
from cyclopts.config import Dict
from cyclopts.exceptions import MissingArgumentError, UnusedCliTokensError

from graft import __version__
from graft.core.config import read_config
from graft.core.errors import GraftError, OutputError, UsageError

if TYPE_CHECKING:
    from graft.core.folder import RunFolder
    from graft.core.runtime import Clock
    from graft.core.types import Dataset, Run
    from graft.transfer.base import BaseTransfer

HELP = """graft 嫁接: automatic transfer learning.

Give it labelled data and a budget. It picks a pretrained model, transfers
it, checks that the transfer helped, and writes a model with a report.

    graft fit reviews.csv --label sentiment --budget 2m --out runs/reviews
    graft predict runs/reviews new.csv --out predictions.csv
    graft show runs/reviews

graft COMMAND --help explains every option.
"""

app = App(name="graft", help=HELP, version=__version__, help_format="plaintext", result_action="return_value")
app.suppress_keyboard_interrupt = app.meta.suppress_keyboard_interrupt = False  # ``main`` says how to go on
Many = Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative="", show_default=False)]
Flag = Annotated[bool, Parameter(negative="", show_default=False)]
Level = Annotated[float, Parameter(validator=validators.Number(gt=0, lt=1))]
Natural = Annotated[int, Parameter(validator=validators.Number(gte=0, lt=2**32))]
Budget = Annotated[str, Parameter(allow_leading_hyphen=True)]
typed: list[str] = []  # the arguments of this call, for the record of a run


@app.command
def fit(
    data: str,
    *,
    label: str | None = None,
    inputs: Many = (),
    group: str | None = None,
    task: Literal["classification", "regression"] | None = None,
    modality: Literal["text", "image", "table"] | None = None,
    encoding: str = "utf-8",
    bad_rows: Literal["error", "drop"] = "error",
    budget: Budget = "2m",
    models: Many = (),
    methods: Many = (),
    folds: Natural = 0,
    level: Level = 0.9,
    seed: Natural = 0,
    out: Path | None = None,
    overwrite: Flag = False,
    resume: Flag = False,
    cache: bool = True,
    quiet: Flag = False,
) -> None:
    """Choose, train and check a model on labelled data; write it with a report.

    Parameters
    ----------
    data
        CSV, TSV, JSON lines or Parquet file, or a folder with one folder of pictures per class.
    label
        Label column; found by its name if not given.
    inputs
        Input columns; found if not given. Several text columns are read as pairs.
    group
        Column whose values are never split between training and test (patient, user …).
    task
        classification or regression; read off the labels if not given.
    modality
        text, image or table; guessed if not given.
    encoding
        Encoding of text files, for example gb18030.
    bad_rows
        error names the rows that cannot be read; drop leaves them out.
    budget
        Time for everything: 90s, 2m, 1h30m.
    models
        Sources to consider: URIs (hf:NAME, sbert:NAME, file:RUN) or folders; all that are within reach if not given.
    methods
        Ways to consider: classical, probe, finetune, scratch; all if not given.
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
    quiet
        Print only the answer.
    """  # noqa: D405, D411, D416  (an option is called methods)
    from shlex import join, quote

    from rich.markup import escape

    from graft.core.folder import RunFolder, free_name
    from graft.core.runtime import Clock, parse_budget

    clock = Clock(parse_budget(budget))
    reading = {
        "label": label, "inputs": inputs or None, "group": group, "task": task, "modality": modality,
        "encoding": encoding, "bad_rows": bad_rows,
    }  # fmt: skip
    searching = {"models": models, "methods": methods, "folds": folds, "level": level, "seed": seed}
    if not Path(data).exists():
        _load(data)  # raises the line about the missing file before anything is written
    name = Path(data).resolve().name.split(".")[0] or "data"
    out = out or free_name(Path("runs") / name, resume=resume)
    facts = {"data": str(Path(data).resolve()), **reading, **searching}
    folder = RunFolder(out, facts, resume=resume, overwrite=overwrite)
    try:
        from graft.auto import AutoFit, Config
        from graft.core.store import Store
        from graft.screen import Screen

        with Screen(quiet=quiet, clock=Clock(clock.budget, spent=folder.spent + clock.elapsed())) as screen:
            table = _load(data, **reading, workdir=folder.partial / "data")
            spent = folder.spent + clock.elapsed()
            config = Config(budget, **searching)
            store = Store(None if cache else folder.partial / "features")
            auto = AutoFit(table, config, store, screen, folder.work, spent)
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


def _load(data: str, **options: Any) -> Dataset:
    from graft.data.load import load

    return load(data, **options)


@app.command
def predict(run: Path, data: str, *, out: Path | None = None, encoding: str = "utf-8", overwrite: Flag = False) -> None:
    """Predict every row of a file; CSV with the columns prediction and p_CLASS, in the order of the rows.

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
    overwrite
        Replace the file if it exists.
    """
    from graft.predict import predict_file

    bad = predict_file(run, data, out, encoding=encoding, overwrite=overwrite)
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
    json
        Print JSON.
    """
    from graft.predict import evaluate_model
    from graft.screen import interval, metric_name, print_json

    facts = evaluate_model(model, data, label=label, encoding=encoding, level=level, rename=dict(map(_pair, rename)))
    if json:
        print_json(facts)
        return
    print(f"{facts['name']} on {facts['data']}: {facts['rows']:,} rows")
    for name, value in facts["metrics"].items():
        print(f"  {metric_name(name):<20} {interval(value)}")
    print("".join(f"  {note}\n" for note in facts["notes"]), end="")


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key or not value:
        raise UsageError(f"{text!r} is not a pair", hint="write LABEL=CLASS")
    return key, value


@app.command
def rank(
    data: str,
    *,
    label: str | None = None,
    models: Many = (),
    by: str = "probe",
    rows: Annotated[int, Parameter(validator=validators.Number(gte=10))] = 2000,
    seed: Natural = 0,
    level: Level = 0.9,
    encoding: str = "utf-8",
    cache: bool = True,
    json: Flag = False,
) -> None:
    """Rank every source within reach on labelled data, with intervals, cost, and what cannot be told apart.

    Parameters
    ----------
    data
        Labelled file or folder, as for graft fit.
    label
        Label column; found if not given.
    models
        URIs or folders of sources; all that are within reach if not given.
    by
        Score that orders: probe, logme, h_score, leep, nce …
    rows
        Rows used at most.
    seed
        Seed of folds and resampling.
    level
        Confidence level.
    encoding
        Encoding of text files.
    cache
        Keep features on disk for the next run.
    json
        Print JSON.
    """
    import dataclasses
    from tempfile import TemporaryDirectory

    from graft.auto import find_sources
    from graft.core.store import Store
    from graft.ranking.rank import rank as rank_sources
    from graft.screen import Screen, print_json

    table = _load(data, label=label, encoding=encoding)
    with Screen(quiet=json) as screen, TemporaryDirectory() as folder:
        ranking = rank_sources(
            find_sources(table.task.modality, models), table, by=by, limit_rows=rows, seed=seed, level=level,
            store=Store(None if cache else folder), progress=screen.progress,
        )  # fmt: skip
        if json:
            print_json(dataclasses.asdict(ranking))
        screen.ranking_table(ranking)  # prints nothing when quiet


@app.command(name="models")
def list_sources(
    *, models: Many = (), modality: Literal["text", "image", "table"] | None = None, json: Flag = False
) -> None:
    """List the sources within reach: installed packages with weights, folders, the Hugging Face cache.

    Parameters
    ----------
    models
        Further folders; GRAFT_MODELS names folders too.
    modality
        Only sources for text, image or table.
    json
        Print JSON.
    """
    import dataclasses

    from graft.screen import Screen, print_json
    from graft.sources.base import list_models

    specs = list_models(modality=modality, folders=models)
    if json:
        print_json([dataclasses.asdict(spec) for spec in specs])
        return
    Screen().sources_table(specs)


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
    """Write report.html and MODEL_CARD.md of a run again.

    Parameters
    ----------
    run
        Folder that graft fit wrote, or a run.json.
    out
        Folder to write to; the run itself if not given.
    language
        en or zh.
    """
    from graft.report import write_report

    folder = out or (run if run.is_dir() else run.parent)
    print(write_report(_read_run(run), folder, lang=language))


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


@app.command
def cache(action: Literal["show", "clear", "verify"] = "show") -> None:
    """Show, clear or check the cache of features.

    Parameters
    ----------
    action
        show lists the entries, clear removes them all, verify checks every byte and drops what is damaged.
    """
    from graft.core.store import Store

    store = Store()
    if action == "clear":
        print(f"freed {store.clear() / 1e6:,.0f} MB in {store.folder}")
        return
    if action == "verify":
        dropped = store.verify()
        print(f"dropped {len(dropped)} damaged entries of {store.folder}" if dropped else f"{store.folder} is sound")
        return
    entries = store.entries()
    for entry in entries:
        print(f"{entry.kind:<10} {entry.bytes / 1e6:>10,.1f} MB  {entry.key}")
    print(
        f"{len(entries)} entries, {store.size() / 1e6:,.1f} MB of at most {store.max_bytes / 1e9:,.0f} GB in {store.folder}"
    )


@app.meta.default
def _with_config(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    config: Annotated[Path | None, Parameter(help="TOML file with a table per command: [fit] budget = '2m'.")] = None,
) -> None:
    if config:
        commands = [name for name in app if not name.startswith("-")]
        app.config = (Dict(read_config(config, commands), source=str(config)),)
    app(tokens, exit_on_error=False, print_error=False)


def _share_cores() -> None:
    """Let torch's threads sleep instead of spin when other programs need the cores; call it before torch is imported.

    By default a waiting thread spins; with another busy program a training step then takes up to 18 times as long
    (measured on two cores).  Short spinning costs 7 % on a quiet machine; none costs more, so it is for a busy one.
    Settings of the user stay.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & set(os.environ):
        busy = hasattr(os, "getloadavg") and os.getloadavg()[0] > 0.7 * (os.cpu_count() or 1)
        os.environ["GOMP_SPINCOUNT"] = "0" if busy else "30000"


def main(arguments: list[str] | None = None) -> int:  # noqa: PLR0911  (one per kind of error)
    """Run the command line; the exit code."""
    from graft.screen import prepare_streams

    prepare_streams()
    _share_cores()
    app.config = ()
    typed[:] = sys.argv[1:] if arguments is None else arguments
    try:
        app.meta(list(typed), exit_on_error=False, print_error=False)
        sys.stdout.flush()
    except GraftError as error:
        return _fail(error, str(error), error.exit_code)
    except CycloptsError as error:
        return _fail(error, _line_of(error), UsageError.exit_code)
    except KeyboardInterrupt as error:
        code = _fail(error, "interrupted", 130)
        return code if arguments is not None else os._exit(code)  # threads in native code may not end in peace
    except BrokenPipeError:  # the reader went away (graft predict … | head): nothing to say
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left to flush goes nowhere
        return 0
    except MemoryError as error:
        return _fail(error, "out of memory; use a smaller model or fewer rows", GraftError.exit_code)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        line = f"{error.strerror or error}" + (f" [{error.filename}]" if error.filename else "")
        hint = "; free some space, or name other folders with --out and GRAFT_CACHE" if full else ""
        return _fail(error, line + hint, OutputError.exit_code)
    except Exception as error:
        if os.environ.get("GRAFT_DEBUG"):
            raise
        line = " ".join(f"internal error, please report it: {type(error).__name__}: {error}".split())
        return _fail(error, f"{line}; GRAFT_DEBUG=1 shows where", GraftError.exit_code)
    return 0


def _line_of(error: CycloptsError) -> str:
    """What is wrong with the arguments, as graft's own errors say it."""
    command = " ".join(["graft", *(error.command_chain or ())])
    if isinstance(error, MissingArgumentError) and error.argument is not None and not error.keyword:
        name = error.argument.name.lstrip("-").upper()
        return f"{name} is missing; see {command} --help"
    if isinstance(error, UnusedCliTokensError):
        return f"{(error.unused_tokens or ['?'])[0]!r} is one argument too many; see {command} --help"
    parts = " ".join(str(error).split()).removesuffix(".").split(". ")
    line = "; ".join(part[:1].lower() + part[1:] for part in parts)
    return line + (f"; see {command} --help" if len(parts) == 1 else "")


def _fail(error: BaseException, line: str, code: int) -> int:
    notes = "".join(f"; {note}" for note in getattr(error, "__notes__", ()))
    print(f"graft: {line}{notes}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
