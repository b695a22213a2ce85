"""``graft adapt``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from graft.cli.app import Budget, Flag, Level, Many, Natural, app, load_data, typed
from graft.core.errors import UsageError

if TYPE_CHECKING:
    from graft.adaptation.domains import Domains
    from graft.auto.adapt import Adapt, Tried
    from graft.core.types import Dataset
    from graft.screen import Screen


@app.command
def adapt(
    source: str,
    target: str,
    *others: str,
    few: str | None = None,
    score: str | None = None,
    label: str | None = None,
    encoding: str = "utf-8",
    methods: Many = (),
    model: str | None = None,
    budget: Budget = "5m",
    level: Level = 0.9,
    seed: Natural = 0,
    vocabulary: Path | None = None,
    out: Path | None = None,
    resume: Flag = False,
    overwrite: Flag = False,
    cache: bool = True,
    quiet: Flag = False,
) -> None:
    """Learn on labelled rows of one domain for the rows of another, which have no labels.

    Many methods are tried and judged without a label of the target. One is
    used only if this evidence, checked on pseudo-targets made of the source,
    says that it beats learning on the source alone beyond noise; otherwise
    source only is returned, with the reason.

        graft adapt books.csv kitchen.csv --out runs/kitchen
        graft adapt books.csv dvd.csv kitchen.csv      two sources; the last file is the target

    Parameters
    ----------
    source
        Labelled file or folder.
    target
        File or folder of the same form. Its labels, if it has some, reach no method: they give the final score and nothing else.
    others
        More files: all but the last are sources, the last is the target.
    few
        Labelled rows of the target that may be learned from.
    score
        Other labelled rows of the target, for the final score.
    label
        Label column; found if not given.
    encoding
        Encoding of text files.
    methods
        Adaptations to try, of those in the reference; if not given all that need no network to be trained, or, for pictures and sounds without --model, some that train one.
    model
        Pretrained source whose features are adapted, such as sbert:all-MiniLM-L6-v2; the rows themselves if not given.
    budget
        Time for everything: 90s, 5m, 1h30m.
    level
        Confidence level of the intervals and of the veto.
    seed
        Seed of everything random.
    vocabulary
        Words of sparse counts, one per line in the order of the features: the report names them.
    out
        Folder to write; runs/TARGET-adapted if not given.
    resume
        Go on with an interrupted run of the same command.
    overwrite
        Replace the folder if it exists.
    cache
        Keep features on disk for the next run.
    quiet
        Print only the result.
    """  # noqa: D405, D411, D416  (an option is called methods)
    from shlex import join

    from rich.markup import escape

    from graft import __version__
    from graft.auto.adapt import Adapt, AdaptConfig
    from graft.core.folder import RunFolder, free_name
    from graft.core.runtime import Clock, parse_budget
    from graft.core.store import Store
    from graft.report import write_adaptation
    from graft.screen import Screen

    files = (source, target, *others)
    config = AdaptConfig(budget=budget, methods=tuple(methods), model=model, level=level, seed=seed)
    words = _words(vocabulary) if vocabulary else None
    out = out or free_name(Path("runs") / f"{Path(files[-1]).name.split('.')[0]}-adapted", resume=resume)
    facts = {"files": [str(Path(file).resolve()) for file in files], "label": label, "few": few, "score": score}
    facts |= {"encoding": encoding, "methods": methods, "model": model, "level": level, "seed": seed}
    folder = RunFolder(out, facts, resume=resume, overwrite=overwrite)
    clock = Clock(parse_budget(budget), spent=folder.spent)
    try:
        with Screen(quiet=quiet, clock=clock) as screen:
            reading = {"label": label, "encoding": encoding, "workdir": folder.partial / "data"}
            domains, truth = _read(files[:-1], files[-1], few, score, reading)
            screen.heading("Domains")
            for data in filter(None, (domains.source, domains.target, domains.few)):
                labelled = "labelled" if data.y is not None else "without labels"
                screen.line(f"{escape(data.name)}: {len(data):,} rows, {labelled}")
                for note in data.notes:
                    screen.line(f"[dim]· {escape(note)}[/dim]")
            screen.heading("Methods")
            store, told = Store() if cache else None, lambda one: _line(screen, one)
            run = Adapt(domains, config, store, screen.progress, told, clock.elapsed(), folder.work, words)
            model_, record = run.run()
            record |= {"command": join(["graft", *typed]), "version": __version__}
            record |= {"scores": _scores(run, model_, record, truth, level)}
            model_.save(folder.result)
            record = _write(record, folder.result)
            write_adaptation(record, folder.result)
            _answer(screen, record)
            folder.finish()
    except BaseException as error:
        folder.leave(error, clock.elapsed())
        raise
    screen.facts("next", escape(f"graft predict {folder.out} NEW_DATA --out predictions.csv"), always=True)


def _words(vocabulary: Path) -> list[str]:
    """The lines of a vocabulary."""
    from graft.core.errors import DataError

    try:
        return vocabulary.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        what = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror or str(error)
        raise DataError(f"the vocabulary cannot be read: {what}", where=str(vocabulary)) from None


def _read(
    sources: tuple[str, ...], target: str, few: str | None, score: str | None, reading: dict[str, Any]
) -> tuple[Domains, Dataset | None]:
    """The domains, and labelled target rows for the final score, which are kept apart from them."""
    import numpy as np

    from graft.adaptation.domains import pair
    from graft.data.joined import join

    first = load_data(sources[0], **reading).one_label_per_row("graft adapt")
    later = {key: value for key, value in reading.items() if key != "label"} | {"like": first}
    read = [first, *(load_data(file, **later) for file in sources[1:])]
    whole = read[0] if len(read) == 1 else join(read)
    rows = load_data(target, labelled=False, **later)
    labelled = load_data(few, **later) if few else None
    origin = np.repeat(np.arange(len(read)), [len(each) for each in read])
    domains = pair(whole, rows, origin=origin, few=labelled)
    if score:
        return domains, load_data(score, **later)
    return domains, _truth(target, later)


def _truth(target: str, reading: dict[str, Any]) -> Dataset | None:
    """The labelled rows of the target file itself; None where it has none."""
    from graft.core.errors import DataError

    try:
        truth = load_data(target, partly=True, **reading)
    except DataError:
        return None
    if truth.y is None or not truth.task.is_classification or not (truth.y >= 0).any():
        return None
    return truth.select(truth.y >= 0)


def _scores(run: Adapt, model: Any, record: dict[str, Any], truth: Dataset | None, level: float) -> dict[str, Any]:
    """Final scores on labelled target rows: of what is returned, of source only, and of the best of all (the oracle)."""
    if truth is None:
        return {}
    from graft.evaluate.metrics import evaluate

    task = truth.task
    found: dict[str, Any] = {"metric": task.metric, "rows": len(truth), "methods": {}}
    for tried in run.tried:
        if tried.observed is None:
            continue
        one = model if tried.name == record["returned"] else run.fitted(tried.name)
        score = evaluate(task, truth.y, one.outputs(truth), metrics=(task.metric,), level=level)[task.metric]
        found["methods"][tried.name] = list(score)
    best = max(found["methods"], key=lambda name: found["methods"][name][0])
    own, base = (found["methods"][name][0] for name in (record["returned"], record["base"]))
    return found | {"oracle": best, "lost": found["methods"][best][0] - own, "gained": own - base}


def _write(record: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Write ``adapt.json``; what a reader of it gets."""
    import json

    text = json.dumps(record, ensure_ascii=False, indent=1, allow_nan=False, default=_plain)
    (folder / "adapt.json").write_text(text, encoding="utf-8", errors="backslashreplace")
    found: dict[str, Any] = json.loads(text)
    return found


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "__dict__"):
        return vars(value)
    raise UsageError(f"cannot write a {type(value).__name__}")


def _line(screen: Screen, tried: Tried) -> None:
    screen.trial_line(tried.label, "failed" if tried.reason else "done", None, tried.seconds, tried.reason)


def _answer(screen: Screen, record: dict[str, Any]) -> None:
    """The result in words."""
    from rich.markup import escape

    from graft.screen import interval

    screen.heading("Answer")
    distance = record["distance"]
    screen.facts("answer", f"[bold]{escape(record['label'])}[/bold]", always=True)
    screen.facts("veto", escape(record["sentence"]), always=True)
    told = "domains cannot be told apart" if distance["a_distance"][1] <= 0 else "0 alike, 2 apart"
    screen.facts("distance", f"A-distance {interval(distance['a_distance'])} ({told})", always=True)
    if record["shift"]:
        few = ", ".join(str(one["name"]) for one in record["shift"][:6])
        screen.facts("shift", escape(f"most in {few}"))
    scores = record["scores"]
    if scores:
        own, base = (scores["methods"][record[key]] for key in ("returned", "base"))
        beside = f"source only {interval(base)}" if record["returned"] != record["base"] else "source only"
        screen.facts(
            scores["metric"], f"[bold]{interval(own)}[/bold]  {beside}, {scores['rows']:,} target rows", always=True
        )
        labels = {one["name"]: one["label"] for one in record["tried"]}
        lost = f"{100 * scores['lost']:.1f} points above" if scores["lost"] > 0 else "the same"
        screen.facts("oracle", f"{labels[scores['oracle']]}, chosen by the target's labels: {lost}", always=True)
