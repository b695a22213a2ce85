"""Tables and a chart of the experiments that judge the choosing: few-shot, regret, budgets, coverage, memory.

A table is a pair (head, rows) among lines of Markdown; ``generate.py`` puts them together.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from label_efficiency import BOTTOM, HEIGHT, LEFT, RIGHT, STYLE, TOP, WIDTH

from graft.charts import Scale, element, scale_of, ticks

Row = dict[str, Any]
Table = tuple[tuple[str, ...], list[tuple[str, ...]]]
Part = str | Table
PALETTE = ("#0b7350", "#b4632d", "#3d6fb4", "#8a5fb0", "#6b6f76", "#a08a1f")
CHART = "budgets.svg"  # below docs/images
WORDS = {
    "en": {
        "set": "Set", "per_class": "per class", "against": "against", "difference": "difference, points",
        "time": "share of its time", "cells": "cells", "missing": "did not end in", "choice": "choice",
        "regret": "mean regret, points", "fair": "by halves", "largest": "largest", "below": "most below the simple baseline",
        "cost": "share of the exhaustive cost", "best": "best single", "all": "Every cell", "budget": "Budget",
        "overrun": "Overrun of the whole command over {runs} runs: 95th percentile {p95}, largest {largest}.",
        "rows": "rows", "coverage": "coverage (95 % interval)", "width": "mean width, points",
        "optimism": "mean optimism, points", "held": "sets hold", "overall": "all", "chart": "Test accuracy by budget",
        "no result": "no result", "kills": "{runs} runs under a cap: {kills} killed or broken.",
    },
    "zh": {
        "set": "数据集", "per_class": "每类行数", "against": "对比", "difference": "差（百分点）", "time": "占其时间",
        "cells": "格数", "missing": "未完成", "choice": "选法", "regret": "平均遗憾（百分点）", "fair": "折半", "largest": "最大",
        "below": "低于简单基线最多", "cost": "占穷举开销", "best": "最好的单一方案", "all": "各格", "budget": "预算",
        "overrun": "{runs} 次运行中整条命令的超时：第 95 百分位 {p95}，最大 {largest}。", "rows": "行数",
        "coverage": "覆盖率（95 % 区间）", "width": "平均宽度（百分点）", "optimism": "平均乐观（百分点）",
        "held": "预测集命中",
        "overall": "合计", "chart": "各预算下的测试准确率", "no result": "无结果",
        "kills": "{runs} 次限内存运行：{kills} 次被杀或崩溃。",
    },
}  # fmt: skip


def points(value: float | None, digits: int = 1) -> str:
    """A share as points with its sign; nothing for None.

    Example:
        >>> points(0.0125), points(-0.5)
        ('+1.2', '−50.0')
    """
    return "" if value is None else f"{100 * value:+.{digits}f}".replace("-", "−")


def share(value: float | None) -> str:
    """A share in per cent."""
    return "" if value is None else f"{100 * value:.1f} %".replace("-", "−")


def _lost(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}".replace("-", "−")


def fewshot(result: Row, language: str) -> list[Part]:
    """Score and seconds of every system on every draw, and graft against each of the others."""
    say, rows = WORDS[language], result["rows"]
    systems = list(dict.fromkeys(row["system"] for row in rows))
    lines = []
    for name, count in dict.fromkeys((row["of"], row["labels"]) for row in rows):
        cells = {row["system"]: row for row in rows if (row["of"], row["labels"]) == (name, count)}
        lines.append((name, str(count), *(_drawn(cells.get(system)) for system in systems)))
    found = result["summary"]["against"]
    against = [
        (other, points(one["difference"]) + (f" ± {100 * one['sd']:.1f}" if one["sd"] is not None else ""),
         share(one["time_share"]), str(len(one["cells"])), ", ".join(one["missing"]))
        for other, one in found.items()
    ]  # fmt: skip
    head = (say["against"], say["difference"], say["time"], say["cells"], say["missing"])
    left = result["summary"]["missing"]
    said = [f"{result['summary']['ours']}: {say['missing']} {', '.join(left)}"] if left else []
    return [((say["set"], say["per_class"], *systems), lines), (head, against), *said]


def _drawn(row: Row | None) -> str:
    if row is None or row["mean"] is None:
        return "" if row is None else "—"
    spread = f" ± {row['sd']:.3f}" if row["sd"] is not None else ""
    return f"{row['mean']:.3f}{spread}" + (f", {row['seconds']:.0f} s" if row.get("seconds") is not None else "")


def regret(result: Row, language: str) -> list[Part]:
    """What every way of choosing loses on average and at most; each cell below."""
    say, rows = WORDS[language], result["rows"]
    lines = [
        (system, str(one["cells"]), _lost(one["mean_regret"]), _lost(one["fair_regret"]),
         _lost(one["largest_regret"]),
         _lost(one["most_below_simple"]), share(one["cost_share"]) if system.startswith("graft") else "")
        for system, one in result["summary"].items()
    ]  # fmt: skip
    head = (say["choice"], say["cells"], say["regret"], say["fair"], say["largest"], say["below"], say["cost"])
    systems = list(result["summary"])
    each = []
    for name in dict.fromkeys(row["set"] for row in rows):
        cells = {row["system"]: row for row in rows if row["set"] == name and row["mean"] is not None}
        judged = next((row["judged"] for row in cells.values()), [])
        best = "; ".join(dict.fromkeys(_best(one["best"]) for one in judged))
        each.append((name, best, *(_lost(cells[one]["mean"]) if one in cells else "" for one in systems)))
    folded = f"<details><summary>{say['all']}</summary>"
    return [(head, lines), folded, ((say["set"], say["best"], *systems), each), "</details>"]


def _best(best: Row) -> str:
    return f"{best['way']}{' of ' + best['source'] if best['source'] else ''}: {best['test_score']:.3f}"


def budgets(result: Row, language: str) -> list[Part]:
    """Accuracy and time by budget, the overrun, and the chart."""
    say, rows, whole = WORDS[language], result["rows"], result["summary"]
    names = list(dict.fromkeys(row["set"] for row in rows))
    lines = []
    for budget in sorted({row["budget"] for row in rows}):
        cells = {row["set"]: row for row in rows if row["budget"] == budget}
        found = (
            f"{_scored(cells[name], say)}, {cells[name]['seconds']:.1f} s" if name in cells else "" for name in names
        )
        lines.append((f"{budget:g} s", *found))
    said = say["overrun"].format(
        runs=whole["runs"], p95=share(whole["overrun_95"]), largest=share(whole["largest_overrun"])
    )
    return [((say["budget"], *names), lines), said, f"![{say['chart']}](docs/images/{CHART})"]


def _scored(row: Row, say: dict[str, str]) -> str:
    return say["no result"] if row["mean"] is None else f"{row['mean']:.3f}"


def coverage(result: Row, language: str) -> list[Part]:
    """How often the intervals hold, how wide they are, and how hopeful the reported score is."""
    say, whole = WORDS[language], result["summary"]
    lines = [
        (row["set"], str(row["rows"]), _held(row["mean"], row["low"], row["high"]), f"{100 * row['width']:.1f}",
         points(row["optimism"], 2), share(row["held"]))
        for row in result["rows"]
    ]  # fmt: skip
    if whole:
        held = _held(whole["coverage"], whole["low"], whole["high"])
        lines.append((say["overall"], "", held, "", points(whole["mean_optimism"], 2), share(whole["held"])))
    return [((say["set"], say["rows"], say["coverage"], say["width"], say["optimism"], say["held"]), lines)]


def _held(value: float, low: float, high: float) -> str:
    return f"{100 * value:.1f} % ({100 * low:.1f}–{100 * high:.1f})"


def memory(result: Row, language: str) -> list[Part]:
    """How each run under a cap ended, with its peak."""
    say, rows, whole = WORDS[language], result["rows"], result["summary"]
    systems = list(dict.fromkeys(row["system"] for row in rows))
    lines = []
    for name in dict.fromkeys(row["set"] for row in rows):
        cells = {row["system"]: row for row in rows if row["set"] == name}
        found = (
            f"{cells[one]['outcome']}, {cells[one]['peak_bytes'] / 1e6:,.0f} MB" if one in cells else ""
            for one in systems
        )
        lines.append((name, *found))
    said = say["kills"].format(runs=whole["runs"], kills=whole["kills"])
    return [((say["set"], *systems), lines), said]


TABLES: dict[str, Callable[[Row, str], list[Part]]] = {
    "fewshot": fewshot, "regret": regret, "budgets": budgets, "coverage": coverage, "memory": memory,
}  # fmt: skip


def chart(rows: list[Row]) -> str:
    """Test accuracy over the budget, a line per set; budgets stand at equal distances."""
    scored = [row for row in rows if row["mean"] is not None]
    steps = sorted({row["budget"] for row in rows})
    across = Scale(0, max(1, len(steps) - 1), LEFT + 12, WIDTH - RIGHT)
    values = scale_of([row["mean"] for row in scored], inside=(0.0, 1.0))
    up = Scale(values.low, values.high, HEIGHT - BOTTOM, TOP)
    parts = [element("style", STYLE)]
    for tick in ticks(values):
        parts.append(element("line", x1=LEFT, x2=WIDTH - RIGHT + 12, y1=up(tick), y2=up(tick), class_="grid"))
        parts.append(element("text", f"{100 * tick:g} %", x=LEFT - 6, y=up(tick) + 4, text_anchor="end"))
    for place, budget in enumerate(steps):
        parts.append(element("text", f"{budget:g}", x=across(place), y=HEIGHT - 20, text_anchor="middle"))
    parts.append(element("text", "budget, seconds", x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 3, text_anchor="middle"))
    ends = []
    for name, colour in zip(dict.fromkeys(row["set"] for row in scored), itertools.cycle(PALETTE), strict=False):
        own = sorted((row for row in scored if row["set"] == name), key=lambda row: row["budget"])
        places = [(across(steps.index(row["budget"])), up(row["mean"])) for row in own]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts += [element("circle", cx=x, cy=y, r=3, fill=colour) for x, y in places]
        parts.append(element("polyline", points=line, fill="none", stroke=colour, stroke_width=2))
        ends.append([places[-1][1], name, colour])
    ends.sort()
    for before, after in itertools.pairwise(ends):
        after[0] = max(after[0], before[0] + 15)  # names must not lie on each other
    parts += [element("text", name, x=WIDTH - RIGHT + 18, y=y + 4, style=f"fill:{colour}") for y, name, colour in ends]
    box = f"0 0 {WIDTH} {HEIGHT}"
    return str(element("svg", *parts, xmlns="http://www.w3.org/2000/svg", viewBox=box, width=WIDTH)) + "\n"
