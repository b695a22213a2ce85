"""The page about label efficiency: a chart per source made here, and a sentence read off its figures."""

from __future__ import annotations

import itertools
import math
import re
from typing import Any

from graft.charts import Scale, element, scale_of, ticks

COLOURS = {
    "pretrained, probe": "#0b7350",
    "pretrained, fine-tuned": "#3aa77d",
    "from scratch": "#b4632d",
    "before, probe": "#b4632d",
    "before, fine-tuned": "#d79a6c",
    "classical": "#6b6f76",
}
OTHERS = ("from scratch", "before, probe", "before, fine-tuned", "classical")
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 300, 46, 176, 16, 40
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#555}line.grid{stroke:#9994;stroke-width:1}"
    "@media(prefers-color-scheme:dark){text{fill:#bbb}}"
)


def curves(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The rows of each curve, in order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["curve"], []).append(row)
    return found


def slug(name: str) -> str:
    """A file name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def chart(rows: list[dict[str, Any]]) -> str:
    """Accuracy over labels per class: a line per system, a bar from its lowest to its highest seed."""
    counts = list(dict.fromkeys(row["labels"] for row in rows))
    across = Scale(0, max(1, len(counts) - 1), LEFT + 12, WIDTH - RIGHT)
    values = scale_of([[row["mean"], row["low"], row["high"]] for row in rows], inside=(0.0, 1.0))
    up = Scale(values.low, values.high, HEIGHT - BOTTOM, TOP)
    parts = [element("style", STYLE)]
    for tick in ticks(values):
        y = up(tick)
        parts.append(element("line", x1=LEFT, x2=WIDTH - RIGHT + 12, y1=y, y2=y, class_="grid"))
        parts.append(element("text", f"{100 * tick:g} %", x=LEFT - 6, y=y + 4, text_anchor="end"))
    for place, count in enumerate(counts):
        parts.append(element("text", count or "all", x=across(place), y=HEIGHT - 20, text_anchor="middle"))
    parts.append(element("text", "labels per class", x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 3, text_anchor="middle"))
    ends = []
    for system, colour in COLOURS.items():
        points = [(across(counts.index(row["labels"])), row) for row in rows if row["system"] == system]
        if not points:
            continue
        for x, row in points:
            parts.append(
                element("line", x1=x, x2=x, y1=up(row["low"]), y2=up(row["high"]), stroke=colour, stroke_opacity=0.5)
            )
            parts.append(element("circle", cx=x, cy=up(row["mean"]), r=3, fill=colour))
        line = " ".join(f"{x:.1f},{up(row['mean']):.1f}" for x, row in points)
        parts.append(element("polyline", points=line, fill="none", stroke=colour, stroke_width=2))
        ends.append([up(points[-1][1]["mean"]), system, colour])
    ends.sort()
    for before, after in itertools.pairwise(ends):
        after[0] = max(after[0], before[0] + 15)  # names must not lie on each other
    parts += [element("text", name, x=WIDTH - RIGHT + 18, y=y + 4, style=f"fill:{colour}") for y, name, colour in ends]
    return (
        str(element("svg", *parts, xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {WIDTH} {HEIGHT}", width=WIDTH))
        + "\n"
    )


def sentence(rows: list[dict[str, Any]]) -> str:
    """Where the better of probe and fine-tuning is above, and below, the better of scratch and classical.

    A difference counts where it is larger than the spread over the seeds of both, and than what 90 % of the differences
    of equal models would be on so many test rows.
    """
    helps, hurts, even = [], [], []
    for count in dict.fromkeys(row["labels"] for row in rows):
        here = {row["system"]: row for row in rows if row["labels"] == count}
        ours = max((here[name] for name in here if name not in OTHERS), key=lambda row: row["mean"])
        other = max((here[name] for name in here if name in OTHERS), key=lambda row: row["mean"])
        gap = 100 * (ours["mean"] - other["mean"])
        spread = math.hypot(ours["high"] - ours["low"], other["high"] - other["low"]) / 2
        drawn = math.sqrt(sum(row["mean"] * (1 - row["mean"]) / row["n_test"] for row in (ours, other)))
        noise = 100 * max(spread, 1.645 * drawn)
        points = f"{gap:+.1f}".replace("-", "−")
        said = f"{count or 'all'} ({points} points against {other['system']})"
        (even if abs(gap) <= noise else helps if gap > 0 else hurts).append(said)
    parts = [
        f"{word} with {', '.join(found)} labels per class"
        for word, found in (("helps", helps), ("makes no clear difference", even), ("hurts", hurts))
        if found
    ]
    text = "; ".join(parts) + "."
    return text[:1].upper() + text[1:] + _gained(rows)


def _gained(rows: list[dict[str, Any]]) -> str:
    """What the pretraining itself is worth: against the same network without it, by labels per class."""
    said = []
    for count in dict.fromkeys(row["labels"] for row in rows):
        here = {row["system"]: row["mean"] for row in rows if row["labels"] == count}
        without = [here[name] for name in ("from scratch", "before, probe", "before, fine-tuned") if name in here]
        if without:
            gap = 100 * (max(here[name] for name in here if name not in OTHERS) - max(without))
            said.append(f"{gap:+.1f} ({count or 'all'})")
    if not said:
        return ""
    beside = "the source as it was" if any(row["system"].startswith("before") for row in rows) else "no pretraining"
    return f" Points against {beside}: {', '.join(said)}.".replace("-", "−")


def page_of(result: dict[str, Any]) -> tuple[list[str], dict[str, str]]:
    """Markdown parts, and the charts by file name."""
    parts, charts = [], {}
    for name, rows in curves(result["rows"]).items():
        charts[f"labels-{slug(name)}.svg"] = chart(rows)
        made = next((row["source"] for row in rows if "source" in row), None)
        facts = ""
        if made:
            training, encoder = made["training"], made["encoder"]
            facts = (
                f"{encoder['architecture']}, {encoder['parameters'] / 1e6:.2f} M weights, {training['steps']:,} steps in "
                f"{training['seconds']:.0f} s. "
            )
        parts += [f"## {name}", "", f"![{name}](../images/labels-{slug(name)}.svg)", "", facts + sentence(rows), ""]
    return parts, charts
