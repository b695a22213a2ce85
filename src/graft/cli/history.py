"""``graft history``: the finished runs, and what they suggest for a new task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter, validators

from graft.cli.app import Flag, app, load_data
from graft.core.errors import UsageError

if TYPE_CHECKING:
    from graft.history.history import Entry, History
    from graft.screen import Screen

SHOWN = 5  # similar tasks and suggestions printed


@app.command
def history(
    data: str | None = None,
    *,
    label: str | None = None,
    encoding: str = "utf-8",
    forget: Annotated[int | None, Parameter(validator=validators.Number(gte=1))] = None,
    clear: Flag = False,
    json: Flag = False,
) -> None:
    """List the finished runs; with DATA, those most like it and what graft fit would try first, and why.

    What is kept of a run is its sizes, settings, scores and times, in the folder history of the cache; no rows, no text,
    no class names.

    Parameters
    ----------
    data
        Labelled file or folder, as for graft fit; it is only looked at.
    label
        Label column; found if not given.
    encoding
        Encoding of text files.
    forget
        Forget the run with this number in the list.
    clear
        Forget all runs.
    json
        Print JSON.
    """
    import sys

    from graft.history.history import History

    if (data is not None) + (forget is not None) + clear > 1:
        raise UsageError("DATA, --forget and --clear exclude each other", hint="give one of them")
    past = History()
    if clear:
        print(f"forgot {_runs(past.clear())} in {past.folder}")
    elif forget is not None:
        _forget(past, forget)
    elif data is not None:
        _suggest(past, data, label, encoding, json=json)
    else:
        _list(past, json=json)
    for note in past.notes:
        print(f"graft: {note}", file=sys.stderr)


def _runs(count: int) -> str:
    return f"{count} run" if count == 1 else f"{count} runs"


def _forget(past: History, number: int) -> None:
    entries = past.entries()
    if number > len(entries):
        raise UsageError(f"there is no run {number}", hint=f"graft history lists {_runs(len(entries))}")
    entry = entries[number - 1]
    past.remove(entry.key)
    print(f"forgot run {number}: {entry.name}, {entry.finished[:16].replace('T', ' ')}")


def _list(past: History, *, json: bool) -> None:
    from dataclasses import asdict

    from rich.cells import cell_len, set_cell_size
    from rich.markup import escape

    from graft.screen import Screen, duration, interval, metric_name, print_json

    entries = past.entries()
    if json:
        print_json([asdict(entry) for entry in entries])
        return
    if not entries:
        print("no finished runs yet; graft fit DATA adds the first one")
        return
    screen = Screen()
    width = min(32, max(cell_len(entry.name) for entry in entries))
    for number, entry in enumerate(entries, start=1):
        what = f"{entry.rows:>9,} rows  {_kind(entry)}"
        name = escape(set_cell_size(entry.name, max(width, cell_len(entry.name))))
        screen.line(f"{number:>3}  {_when(entry)}  [bold]{name}[/bold] {what}", indent=0, cut=True)
        score = f"{metric_name(entry.metric)} {interval(entry.score)}" if entry.score else "no score"
        screen.line(f"{escape(entry.best)}: {score}, {duration(entry.seconds)}", indent=5, cut=True)


def _when(entry: Entry) -> str:
    from datetime import datetime

    try:
        return f"{datetime.fromisoformat(entry.finished).astimezone():%Y-%m-%d %H:%M}"
    except ValueError:
        return entry.finished[:16]


def _kind(entry: Entry) -> str:
    from math import exp

    classes = entry.statistics.get("classes")
    outputs = f"{round(exp(classes))} classes" if isinstance(classes, float) else "a number"
    return f"{entry.statistics.get('modality')}, {outputs}"


def _suggest(past: History, data: str, label: str | None, encoding: str, *, json: bool) -> None:
    from dataclasses import asdict

    from graft.history.history import suggest
    from graft.history.statistics import statistics
    from graft.screen import Screen, print_json

    table = load_data(data, label=label, encoding=encoding)
    facts = statistics(table)
    near = past.similar(facts, exclude=table.fingerprint())
    suggested = [one for one in suggest(near) if one.transfer != "majority"]  # that one is always tried
    if json:
        found = [{"distance": distance, **asdict(entry)} for distance, entry in near]
        print_json({"statistics": facts, "similar": found, "suggestions": [asdict(one) for one in suggested]})
        return
    screen = Screen()
    if not near:
        kind = f"{table.task.modality} {table.task.kind}"
        screen.line(f"no other {kind} in the history: graft fit begins in its default order", indent=0)
        return
    _print_similar(screen, near)
    screen.heading("What graft fit would try first")
    if not suggested:
        screen.line("its default order: no run on these tasks compared two ways")
    for number, one in enumerate(suggested[:SHOWN], start=1):
        _print_suggestion(screen, number, one)


def _print_similar(screen: Screen, near: list[tuple[float, Entry]]) -> None:
    from rich.markup import escape

    from graft.screen import interval

    screen.heading("The most similar tasks")
    nearest: dict[str, tuple[float, Entry]] = {}
    for distance, entry in near:  # several runs on one data set are one task
        nearest.setdefault(entry.fingerprint, (distance, entry))
    for distance, entry in list(nearest.values())[:SHOWN]:
        won = f"{escape(entry.best)} {interval(entry.score)}"
        screen.line(f"{distance:.2f}  {escape(entry.name)}, {entry.rows:,} rows, {_kind(entry)}: {won}", cut=True)


def _print_suggestion(screen: Screen, number: int, one: Any) -> None:
    from rich.markup import escape

    settings = ", ".join(f"{key}={value}" for key, value in one.settings.items())
    way = one.transfer + (f" of {one.source}" if one.source else "") + (f" ({settings})" if settings else "")
    cost = "" if one.seconds is None else f", {one.seconds:.3g} x the time of the cheapest probe"
    screen.line(f"{number}  [bold]{escape(way)}[/bold]")
    screen.line(f"expected {100 * one.regret:.1f} points behind the best{cost}; {escape(one.reason)}", indent=5)
