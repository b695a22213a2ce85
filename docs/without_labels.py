"""Tables of the experiments where labels are missing: shifts of domain, rows to label, wordings, classes never seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Row = dict[str, Any]
Table = tuple[tuple[str, ...], list[tuple[str, ...]]]
Part = str | Table
WORDS = {
    "en": {
        "method": "method", "cases": "shifts", "mean": "mean accuracy", "harmful": "harmful", "kept": "gain kept",
        "recommended": "recommended", "strategy": "strategy", "random": "random rows", "all": "all sets",
        "set": "Set", "classes": "classes", "interval": "interval", "against": "against plain names",
        "source": "source", "tasks": "tasks", "best": "best wording and calibration", "plain": "plain names",
        "left": "chosen on the other sets", "seen": "seen", "unseen": "unseen", "harmonic": "harmonic mean",
        "only": "unseen alone", "points": "points over random rows, mean over counts and seeds ± half a 95 % interval",
    },
    "zh": {
        "method": "方法", "cases": "域偏移", "mean": "平均准确率", "harmful": "有害", "kept": "保留的增益",
        "recommended": "推荐", "strategy": "策略", "random": "随机行", "all": "全部数据集", "set": "数据集",
        "classes": "类别数", "interval": "区间", "against": "与仅用类名相比", "source": "源模型", "tasks": "任务数",
        "best": "最佳措辞与校准", "plain": "仅用类名", "left": "在其他数据集上选定", "seen": "已见", "unseen": "未见",
        "harmonic": "调和平均", "only": "仅未见类", "points": "比随机行多的百分点，各标注数与种子的平均 ± 95 % 区间的一半",
    },
}  # fmt: skip


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.0f} %".replace("-", "−")


def _points(value: float, half: float | None = None) -> str:
    return f"{100 * value:+.1f}".replace("-", "−") + ("" if half is None else f" ± {100 * half:.1f}")


def shifts(result: Row, language: str) -> list[Part]:
    """How often each method, and graft's choice, ends below source only by more than noise, and what gain is kept."""
    say, systems = WORDS[language], result["summary"]["systems"]
    lines = [
        (name, str(one["cases"]), f"{one['mean']:.3f}", _share(one["harmful"]), _share(one["kept"]),
         _share(one.get("recommended")))
        for name, one in systems.items()
    ]  # fmt: skip
    return [(tuple(say[key] for key in ("method", "cases", "mean", "harmful", "kept", "recommended")), lines)]


def active(result: Row, language: str) -> list[Part]:
    """Points over random rows, set by set; and the scores of random rows and of the default."""
    say, systems = WORDS[language], result["summary"]["systems"]
    sets = list(dict.fromkeys(row["of"] for row in result["rows"]))
    lines = []
    for name, one in sorted(systems.items(), key=lambda item: -item[1]["difference"]):
        cells = (_points(*one["by_set"][each]) if each in one["by_set"] else "" for each in sets)
        lines.append((name, _points(one["difference"]), *cells))
    parts: list[Part] = [((say["strategy"], say["all"], *sets), lines), say["points"].capitalize() + "."]
    counts = list(dict.fromkeys(row["labels"] for row in result["rows"]))
    scores = []
    for each in sets:
        for system in ("random", "auto"):
            cells = {row["labels"]: row for row in result["rows"] if (row["of"], row["system"]) == (each, system)}
            if cells:
                found = (f"{cells[count]['mean']:.3f}" if count in cells else "" for count in counts)
                scores.append((each, say["random"] if system == "random" else system, *found))
    return [*parts, ((say["set"], say["strategy"], *map(str, counts)), scores)]


def wordings(result: Row, language: str) -> list[Part]:
    """The wording that is best over all tasks, plain names, and what choosing on the other sets gives."""
    say = WORDS[language]
    lines = [
        (name, str(one["tasks"]), one["best"].replace(" | ", "; "), f"{one['score']:.3f}", f"{one['plain']:.3f}",
         f"{one['left_out_score']:.3f}")
        for name, one in result["summary"].items()
    ]  # fmt: skip
    return [(tuple(say[key] for key in ("source", "tasks", "best", "mean", "plain", "left")), lines)]


def zero_shot(result: Row, language: str) -> list[Part]:
    """Accuracy on the test files with its interval, and the difference to plain names."""
    say = WORDS[language]
    lines = []
    for row in result["rows"]:
        low, high = row["interval"]
        value, *ends = row["difference"]
        gap = "" if value == ends[0] == 0 else f"{_points(value)} [{_points(ends[0])}, {_points(ends[1])}]"
        lines.append(
            (row["set"], row["system"], str(row["classes"]), f"{row['mean']:.3f} [{low:.3f}, {high:.3f}]", gap)
        )
    return [(tuple(say[key] for key in ("set", "method", "classes", "mean", "against")), lines)]


def unseen(result: Row, language: str) -> list[Part]:
    """Mean accuracy per class where seen and unseen classes stand together, their harmonic mean, and unseen ones alone."""
    say = WORDS[language]
    keys = ("seen", "unseen", "harmonic", "only_unseen")
    lines = [
        (name, system, *(f"{one[key][0]:.2f} ± {one[key][1]:.2f}" for key in keys))
        for name, systems in result["summary"].items()
        for system, one in systems.items()
    ]
    return [(tuple(say[key] for key in ("set", "method", "seen", "unseen", "harmonic", "only")), lines)]


TABLES: dict[str, Callable[[Row, str], list[Part]]] = {
    "shifts": shifts, "active": active, "active_constants": active, "wordings": wordings, "wordings_few": wordings,
    "zero_shot": zero_shot, "unseen": unseen,
}  # fmt: skip
