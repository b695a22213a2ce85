"""What the command line shows: what was understood, the plan, progress, and the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

if TYPE_CHECKING:
    from graft.core.types import Dataset, ModelSpec, Ranking, Run
    from graft.evaluate.search import Trial

Score = tuple[float, float, float]


def interval(score: Sequence[float] | None) -> str:
    """``0.962 [0.951, 0.972]``; a dash where there is none."""
    return "–" if score is None else f"{score[0]:.3f} [{score[1]:.3f}, {score[2]:.3f}]"


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
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"


class Screen:
    """Prints a run as it happens.  Implements ``graft.auto.Listener``.

    Args:
        quiet: Print nothing but the answer.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.out = Console(highlight=False, soft_wrap=True)
        if not self.out.is_terminal:
            self.out = Console(highlight=False, soft_wrap=True, width=120)  # a file or a pipe has no width of its own
        self.quiet = quiet
        self.bar = Progress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn(), TextColumn("{task.fields[note]}"),
            console=Console(stderr=True), transient=True, disable=quiet or not Console(stderr=True).is_terminal,
        )
        self.steps: dict[str, Any] = {}

    def __enter__(self) -> Screen:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def line(self, text: str = "") -> None:
        """Print a line unless quiet."""
        if not self.quiet:
            self.out.print(text)

    def heading(self, text: str) -> None:
        """Print a heading."""
        self.line(f"\n[bold]{text}[/bold]")

    # -- events of a run ---------------------------------------------------------------------------------------------

    def on_data(self, data: Dataset, facts: dict[str, Any]) -> None:
        """Show what was understood."""
        task = data.task
        self.heading("Data")
        what = f"{len(task.classes)} classes" if task.is_classification else "a number"
        self.line(f"  {escape(data.name)}: {len(data):,} rows, {task.modality} → {what} in “{escape(task.target)}”, "
                  f"judged by {task.metric.replace('_', ' ')}")
        if "per_class" in facts:
            counts = sorted(facts["per_class"].items(), key=lambda item: -item[1])
            shown = ", ".join(f"{escape(name)} {count:,}" for name, count in counts[:8])
            self.line(f"  classes: {shown}{' …' if len(counts) > 8 else ''}")
        scripts = facts["facts"].get("scripts")
        if scripts:
            self.line("  scripts: " + ", ".join(f"{name} {share:.0%}" for name, share in list(scripts.items())[:4]))
        for note in data.notes:
            self.line(f"  [dim]· {escape(note)}[/dim]")
        self.line("  one example:")
        for step, value in facts["example"]:
            self.line(f"    [dim]{escape(step):<12}[/dim] {escape(str(value))[:160]}")

    def on_sources(self, specs: Sequence[ModelSpec], left_out: Sequence[tuple[ModelSpec, str]]) -> None:
        """Show the sources considered."""
        self.heading("Sources")
        for spec in specs:
            self.line(f"  {escape(spec.uri)}  {spec.parameters / 1e6:.1f} M parameters  [dim]{escape(spec.objective[:70])}[/dim]")
        for spec, reason in left_out:
            self.line(f"  [yellow]not {escape(spec.name)}[/yellow]: {escape(reason)}")
        if not specs and not left_out:
            self.line("  none within reach reads this data; see graft models")

    def on_plan(self, steps: Sequence[tuple[str, float]], memory: int) -> None:
        """Show the plan."""
        self.heading("Plan")
        for step, seconds in steps:
            self.line(f"  {escape(step):<56} about {duration(seconds)}")
        self.line(f"  memory: about {memory / 2**20:,.0f} MiB")

    def on_ranking(self, ranking: Ranking) -> None:
        """Show the ranking."""
        self.heading("Ranking of sources")
        self.ranking_table(ranking)
        for sentence in ranking.sentences:
            self.line(f"  {escape(sentence)}")

    def ranking_table(self, ranking: Ranking) -> None:
        """Print candidates with their scores."""
        names = list(dict.fromkeys(name for row in ranking.rows for name in row.scores if name != ranking.by))
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
        for column in ("source", ranking.by, *names, "ms/row", "s"):
            table.add_column(column, no_wrap=True, justify="left" if column == "source" else "right")
        for row in ranking.rows:
            if row.failure:
                table.add_row(escape(row.spec.name))
                continue
            others = [f"{row.scores[name][0]:.3f}" if name in row.scores else "–" for name in names]
            cost = (f"{1000 * row.cost:.2f}", f"{row.seconds:.1f}")
            table.add_row(escape(row.spec.name), interval(row.scores.get(ranking.by)), *others, *cost)
        if self.quiet:
            return
        self.out.print(Padding(table, (0, 0, 0, 2)))
        for row in ranking.rows:
            if row.failure:
                self.line(f"  [yellow]{escape(row.spec.name)} failed[/yellow]: {escape(row.failure)}")

    def on_trial(self, trial: Trial, score: Score | None) -> None:
        """Show one trial."""
        if len(self.steps) == 0 or "trials" not in self.steps:
            self.heading("Trials")
            self.steps["trials"] = None
        mark = {"done": "[green]✓[/green]", "failed": "[red]✗[/red]"}.get(trial.state, "[yellow]–[/yellow]")
        text = f"  {mark} {escape(trial.candidate.name):<58}"
        text += f" {interval(score)}  {duration(trial.seconds)}" if score else ""
        text += f"  [dim]{trial.state}: {escape(trial.reason)}[/dim]" if trial.reason else ""
        self.line(text)

    def on_answer(self, run: Run) -> None:
        """Show the answer."""
        answer = run.answer
        self.out.print(f"\n[bold]Answer[/bold]\n  {escape(answer['sentence'])}")
        score, metric = interval(answer["score"]), answer["metric"].replace("_", " ")
        self.out.print(f"  {metric} [bold]{score}[/bold] ({answer['level']:.0%} interval, held-out rows)")
        if answer.get("baseline"):
            self.out.print(f"  baseline: {escape(answer['baseline']['name'])} {interval(answer['baseline']['score'])}")
        self.out.print(f"  time: {duration(answer['seconds'])} of {duration(answer['budget_seconds'])}")

    def progress(self, step: str, done: float, note: str = "") -> None:
        """Move the bar of a step."""
        if self.bar.disable:
            return
        if step not in self.steps:
            self.steps[step] = self.bar.add_task(step, total=1.0, note="")
        self.bar.update(self.steps[step], completed=min(1.0, done), note=note, visible=done < 1.0)
