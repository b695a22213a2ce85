"""The command line.  Options are the keywords of the functions below; ``--config FILE.toml`` gives them from a file.

Precedence: command line, then file, then default.  Errors print one line and set the exit code (see core/errors.py).
"""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter
from cyclopts.config import Toml

from graft import __version__
from graft.core.errors import GraftError, OutputError, UsageError

if TYPE_CHECKING:
    from graft.core.types import Dataset, Run

HELP = """graft 嫁接: automatic transfer learning.

Give it a labelled file and a budget; it picks a pretrained model, transfers it, checks that the transfer helped, and
writes a model, predictions and a report.

    graft fit reviews.csv --label sentiment --budget 2m --out runs/reviews
    graft predict runs/reviews new.csv --out predictions.csv
    graft show runs/reviews
"""

app = App(name="graft", help=HELP, version=__version__, help_format="plaintext")
Many = Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative="")]
Flag = Annotated[bool, Parameter(negative="")]


@app.command
def fit(  # noqa: C901  (options, then six steps in a row)
    data: str,
    *,
    label: str | None = None,
    inputs: Many = (),
    group: str | None = None,
    task: Literal["classification", "regression"] | None = None,
    modality: Literal["text", "image", "table"] | None = None,
    encoding: str = "utf-8",
    bad_rows: Literal["error", "drop"] = "error",
    budget: str = "2m",
    models: Many = (),
    methods: Many = (),
    folds: int = 0,
    level: float = 0.9,
    seed: int = 0,
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
    """
    from graft.core.folder import RunFolder, free_name
    from graft.core.runtime import Clock, parse_budget

    clock = Clock(parse_budget(budget))
    name = Path(data.rstrip("/")).name.split(".")[0] or "data"
    out = out or (Path("runs") / name if resume else free_name(Path("runs") / name))
    options = {
        "data": str(Path(data).resolve()), "label": label, "inputs": inputs, "group": group, "task": task,
        "modality": modality, "encoding": encoding, "bad_rows": bad_rows, "models": models, "methods": methods,
        "folds": folds, "level": level, "seed": seed,
    }
    if not Path(data).exists():
        _load(data)  # raises the line about the missing file before anything is written
    folder = RunFolder(out, options, resume=resume, overwrite=overwrite)

    from graft.auto import AutoFit, Config
    from graft.core.store import Store
    from graft.report import write_report
    from graft.screen import Screen

    try:
        with Screen(quiet=quiet) as screen:
            table = _load(
                data, label=label, inputs=inputs or None, group=group, task=task, modality=modality,
                encoding=encoding, bad_rows=bad_rows, workdir=folder.partial / "data",
            )
            config = Config(budget, models, methods, folds, level, seed)
            auto = AutoFit(table, config, Store() if cache else None, screen, folder.work, folder.spent + clock.elapsed())
            try:
                model, run = auto.run()
            finally:
                folder.spend(folder.spent + clock.elapsed())
            run.config |= {"command": _command(), "data": data}
            run.answer["folder"] = str(out)
            model.save(folder.result)
            run.answer["size_bytes"] = sum(f.stat().st_size for f in folder.result.rglob("*") if f.is_file())
            run.answer["seconds"] = round(folder.spent + clock.elapsed(), 1)
            _write_run(run, folder.result)
            write_report(run, folder.result)
            folder.finish()
    except KeyboardInterrupt:
        print(f"\ninterrupted; repeat the command with --out {out} --resume to go on", file=sys.stderr)
        raise
    screen.out.print(f"  report: {out / 'report.html'}")
    screen.out.print(f"  predict with: graft predict {out} NEW_DATA --out predictions.csv")


def _load(data: str, **options: Any) -> Dataset:
    from graft.data.load import load

    return load(data, **options)


def _command() -> str:
    import shlex

    return shlex.join(["graft", *sys.argv[1:]])


def _write_run(run: Run, folder: Path) -> None:
    import json

    text = json.dumps(run.to_json(), ensure_ascii=False, indent=1, allow_nan=False, default=float)
    (folder / "run.json").write_text(text, encoding="utf-8")


@app.command
def predict(
    run: Path, data: str, *, out: Path | None = None, encoding: str = "utf-8", overwrite: Flag = False
) -> None:
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
        print(f"row {row + 1}: {reason}; its prediction is empty", file=sys.stderr)
    if len(bad) > 10:
        print(f"… and {len(bad) - 10} more rows", file=sys.stderr)


@app.command
def evaluate(
    model: str,
    data: str,
    *,
    label: str | None = None,
    encoding: str = "utf-8",
    level: float = 0.9,
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
    import json as _json

    from graft.predict import evaluate_model
    from graft.screen import interval

    facts = evaluate_model(model, data, label=label, encoding=encoding, level=level, rename=dict(map(_pair, rename)))
    if json:
        print(_json.dumps(facts, ensure_ascii=False, default=float))
        return
    print(f"{facts['name']} on {facts['data']}: {facts['rows']:,} rows")
    for name, value in facts["metrics"].items():
        print(f"  {name.replace('_', ' '):<20} {interval(value)}")
    for note in facts["notes"]:
        print(f"  {note}")


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
    rows: int = 2000,
    seed: int = 0,
    level: float = 0.9,
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
    import json as _json

    from graft.auto import find_sources
    from graft.core.store import Store
    from graft.ranking.rank import rank as rank_sources
    from graft.screen import Screen

    table = _load(data, label=label, encoding=encoding)
    with Screen(quiet=json) as screen:
        ranking = rank_sources(
            find_sources(table.task.modality, models), table, by=by, limit_rows=rows, seed=seed, level=level,
            store=Store() if cache else None, progress=screen.progress,
        )
        if json:
            print(_json.dumps(dataclasses.asdict(ranking), ensure_ascii=False, default=float))
            return
        screen.ranking_table(ranking)
        for sentence in ranking.sentences:
            screen.line(f"  {sentence}")


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
    import json as _json

    from rich.console import Console
    from rich.table import Table

    from graft.sources.base import list_models

    specs = list_models(modality=modality, folders=models)
    if json:
        print(_json.dumps([dataclasses.asdict(spec) for spec in specs], ensure_ascii=False))
        return
    table = Table(box=None, pad_edge=False)
    for column in ("source", "for", "parameters", "size", "GFLOP/row", "licence", "languages", "trained on"):
        table.add_column(column, overflow="fold")
    for spec in specs:
        table.add_row(
            spec.uri, spec.modality, f"{spec.parameters / 1e6:.1f} M", f"{spec.bytes / 1e6:.0f} MB",
            f"{spec.flops / 1e9:.3f}", spec.licence or "?", " ".join(spec.languages) or "?", spec.objective or "?",
        )
    Console(highlight=False).print(table if specs else "no source within reach; name folders with --models or GRAFT_MODELS")


@app.command
def show(run: Path) -> None:
    """Print the answer of a run.

    Parameters
    ----------
    run
        Folder that graft fit wrote.
    """
    from graft.screen import Screen, duration, interval

    record = _read_run(run)
    screen = Screen()
    screen.on_answer(record)
    screen.heading("Trials")
    for trial in record.trials:
        score = interval(trial["score"]) if trial["score"] else "–"
        reason = f"  {trial['reason']}" if trial["reason"] else ""
        screen.line(f"  {trial['name']:<58} {score}  {duration(trial['seconds'])}  {trial['state']}{reason}")
    screen.line(f"\n  {record.guard['sentence']}")
    screen.line(f"  report: {run / 'report.html'}")


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
    except FileNotFoundError as error:
        raise SourceError(f"{run} is not a graft run", hint="give the folder that graft fit wrote") from error
    except (ValueError, TypeError) as error:
        raise SourceError(f"{path} is damaged: {error}") from error


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
    print(f"{len(entries)} entries, {store.size() / 1e6:,.1f} MB of at most {store.max_bytes / 1e9:,.0f} GB in {store.folder}")


@app.meta.default
def _with_config(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    config: Annotated[Path | None, Parameter(help="TOML file with a table per command: [fit] budget = '2m'.")] = None,
) -> None:
    app.config = (Toml(config, must_exist=True),) if config else ()
    app(tokens, exit_on_error=False, print_error=False)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit code."""
    try:
        app.meta(sys.argv[1:] if arguments is None else arguments, exit_on_error=False, print_error=False)
    except GraftError as error:
        return _fail(str(error), error.exit_code)
    except CycloptsError as error:
        return _fail(" ".join(str(error).split()), UsageError.exit_code)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader went away (graft predict … | head): nothing to say
        return 0
    except MemoryError:
        return _fail("out of memory; use a smaller model or fewer rows", GraftError.exit_code)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _fail("the disk is full; free some space, or name other folders with --out and GRAFT_CACHE",
                         OutputError.exit_code)
        return _fail(f"{error.strerror or error} [{error.filename}]" if error.filename else str(error),
                     OutputError.exit_code)
    return 0


def _fail(line: str, code: int) -> int:
    print(f"graft: {line}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
