"""What the command line shows: what was understood, the plan, progress, and the answer."""

from __future__ import annotations

import codecs
import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.table import Column, Table
from rich.text import Text

if TYPE_CHECKING:
    from graft.auto import Remarks
    from graft.core.runtime import Clock
    from graft.core.types import Dataset, ModelSpec, Ranking, Run
    from graft.evaluate.search import Trial

Score = tuple[float, float, float]
WIDEST = 120  # columns used at most; also the width of a file or a pipe, which have none of their own
MARKS = {"done": "[green]✓[/green]", "failed": "[red]✗[/red]"}
ASCII = {"✓": "+", "✗": "x", "–": "-", "“": '"', "”": '"', "→": "->", "…": "...", "·": "-", "²": "2"}
BASELINES = ("majority", "classical", "boosting")
WORTH_SAYING = 5e-4  # of a score, in its own unit
IN_MEMORY = "stay in memory"  # a cache that cannot be written is worth a line that stays


def interval(score: Sequence[float] | None) -> str:
    """``0.962 [0.951, 0.972]``; a dash where there is none."""
    return "–" if score is None else f"{score[0]:.3f} [{score[1]:.3f}, {score[2]:.3f}]"


def metric_name(metric: str) -> str:
    """What a metric is called in a sentence."""
    boxes = {"map": "mAP@[.5:.95]", "map50": "mAP@.5", "map75": "mAP@.75"}
    return boxes.get(metric) or metric.replace("_", " ").replace("r2", "R²")


def duration(seconds: float | None) -> str:
    """Seconds in words.

    Example:
        >>> duration(0.21), duration(75), duration(None)
        ('0.2 s', '1 min 15 s', 'no limit')
    """
    if seconds is None:
        return "no limit"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"


def sounds_in_words(facts: dict[str, Any]) -> str:
    """Lengths, rates and channels of sounds in one line."""
    seconds = facts["seconds"]
    lengths = f"{seconds['min']:.2f} to {seconds['max']:.2f} s, median {seconds['median']:.2f} s"
    kinds = [", ".join(list(facts[name])[:3]) for name in ("rates", "channels", "formats")]
    return f"sounds: {lengths}, {duration(seconds['total'])} in all; {'; '.join(kinds)}"


def _substitute(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    letters = error.object[error.start : error.end]
    return "".join(ASCII.get(c) or c.encode("ascii", "backslashreplace").decode() for c in letters), error.end


def prepare_streams() -> None:
    """Let a terminal that is not UTF-8 show what it can, instead of failing."""
    codecs.register_error("graft", _substitute)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="graft")


def print_json(value: Any) -> None:
    """Print JSON that the encoding of standard output can carry."""
    utf8 = (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")
    sys.stdout.write(json.dumps(value, ensure_ascii=not utf8, default=float) + "\n")


def _padded(text: str, width: int) -> str:
    return escape(text) + " " * (width - cell_len(text))


class Unbroken(Console):
    """A console whose reader may go away (``graft fit … | head``): the run goes on and is saved, in silence."""

    def on_broken_pipe(self) -> None:
        """Write to nowhere from now on."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class TimeLeft(ProgressColumn):
    """Time left: that of the budget, or what the speed so far predicts."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        """The text of one bar."""
        clock = task.fields.get("clock")
        seconds = max(0.0, clock.left()) if clock else task.time_remaining
        return Text(f"{duration(seconds)} left" if seconds is not None else "", style="dim")


class Bars(Progress):
    """Progress bars; the one of the budget moves with the clock, whether or not a step reports."""

    def get_renderables(self) -> Any:
        """Everything that is drawn."""
        for task in self.tasks:
            if clock := task.fields.get("clock"):
                task.completed = min(clock.elapsed(), task.total or 0.0)
        return super().get_renderables()


class Screen:
    """Prints a run as it happens.  Implements ``graft.auto.Listener``.

    Args:
        quiet: Print nothing but the answer.
        clock: The budget, shown as a bar.
    """

    def __init__(self, *, quiet: bool = False, clock: Clock | None = None) -> None:
        self.out: Console = Unbroken(highlight=False)
        self.wraps = self.out.is_terminal
        if self.wraps:
            self.out = Unbroken(highlight=False, width=min(self.out.width, WIDEST))
        else:
            self.out = Unbroken(highlight=False, soft_wrap=True, width=WIDEST)
        self.quiet, self.clock = quiet, clock
        self.names = min(58, max(20, self.out.width - 38))  # columns for the name of a trial or step
        console = self.out if self.wraps else Console(stderr=True)
        self.bar = Bars(
            SpinnerColumn(),
            TextColumn("{task.description}", table_column=Column(no_wrap=True, max_width=36)),
            BarColumn(bar_width=16), TextColumn("{task.percentage:>3.0f} %"), TimeLeft(),
            TextColumn("[dim]{task.fields[note]}[/dim]", table_column=Column(no_wrap=True, ratio=1)),
            console=console, transient=True, expand=True, disable=quiet or not console.is_terminal,
            # lines for a file must not be drawn above the bars of the terminal
            redirect_stdout=self.wraps, redirect_stderr=self.wraps,
        )  # fmt: skip
        self.steps: dict[str, Any] = {}
        self.section = ""

    def __enter__(self) -> Self:
        self.bar.start()
        if self.clock and self.clock.budget and not self.bar.disable:
            self.bar.add_task("budget", total=self.clock.budget, note="", clock=self.clock)
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def line(self, text: str = "", *, indent: int = 2, cut: bool = False) -> None:
        """Print a line of markup unless quiet: wrapped to the terminal, or cut there; whole in a file."""
        if not self.quiet:
            self._print(text, indent=indent, cut=cut)

    def _print(self, text: str, *, indent: int = 2, cut: bool = False) -> None:
        if not text or not self.wraps:
            self.out.print(" " * indent + text if text else "")
            return
        shown: RenderableType = Text.from_markup(text, overflow="ellipsis" if cut else "fold")
        self.out.print(Padding(shown, (0, 0, 0, indent), expand=False), no_wrap=cut)

    def heading(self, text: str) -> None:
        """Print a heading, once for the lines that stand under it."""
        if text != self.section:
            self.section = text
            self.line()
            self.line(f"[bold]{text}[/bold]", indent=0)

    def facts(self, name: str, text: str, *, always: bool = False) -> None:
        """Print a name and what there is to say, wrapped beside it."""
        if self.quiet and not always:
            return
        if not self.wraps:
            self._print(f"{name:<9} {text}")
            return
        table = Table.grid(padding=(0, 1, 0, 0))
        table.add_column(width=9, no_wrap=True)
        table.add_column(overflow="fold")
        table.add_row(f"[dim]{name}[/dim]", text)
        self.out.print(Padding(table, (0, 0, 0, 2), expand=False))

    # -- events of a run ---------------------------------------------------------------------------------------------

    def on_data(self, data: Dataset, facts: dict[str, Any]) -> None:
        """Show what was understood."""
        task = data.task
        self.heading("Data")
        what = f"{len(task.classes)} classes" if task.is_classification else "a number"
        what = f"spans of {len(task.classes) // 2} type(s)" if task.is_tagging else what
        what = f"any of {len(task.classes)} labels" if task.is_multilabel else what
        what = f"boxes of {len(task.classes)} class(es)" if task.is_detection else what
        self.line(
            f"{escape(data.name)}: {len(data):,} rows, {task.modality} → {what} in “{escape(task.target)}”, "
            f"judged by {metric_name(task.metric)}"
        )
        if "per_class" in facts:
            counts = sorted(facts["per_class"].items(), key=lambda item: -item[1])
            shown = ", ".join(f"{escape(name)} {count:,}" for name, count in counts[:8])
            self.line(f"classes: {shown}{' …' if len(counts) > 8 else ''}")
        scripts = facts["facts"].get("scripts")
        if scripts:
            self.line(
                "scripts: "
                + ", ".join(f"{name} {share:.0%}" for name, share in list(scripts.items())[:4] if share >= 0.005)
            )
        if task.modality == "audio":
            self.line(sounds_in_words(facts["facts"]))
        for note in data.notes:
            self.line(f"[dim]· {escape(note)}[/dim]")
        self.line("one example:")
        for step, value in facts["example"]:
            text = " ".join(str(value).split())
            text = text[:159] + "…" * (len(text) > 159)
            self.line(f"[dim]{escape(step):<10}[/dim] {escape(text)}", indent=4, cut=True)

    def on_sources(self, specs: Sequence[ModelSpec], left_out: Remarks, noticed: Remarks) -> None:
        """Show the sources considered."""
        self.heading("Sources")
        for spec in specs:
            trained = f"  [dim]{escape(spec.objective)}[/dim]" if spec.objective else ""
            self.line(f"{escape(spec.uri)}  {spec.parameters / 1e6:.1f} M parameters{trained}", cut=True)
        for spec, note in noticed:
            self.line(f"[dim]· {escape(spec.name)}: {escape(note)}[/dim]")
        for spec, reason in left_out:
            self.line(f"[yellow]not {escape(spec.name)}[/yellow]: {escape(reason)}")
        if not specs and not left_out:
            self.line("none within reach reads this data; see graft models")

    def on_plan(self, steps: Sequence[tuple[str, float]], memory: int) -> None:
        """Show the plan."""
        if not steps:
            return
        self.heading("Plan")
        rows = [(step, duration(seconds)) for step, seconds in steps] + [("memory", f"{memory / 2**20:,.0f} MiB")]
        width = min(self.out.width - 22, max(cell_len(name) for name, _ in rows))
        for name, value in rows:
            self.line(f"{_padded(name, width)}  about {value}")

    def on_ranking(self, ranking: Ranking) -> None:
        """Show the ranking."""
        self.heading("Ranking of sources")
        self.ranking_table(ranking)

    def ranking_table(self, ranking: Ranking) -> None:
        """Print candidates with their scores, and what cannot be told apart."""
        if self.quiet:
            return
        names = list(dict.fromkeys(name for row in ranking.rows for name in row.scores if name != ranking.by))
        room = self.out.width - max((cell_len(row.spec.name) for row in ranking.rows), default=0) - 41
        names = [
            name for place, name in enumerate(names) if room >= sum(max(8, len(n) + 1) for n in names[: place + 1])
        ]
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
        table.add_column("source", no_wrap=True, overflow="ellipsis")
        for column in (ranking.by, *names, "ms/row", "s"):
            table.add_column(column, no_wrap=True, justify="right")
        for row in ranking.usable:
            others = [f"{row.scores[name][0]:.3f}" if name in row.scores else "–" for name in names]
            cost = (f"{1000 * row.cost:.2f}", f"{row.seconds:.1f}")
            table.add_row(escape(row.spec.name), interval(row.scores.get(ranking.by)), *others, *cost)
        if ranking.usable:
            self.out.print(Padding(table, (0, 0, 0, 2), expand=False))
        for row in ranking.rows:
            if row.failure:
                self.line(f"[yellow]{escape(row.spec.name)} failed[/yellow]: {escape(row.failure)}")
        for sentence in ranking.sentences:
            self.line(escape(sentence))

    def sources_table(self, specs: Sequence[ModelSpec]) -> None:
        """Print what is known of sources."""
        if not specs:
            self.line("no source within reach; name folders with --models or GRAFT_MODELS", indent=0)
        for spec in specs:
            self.line(f"[bold]{escape(spec.uri)}[/bold]", indent=0)
            pass_ = f", {spec.flops / 1e9:.3g} GFLOP per row" if spec.flops else ""
            self.line(f"{spec.modality}, {spec.parameters / 1e6:.1f} M parameters, {spec.bytes / 1e6:.0f} MB{pass_}")
            self.line(f"licence {escape(spec.licence or '?')}, languages {escape(' '.join(spec.languages) or '?')}")
            if spec.objective:
                self.line(f"trained on: {escape(spec.objective)}", cut=True)

    def on_trial(self, trial: Trial, score: Score | None) -> None:
        """Show one trial."""
        self.heading("Baselines" if trial.candidate.transfer in BASELINES else "Trials")
        self._clear_steps()
        self.trial_line(trial.candidate.name, trial.state, score, trial.seconds, trial.reason)

    def trial_line(self, name: str, state: str, score: Score | None, seconds: float, reason: str) -> None:
        """Print a trial with its score and time, and why it did not come to its end."""
        result = f" {interval(score)}  {duration(seconds)}" if score else ""
        self.line(
            f"{MARKS.get(state, '[yellow]–[/yellow]')} {_padded(name, self.names) if result else escape(name)}{result}"
        )
        if reason:
            self.line(f"[dim]{state}: {escape(reason)}[/dim]", indent=4)

    def on_answer(self, run: Run) -> None:
        """Show the answer."""
        answer = run.answer
        self._clear_steps()
        self._print("")
        self._print("[bold]Answer[/bold]", indent=0)
        self._print(f"[bold]{escape(answer['trial'][:1].upper() + answer['trial'][1:])}[/bold]")
        for member in answer.get("members", []):
            self.facts("member", f"{member['weight']:.0%}  {escape(member['name'])}", always=True)
        less = f", {answer['optimism']:.3f} taken off for the choice" if answer["optimism"] >= WORTH_SAYING else ""
        self.facts(
            metric_name(answer["metric"]),
            f"[bold]{interval(answer['score'])}[/bold]  {answer['level']:.0%} interval, held-out rows{less}",
            always=True,
        )
        if answer.get("baseline"):
            baseline = answer["baseline"]
            self.facts("baseline", f"{interval(baseline['score'])}  {escape(baseline['name'])}", always=True)
        self.facts("guard", escape(run.guard.get("sentence") or answer["sentence"]), always=True)
        if answer.get("unlabelled"):
            self.facts("no label", escape(answer["unlabelled"]["sentence"]), always=True)
        self.facts("time", f"{duration(answer['seconds'])} of {duration(answer['budget_seconds'])}", always=True)
        if answer.get("advice"):
            self.facts("more", escape(answer["advice"]))

    # -- pretraining -------------------------------------------------------------------------------------------------

    def pretraining(self, label: str, data: Dataset, options: dict[str, Any]) -> None:
        """Show what will be learned from."""
        self.heading("Pretraining")
        self.line(f"{escape(label)} on {escape(data.name)}: {len(data):,} rows of {data.task.modality}")
        given = ", ".join(f"{name} {value}" for name, value in options.items() if value is not None)
        self.line(f"[dim]{escape(given)}[/dim]")
        for note in data.notes:
            self.line(f"[dim]· {escape(note)}[/dim]")

    def pretrained(self, record: dict[str, Any], folder: str) -> None:
        """Show scores beside simple models, samples, and where the source is."""
        self._clear_steps()
        training, encoder = record["training"], record["encoder"]
        self._print("")
        self._print("[bold]Result[/bold]", indent=0)
        self.facts("encoder", f"{encoder['architecture']}, {encoder['parameters'] / 1e6:.2f} M parameters", always=True)
        speeds = {key: value for key, value in training.items() if key.endswith("_per_second") and value}
        rate = "".join(f", {value:,.0f} {key.replace('_', ' ')}" for key, value in speeds.items())
        passes = f"{training['steps']:,} steps, {training['epochs']:.3g} epochs"
        self.facts("training", f"{passes} in {duration(training['seconds'])}{rate}", always=True)
        for score in record["scores"]:
            beside = ", ".join(f"{name} {value:.4g}" for name, value in score["baselines"].items())
            value = f"{score['value']:.4g} [{score['low']:.4g}, {score['high']:.4g}]"
            self.facts(
                "held out", f"{escape(score['name'])} [bold]{value}[/bold]  beside {escape(beside)}", always=True
            )
        for sample in [sample for sample in record["samples"] if "picture" not in sample][:6]:
            given = f"{sample['given']} → " if sample["kind"] in ("continued", "judged") else ""
            text = sample.get("text") or "; ".join(
                f"{blank['true']}: {', '.join(word for word, _ in blank['guesses'])}" for blank in sample["blanks"]
            )
            shown = f"{sample['given']}  ({text})" if sample["kind"] == "filled" else given + text
            self.line(f"[dim]{sample['kind']:<10}[/dim] {escape(' '.join(shown.split()))}")
        for note in record.get("notes", []):
            self.facts("note", escape(note), always=True)
        self.facts("source", f"file:{escape(folder)}", always=True)
        self.facts("next", escape(f"graft fit LABELLED_DATA --models {folder}"), always=True)

    # -- progress ----------------------------------------------------------------------------------------------------

    def progress(self, step: str, done: float, note: str = "") -> None:
        """Move the bar of a step."""
        if IN_MEMORY in note:
            self.line(f"[yellow]{escape(step)}[/yellow]: {escape(note)}")
        if self.bar.disable:
            return
        done = min(1.0, done)
        if step not in self.steps:
            self.steps[step] = self.bar.add_task(escape(step), total=1.0, note="")
        elif done < next(task.completed for task in self.bar.tasks if task.id == self.steps[step]):
            self.bar.reset(self.steps[step])  # the next fold begins
        self.bar.update(self.steps[step], completed=done, note=escape(note), visible=done < 1.0)

    def _clear_steps(self) -> None:
        for task in self.steps.values():
            self.bar.remove_task(task)
        self.steps.clear()
