"""Charts of the report: small functions from numbers to inline SVG, without scripts, fonts or colours of their own.

Colours are classes that the page's style sheet defines, so one chart serves light, dark and paper.  Interval charts
use percentages for x, so they stretch with the page while their dots stay round; the others have a fixed view box.
Every function accepts missing and non-finite numbers and leaves out what cannot be drawn.
"""

from __future__ import annotations

import itertools
import math
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

Triple = tuple[float, float, float]
Text = Callable[[float], str]

NUMBERED = 12  # a confusion matrix of up to this many classes has room for numbers in its cells


HUES = 6  # colours of classes in a plane


def finite(value: Any) -> float | None:
    """``value`` as a finite float, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def triple(value: Any) -> Triple | None:
    """(value, low, high) of a number or a list; a missing bound is the value itself; None without a value."""
    parts = value if isinstance(value, list | tuple) else [value]
    middle = finite(parts[0]) if parts else None
    if middle is None:
        return None
    low, high = (finite(part) for part in (*parts[1:3], None, None)[:2])
    return middle, middle if low is None else low, middle if high is None else high


def element(tag: str, *children: str, **attributes: Any) -> Markup:
    """One SVG element; ``class_`` is ``class``, other underscores are hyphens; None leaves an attribute out."""
    parts = [
        f' {key.rstrip("_").replace("_", "-")}="{escape(_short(value))}"'
        for key, value in attributes.items()
        if value is not None
    ]
    inside = "".join(str(escape(child)) for child in children)
    return Markup(f"<{tag}{''.join(parts)}>{inside}</{tag}>")  # noqa: S704  (every part is escaped above)


def _short(value: Any) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _svg(*children: str, label: str, width: float, height: float, class_: str, **more: Any) -> Markup:
    box = f"0 0 {_short(width)} {_short(height)}"
    return element("svg", *children, class_=class_, viewBox=box, width=width, height=height, role="img",
                   aria_label=label, **more)  # fmt: skip


@dataclass(frozen=True)
class Scale:
    """Map [low, high] to [start, end], clipped.

    Example:
        >>> Scale(0, 1)(0.25)
        25.0
    """

    low: float
    high: float
    start: float = 0.0
    end: float = 100.0

    def __call__(self, value: float) -> float:
        """Where ``value`` is drawn."""
        share = (value - self.low) / (self.high - self.low)
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)


def scale_of(values: Iterable[Any], *, inside: tuple[float, float] | None = None, zero: bool = False) -> Scale:
    """A scale for numbers and triples with a little air, ending on ticks.

    Args:
        values: Numbers or (value, low, high); what is not finite is ignored.
        inside: Bounds the scale does not leave unless a value does, for example (0, 1) for a share.
        zero: Whether 0 is always on it.
    """
    found = [number for value in values for number in (triple(value) or ())] + ([0.0] if zero else [])
    low, high = (min(found), max(found)) if found else (0.0, 1.0)
    if high - low < 1e-9 * max(1.0, abs(high)):
        low, high = low - 0.05 * max(1.0, abs(low)), high + 0.05 * max(1.0, abs(high))
    step = _step(high - low)
    start, end = math.floor(low / step) * step, math.ceil(high / step) * step
    if inside:
        start, end = max(start, min(inside[0], low)), min(end, max(inside[1], high))
    return Scale(start, end)


def scale_without_strays(values: Iterable[Any], *, inside: tuple[float, float] | None = None) -> Scale:
    """As ``scale_of``, but the lowest values leave it while they take more than half of it from the others.

    ``interval`` marks what lies outside with an arrow, so a majority class does not press all others together.
    """
    found = sorted(filter(None, map(triple, values)))
    while len(found) > 3 and found[1][0] - found[0][0] > found[-1][0] - found[1][0]:
        found = found[1:]
    return scale_of(found, inside=inside)


def _step(span: float, count: int = 4) -> float:
    raw = span / count
    power = 10.0 ** math.floor(math.log10(raw))
    return next((factor * power for factor in (1, 2, 2.5, 5) if factor * power >= raw * 0.999), 10 * power)


def ticks(scale: Scale, count: int = 4) -> list[float]:
    """Round numbers on a scale, about ``count`` of them."""
    step = _step(scale.high - scale.low, count)
    first = math.ceil(scale.low / step - 1e-9)
    last = math.floor(scale.high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def interval(value: Any, scale: Scale, *, kind: str = "plain", band: Any = None, label: str = "") -> Markup:
    """One row of a forest plot: a dot with its interval over grid lines, and the band of what it is compared with."""
    parts = [_stroke(scale(tick), "grid") for tick in ticks(scale)]
    shade = triple(band)
    if shade:
        left, right = scale(shade[1]), scale(shade[2])
        parts.insert(0, element("rect", x=f"{left:.2f}%", y=0, width=f"{right - left:.2f}%", height="100%",
                                class_="band"))  # fmt: skip
    if scale.low < 0 < scale.high:
        parts.append(_stroke(scale(0.0), "zero"))
    found = triple(value)
    if found and found[0] < scale.low - 1e-9:
        parts.append(element("path", d="M12 -5 3 0l9 5", transform="translate(0 14)", class_="stray"))
    elif found:
        middle, low, high = (f"{scale(number):.2f}%" for number in found)
        parts.append(element("line", x1=low, x2=high, y1="50%", y2="50%", class_=f"range {kind}"))
        parts.append(element("circle", cx=middle, cy="50%", r=5, class_=f"dot {kind}"))
    return element("svg", *parts, class_="track", width="100%", height="100%", role="img", aria_label=label)


def _stroke(at: float, class_: str) -> Markup:
    return element("line", x1=f"{at:.2f}%", x2=f"{at:.2f}%", y1=0, y2="100%", class_=class_)


def _anchor(at: float, margin: float = 12.0) -> str:
    return "start" if at < margin else "end" if at > 100 - margin else "middle"


def axis(scale: Scale, text: Text) -> Markup:
    """The labels under the rows of a forest plot."""
    labels = [
        element("text", text(tick), x=f"{scale(tick):.2f}%", y=14, text_anchor=_anchor(scale(tick), 4))
        for tick in ticks(scale)
    ]
    return element("svg", *labels, class_="axis", width="100%", height=20, aria_hidden="true")


def meter(value: Any, most: Any) -> Markup:
    """A thin bar filled to ``value / most``."""
    share = min(max((finite(value) or 0.0) / (finite(most) or 1.0), 0.0), 1.0)
    back = element("rect", width="100%", height="100%", class_="back")
    fill = element("rect", width=f"{100 * share:.1f}%", height="100%", class_="fill", rx=2)
    return element("svg", back, fill, class_="meter", aria_hidden="true")


def headline(score: Any, baseline: Any, names: tuple[str, str], scale: Scale, text: Text) -> Markup:
    """The answer's range bar: the chosen model above the line, the baseline below it, on one scale."""
    parts = [element("line", x1="0", x2="100%", y1=52, y2=52, class_="rule")]
    for tick in ticks(scale):
        at = f"{scale(tick):.2f}%"
        parts.append(element("line", x1=at, x2=at, y1=48, y2=56, class_="rule"))
        parts.append(element("text", text(tick), x=at, y=106, text_anchor=_anchor(scale(tick), 4), class_="tick"))
    for value, name, kind, y, row in ((baseline, names[1], "hollow", 64, 88), (score, names[0], "chosen", 40, 20)):
        found = triple(value)
        if found:
            middle, low, high = (scale(number) for number in found)
            parts += [
                element("line", x1=f"{low:.2f}%", x2=f"{high:.2f}%", y1=y, y2=y, class_=f"range {kind}"),
                element("circle", cx=f"{middle:.2f}%", cy=y, r=6, class_=f"dot {kind}"),
                element("text", name, x=f"{middle:.2f}%", y=row, text_anchor=_anchor(middle, 25), class_=kind),
            ]
    return element("svg", *parts, class_="headline", width="100%", height=112, role="img",
                   aria_label=" / ".join(filter(None, names)))  # fmt: skip


def curves(rows: Sequence[dict[str, Any]], words: dict[str, str], text: Text) -> Markup:
    """Learning curve of one training: losses above, the validation score below where there is one, over steps.

    ``words`` names what is drawn: ``loss``, other losses beside it (``loss_generator``), and ``valid``.

    A step that falls back starts a new line, so the folds of a cross-validation are drawn one over the other.
    """
    marked = [(finite(row.get("step")) or 0.0, row) for row in rows]
    steps = Scale(0.0, max([step for step, _ in marked] + [1.0]), 8, 268)
    valid = [point for point in _lines(marked, "valid") if point]
    losses = [key for key in words if key != "valid"]
    panels = [(losses, 0.0, 104.0 if valid else 150.0)] + ([(["valid"], 116.0, 46.0)] if valid else [])
    parts: list[Markup] = []
    for keys, top, height in panels:
        lines = {key: line for key in keys if (line := _lines(marked, key))}
        found = [value for many in lines.values() for line in many for _, value in line]
        if not found:
            continue
        nice = scale_of(found, zero=keys == losses)
        y = Scale(nice.low, nice.high, top + height, top + 14)
        for tick in (nice.low, nice.high):
            parts.append(element("line", x1=8, x2=268, y1=y(tick), y2=y(tick), class_="grid"))
            label = f"{tick:.3g}" if keys == losses else text(tick)
            parts.append(element("text", label, x=274, y=y(tick) + 4, class_="tick"))
        for place, (key, many) in enumerate(lines.items()):
            kind = "line" if key == "loss" else "line accent"
            for line in many:
                points = " ".join(f"{steps(step):.1f},{y(value):.1f}" for step, value in _thin(line))
                parts.append(element("polyline", points=points, class_=kind))
            parts.append(element("text", words[key], x=8 + 130 * place, y=top + 9, class_=f"name {kind}"))
    parts.append(element("text", f"{steps.high:.0f}", x=268, y=178, text_anchor="end", class_="tick"))
    parts.append(element("text", "0", x=8, y=178, class_="tick"))
    return _svg(*parts, label=words["loss"], width=310, height=184, class_="chart")


def _lines(marked: list[tuple[float, dict[str, Any]]], key: str) -> list[list[tuple[float, float]]]:
    lines: list[list[tuple[float, float]]] = [[]]
    last = -1.0
    for step, row in marked:
        value = finite(row.get(key))
        if step < last:
            lines.append([])
        last = step
        if value is not None:
            lines[-1].append((step, value))
    return [line for line in lines if line]


def _thin(line: list[tuple[float, float]], most: int = 160) -> list[tuple[float, float]]:
    size = math.ceil(len(line) / most)
    parts = (line[start : start + size] for start in range(0, len(line), size))
    return [(part[-1][0], sum(value for _, value in part) / len(part)) for part in parts]


def reliability(rows: Sequence[dict[str, Any]], words: dict[str, str]) -> Markup:
    """Accuracy over confidence; the area of a dot is the number of rows, the thin line its distance from honest."""
    x, y = Scale(0, 1, 40, 300), Scale(0, 1, 270, 10)
    parts = [element("line", x1=40, y1=270, x2=300, y2=10, class_="dashed")]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        label = f"{100 * tick:.0f}%"
        parts.append(element("line", x1=40, x2=300, y1=y(tick), y2=y(tick), class_="grid"))
        parts.append(element("text", label, x=34, y=y(tick) + 4, text_anchor="end", class_="tick"))
        parts.append(element("text", label, x=x(tick), y=288, text_anchor="middle", class_="tick"))
    points = [(finite(row.get("confidence")), finite(row.get("accuracy")), finite(row.get("count"))) for row in rows]
    drawn = sorted(
        (c, a, n if n is not None else 1.0) for c, a, n in points if c is not None and a is not None and n != 0
    )
    most = max([n for _, _, n in drawn] + [1.0])
    for c, a, _ in drawn:
        parts.append(element("line", x1=x(c), x2=x(c), y1=y(c), y2=y(a), class_="gap"))
    parts.append(element("polyline", points=" ".join(f"{x(c):.1f},{y(a):.1f}" for c, a, _ in drawn),
                         class_="line accent"))  # fmt: skip
    for c, a, n in drawn:
        spot = element(
            "title", words["dot"].format(confidence=f"{100 * c:.0f}%", accuracy=f"{100 * a:.0f}%", count=int(n))
        )
        parts.append(element("circle", spot, cx=x(c), cy=y(a), r=3 + 8 * math.sqrt(n / most), class_="dot soft"))
    parts.append(element("text", words["under"], x=50, y=26, class_="name"))
    parts.append(element("text", words["over"], x=292, y=258, text_anchor="end", class_="name"))
    parts.append(element("text", words["x"], x=300, y=306, text_anchor="end", class_="tick"))
    return _svg(*parts, label=words["label"], width=318, height=312, class_="chart")


def precision_recall(points: Sequence[Sequence[Any]], words: tuple[str, str], label: str) -> Markup:
    """Precision over recall, from (recall, precision) in order of recall."""
    x, y = Scale(0, 1, 40, 240), Scale(0, 1, 170, 10)
    parts: list[Markup] = []
    for tick in (0.0, 0.5, 1.0):
        parts.append(element("line", x1=40, x2=240, y1=y(tick), y2=y(tick), class_="grid"))
        parts.append(element("text", f"{tick:g}", x=34, y=y(tick) + 4, text_anchor="end", class_="tick"))
        parts.append(element("text", f"{tick:g}", x=x(tick), y=188, text_anchor="middle", class_="tick"))
    drawn = [(finite(a), finite(b)) for a, b in points]
    line = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in drawn if a is not None and b is not None)
    parts.append(element("polyline", points=line, class_="line accent"))
    parts.append(element("text", words[0], x=44, y=24, class_="name"))
    parts.append(element("text", words[1], x=240, y=206, text_anchor="end", class_="tick"))
    return _svg(*parts, label=label, width=260, height=212, class_="chart")


def scatter(pairs: Sequence[Sequence[Any]], words: tuple[str, str], most: int = 1500) -> Markup:
    """Predicted over true values with the line where both are equal."""
    found = [(finite(pair[0]), finite(pair[1])) for pair in pairs if len(pair) > 1]
    points = [(a, b) for a, b in found if a is not None and b is not None]
    points = points[:: math.ceil(len(points) / most) or 1]
    nice = scale_of(itertools.chain.from_iterable(points))
    x, y = Scale(nice.low, nice.high, 48, 396), Scale(nice.low, nice.high, 348, 12)
    parts = []
    for tick in ticks(nice):
        parts.append(element("line", x1=48, x2=396, y1=y(tick), y2=y(tick), class_="grid"))
        parts.append(element("text", f"{tick:g}", x=42, y=y(tick) + 4, text_anchor="end", class_="tick"))
        parts.append(element("text", f"{tick:g}", x=x(tick), y=366, text_anchor="middle", class_="tick"))
    parts.append(element("line", x1=48, y1=348, x2=396, y2=12, class_="dashed"))
    parts += [element("circle", cx=x(a), cy=y(b), r=3, class_="point") for a, b in points]
    parts.append(element("text", words[0], x=396, y=386, text_anchor="end", class_="name"))
    parts.append(element("text", words[1], x=56, y=20, class_="name"))
    return _svg(*parts, label=f"{words[1]} / {words[0]}", width=408, height=394, class_="chart")


def domains(points: Sequence[Sequence[float]], words: tuple[str, str], label: str) -> Markup:
    """Rows of two domains in a plane: x, y, domain (0 a ring, 1 a dot), class (its colour)."""
    x = scale_without_strays([point[0] for point in points])
    y = scale_without_strays([point[1] for point in points])
    across, up = Scale(x.low, x.high, 10, 350), Scale(y.low, y.high, 290, 10)
    parts = [
        element("circle", cx=across(a), cy=up(b), r=3, class_=f"{'dot' if domain else 'ring'} hue{int(c) % HUES}")
        for a, b, domain, c in points
    ]
    for place, (kind, word) in enumerate(zip(("ring", "dot"), words, strict=True)):
        parts.append(element("circle", cx=16 + 120 * place, cy=308, r=4, class_=f"{kind} hue0"))
        parts.append(element("text", word, x=26 + 120 * place, y=312, class_="tick"))
    return _svg(*parts, label=label, width=360, height=318, class_="chart")


def dendrogram(tree: dict[str, Any], label: str) -> Markup:
    """The top of a tree of merges: links ``x`` and ``y`` of four corners each, over the sizes of its ``leaves``."""
    links = list(zip(tree.get("x", []), tree.get("y", []), strict=False))
    sizes = tree.get("leaves", [])
    x = Scale(0, 10 * max(1, len(sizes)), 8, 452)
    y = Scale(0, max([height for _, heights in links for height in heights] + [1e-9]), 150, 10)
    parts = []
    for places, heights in links:
        points = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in zip(places, heights, strict=False))
        parts.append(element("polyline", points=points, class_="line"))
    for index, size in enumerate(sizes):
        parts.append(element("text", str(size), x=x(10 * index + 5), y=164, text_anchor="middle", class_="tick"))
    return _svg(*parts, label=label, width=460, height=170, class_="chart")


def width_of(text: str) -> int:
    """Columns a text takes; a Chinese character takes two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def clip(text: str, columns: int) -> str:
    """``text`` within ``columns``, ended with an ellipsis where it is cut."""
    if width_of(text) <= columns:
        return text
    while text and width_of(text) > columns - 1:
        text = text[:-1]
    return text.rstrip() + "…"


@dataclass(frozen=True)
class _Grid:
    """Where the cells of a confusion matrix are: ``n`` cells of ``cell`` units from (``left``, ``top``)."""

    n: int
    cell: float
    left: float
    top: float
    font: float
    tilt: int

    @classmethod
    def of(cls, labels: Sequence[str]) -> _Grid:
        n = len(labels)
        font = 9.0 if n > 40 else 10.0 if n > NUMBERED else 12.0
        left = max([width_of(label) for label in labels] + [4]) * font * 0.6 + 8
        tilt = 90 if n > NUMBERED else 45
        top = 30 + (left if tilt == 90 else left * 0.72)
        return cls(n, min(40.0, max(11.0, 440 / max(n, 1))), left, top, font, tilt)

    def middle(self, start: float, index: int) -> float:
        return start + (index + 0.5) * self.cell

    def labels(self, labels: Sequence[str]) -> list[Markup]:
        size, drop = f"font-size:{_short(self.font)}px", self.font * 0.35
        parts = []
        for i, label in enumerate(labels):
            x, y = self.middle(self.left, i) + (drop if self.tilt == 90 else 0), self.top - 6
            parts += [
                element(
                    "text", label, x=self.left - 6, y=self.middle(self.top, i) + drop, text_anchor="end", style=size
                ),
                element(
                    "text", label, transform=f"translate({_short(x)} {_short(y)}) rotate(-{self.tilt})", style=size
                ),
            ]
        return parts

    def count(self, i: int, j: int, count: float, share: float, note: str) -> list[Markup]:
        strength = 0.1 + 0.85 * share if i == j else 0.06 + 0.94 * min(1.0, math.sqrt(share) * 1.5)
        x, y = self.left + j * self.cell, self.top + i * self.cell
        spot = element("title", f"{note}: {count:g} ({100 * share:.0f}%)")
        parts = [element("rect", spot, x=x, y=y, width=self.cell - 1, height=self.cell - 1,
                         fill_opacity=round(strength, 2), class_="hit" if i == j else "miss")]  # fmt: skip
        if self.n <= NUMBERED:
            parts.append(element("text", f"{count:g}", x=x + self.cell / 2 - 0.5, y=y + self.cell / 2 + 4,
                                 text_anchor="middle", class_="on" if strength > 0.55 else None))  # fmt: skip
        return parts


def confusion(matrix: Sequence[Sequence[Any]], classes: Sequence[str], words: tuple[str, str]) -> Markup:
    """Heat map of true (rows) against predicted (columns): shade is the share of the row; 0 is left empty.

    Numbers stand in the cells up to 12 classes; above that cells shrink to 11 units and carry tooltips.
    """
    n = len(matrix)
    names = [str(classes[i]) if i < len(classes) else str(i) for i in range(n)]
    labels = [clip(name, 24 if n > NUMBERED else 14) for name in names]
    grid = _Grid.of(labels)
    whole = n * grid.cell - 1
    parts = [element("rect", x=grid.left, y=grid.top, width=whole, height=whole, class_="field"), *grid.labels(labels)]
    for i, row in enumerate(matrix):
        counts = [finite(value) or 0.0 for value in row[:n]]
        for j, count in enumerate(counts):
            if count > 0:
                parts += grid.count(i, j, count, count / sum(counts), f"{names[i]} → {names[j]}")
    parts.append(element("text", words[0], x=grid.left - 6, y=grid.top - 6, text_anchor="end", class_="name"))
    parts.append(element("text", words[1], x=grid.left, y=12, class_="name"))
    width = grid.left + whole + (4 if n > NUMBERED else grid.left * 0.45)
    return _svg(*parts, label=f"{words[0]} / {words[1]}", width=width, height=grid.top + whole + 2,
                class_="chart matrix" + (" large" if n > NUMBERED else ""),
                style=f"min-width:{width * 0.84:.0f}px")  # fmt: skip
