"""Write what can be read off the code and the results: pages of docs/reference and the tables of the READMEs.

python docs/generate.py            write what has changed
python docs/generate.py --check    write nothing; exit code 1 if a page is stale
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import judging
import label_efficiency
import without_labels

import graft
from graft.cli import app
from graft.core.registry import OBJECTIVES, SCORES, SOURCES, TRANSFERS
from graft.core.task import Task
from graft.data import forms
from graft.evaluate.metrics import METRICS
from graft.ranking.rank import DEFAULT_SCORES

ROOT = Path(__file__).parents[1]
REFERENCE = Path("docs/reference")
RESULTS = ROOT / "benchmarks" / "results"
NOTICE = "<!-- Written by docs/generate.py; edit the code it is read from, then run `make docs`. -->"
SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises", "References", "Reference", "Example", "Examples")
NO_TABLE = ("labels", "trials")  # a page of charts, and raw material
HEADLINES = ("quality", "speed")  # results that stand in the READMEs; all stand in docs/reference/results.md
LOSSES = ("points", "trials")  # points are lost, trials are made
WIDEST = 6  # systems that stand side by side; more stand below each other
MARKERS = {"start": "<!-- results:start -->", "end": "<!-- results:end -->"}
METRIC_WORDS = {
    "accuracy": "Share of rows whose most probable class is the right one. The interval is Wilson's.",
    "balanced_accuracy": "Mean recall over the classes that occur.",
    "macro_f1": "Mean over classes of F1. It decides where the largest class has more than three times the rows of "
    "the smallest.",
    "log_loss": "Mean of -log p of the right class, in nats.",
    "ece": "Expected calibration error over 15 equal bins of confidence: how far confidence is from being right.",
    "r2": "Share of the variance that is explained, at most 1. It decides for regression.",
    "mae": "Mean absolute error, in the unit of the target.",
    "rmse": "Root of the mean squared error, in the unit of the target.",
    "spearman": "Rank correlation.",
    "micro_f1": "F1 over all labels of all rows, with thresholds that other rows chose. It decides for several labels per row; "
    "macro F1 where the most frequent label has more than ten times the rows of the rarest.",
    "mean_average_precision": "Mean over labels of the area under precision and recall.",
    "ranking_precision": "Of the true labels of a row, the share of true ones among those that are as likely.",
    "subset_accuracy": "Share of rows all of whose labels are right.",
    "hamming_loss": "Share of all labels of all rows that are wrong.",
}
WORDS = {
    "en": {
        "set": "Set", "metric": "metric", "none": "There are no results in this checkout yet. `make bench "
        "GRAFT_DATA=FOLDER GRAFT_MODELS=FOLDER` measures graft against its neighbours and writes `benchmarks/results/*.json`; "
        "`make docs` then fills this block.",
        "legend": "Each cell: mean over the seeds (lowest–highest), and the seconds of one fit. The best mean of a row "
        "is bold, whoever has it.",
        "more": "All results: [docs/reference/results.md](docs/reference/results.md). What pretraining is worth by the number of "
        "labels: [label efficiency](docs/explanation/label-efficiency.md).",
        "seeds": "seeds", "machine": "Machine", "versions": "Versions", "date": "Measured",
    },
    "zh": {
        "set": "数据集", "metric": "指标", "none": "这个副本里还没有结果。`make bench GRAFT_DATA=目录 GRAFT_MODELS=目录` 会让 graft "
        "与同类系统在同一台机器上比较，写出 `benchmarks/results/*.json`；再运行 `make docs`，这里就会填上。",
        "legend": "每格：各随机种子的均值（最低–最高），以及一次拟合的秒数。每行最好的均值加粗，无论是谁的。",
        "more": "全部结果见 [docs/reference/results.md](docs/reference/results.md)；各种预训练在不同标注数量下的价值见 "
        "[label efficiency](docs/explanation/label-efficiency.md)。",
        "seeds": "种子", "machine": "机器", "versions": "版本", "date": "测量日期",
    },
}  # fmt: skip


# -- docstrings ------------------------------------------------------------------------------------------------------


def words(text: str) -> str:
    """A docstring's mark-up as Markdown."""
    return re.sub(r"``([^`]*)``", r"`\1`", text).replace("<=", "≤").replace("  ", " ")


def sections(thing: Any) -> dict[str, str]:
    """The parts of a docstring by title; the text before the first title under ""."""
    parts: dict[str, list[str]] = {"": []}
    title = ""
    for line in (inspect.getdoc(thing) or "").splitlines():
        found = re.match(rf"^({'|'.join(SECTIONS)}):(.*)$", line)
        if found:
            title = found.group(1)
            parts[title] = [found.group(2).strip()] if found.group(2).strip() else []
        else:
            parts[title].append(line)
    return {title: inspect.cleandoc("\n".join(lines)) for title, lines in parts.items() if "".join(lines).strip()}


def items(text: str) -> dict[str, str]:
    """``name: text`` entries of a section; continuation lines are joined."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        entry = re.match(r"^(\w[\w, ]*): (.*)$", line)
        if entry and not line.startswith(" "):
            name = entry.group(1)
            found[name] = entry.group(2)
        elif name:
            found[name] += " " + line.strip()
    return found


def prose(thing: Any) -> Iterator[str]:
    """Everything a docstring says, as Markdown lines."""
    for title, text in sections(thing).items():
        if title == "":
            yield words(text)
        elif title.startswith("Example"):
            yield f"```pycon\n{text}\n```" if ">>>" in text else words(text)
        elif title in {"Args", "Attributes", "Raises"} and items(text):
            heading = {"Args": "Arguments", "Raises": "Errors"}.get(title, title)
            yield f"**{heading}**"
            yield "\n".join(f"- `{name}`: {words(what)}" for name, what in items(text).items())
        else:
            yield f"**{title}**: {words(' '.join(text.split()))}"
        yield ""


def value(default: Any) -> str:
    """A default as it is typed, equal in every process."""
    if inspect.isfunction(default) or inspect.isclass(default):
        return default.__name__
    text = repr(default)
    return "…" if " object at 0x" in text or "<factory>" in text else text


def signature(name: str, thing: Any) -> str:
    """``name(argument, *, option=default)``."""
    parts, star = [], False
    for parameter in inspect.signature(thing).parameters.values():
        if parameter.name in {"self", "cls"}:
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            star = True
            parts.append("*")
        default = "" if parameter.default is parameter.empty else f"={value(parameter.default)}"
        parts.append(f"{parameter.name}{default}")
    return f"{name}({', '.join(parts)})"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def page(title: str, introduction: str, parts: list[str]) -> str:
    """A page with the notice that it is generated."""
    text = "\n".join([f"# {title}", "", NOTICE, "", introduction, "", *parts])
    return re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"


# -- pages -----------------------------------------------------------------------------------------------------------


def commands() -> str:
    """Commands and options, read off the command line itself."""
    parts: list[str] = []
    for name in [command for command in app if not command.startswith("-")]:
        command = app[name]
        rows, places = [], []
        for argument in command.assemble_argument_collection(parse_docstring=True):
            place = argument.field_info.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
            default = argument.field_info.default
            needed = default is inspect.Parameter.empty
            shown = "required" if needed else "" if default is None or default in ((), "") else f"`{default}`"
            shown = {"`True`": "on", "`False`": "off"}.get(shown, shown)
            flag = argument.names[0]
            choices = argument.get_choices()
            many = " …" if str(argument.hint).startswith("tuple") else ""
            typed = "" if argument.hint is bool else " " + ("|".join(choices) if choices else _kind(argument.hint))
            if place:
                called = flag.removeprefix("--").upper()
                places.append(called if needed else f"[{called}]")
                rows.append((f"`{called}`", shown, words(argument.parameter.help or "")))
            else:
                flags = " / ".join(f"`{one}`" for one in argument.names) if typed == "" else f"`{flag}{typed}{many}`"
                rows.append((flags, shown, words(argument.parameter.help or "")))
        about = inspect.cleandoc(command.help).split("\nParameters")[0].strip()
        parts += [
            f"## graft {name}",
            "",
            f"```text\ngraft {' '.join([name, *places])} [OPTIONS]\n```",
            "",
            words(about),
        ]
        parts += ["", table(("argument or option", "default", "what it is"), rows), ""]
    introduction = (
        "Every option can also stand in a TOML file with one table per command, given with `--config FILE`; the command "
        "line wins over the file, the file over the default. `graft --version` prints the version. Errors print one "
        "line on standard error; their exit codes are on [formats and exit codes](formats.md#exit-codes)."
    )
    return page("Commands", introduction, parts)


def _kind(hint: Any) -> str:
    text = str(hint)
    for piece, word in (("Path", "PATH"), ("int", "N"), ("float", "X")):
        if piece in text:
            return word
    return "TEXT"


def transfers() -> str:
    """One section per transfer."""
    rows, parts = [], []
    for name, cls in sorted(TRANSFERS.items(), key=lambda item: (item[1].simplicity, item[0])):
        source = "yes" if cls.needs_source else "no"
        rows.append((f"[`{name}`](#{name})", cls.label, source, str(cls.simplicity)))
        about = inspect.getdoc(inspect.getmodule(cls)) or ""
        parts += [f"## {name}", "", words(about), "", f"```text\n{signature(cls.__name__, cls)}\n```", "", *prose(cls)]
    introduction = (
        "Ways to get from labelled rows to predictions, simplest first. Give their names to `graft fit --methods`. "
        "`simplicity` is what the guard goes by: of two that cannot be told apart it returns the smaller number.\n\n"
        + table(("name", "in a sentence", "needs a source", "simplicity"), rows)
    )
    return page("Transfers", introduction, parts)


def tasks() -> str:
    """What can be learned from what: forms of files, sources and ways of each kind of task."""
    lines = []
    for modality, kind in forms.tasks():
        task = Task(kind, modality, ("a", "b"))
        schemes = [scheme for scheme, source in SOURCES.items() if modality in source.modalities]
        held = [form.name + (f" ({', '.join(form.suffixes)})" if form.suffixes else "") for form in forms.FORMS]
        held = [name for name, form in zip(held, forms.FORMS, strict=True) if form.holds(modality, kind)]
        ways = [name for name, cls in TRANSFERS.items() if cls.reads(task) and (schemes or not cls.needs_source)]
        given = ", ".join(f"`{one}:`" for one in schemes) or "–"
        lines.append((modality, kind, "; ".join(held), given, ", ".join(f"[`{w}`](transfers.md#{w})" for w in ways)))
    introduction = (
        "What graft learns from: every kind of rows (modality) with every kind of labels (task), the files that hold them, the "
        "schemes of sources that read them, and the ways that `graft fit --methods` knows. From Python, arrays, lists, frames, "
        "Arrow tables and `datasets` of each are read too. Which ways are tried unasked depends on effort, size and budget; a way "
        "that does not fit a source says so in one line. Every cell is tested: files in `tests/data`, ways in `tests/test_tasks.py`."
    )
    head = ("rows", "labels", "files", "sources", "ways")
    return page("Tasks", introduction, [table(head, lines)])


def objectives() -> str:
    """One section per pretraining objective."""
    rows, parts = [], []
    for name, cls in OBJECTIVES.items():
        reads = "; ".join(f"{modality}: {', '.join(encoders)}" for modality, encoders in cls.encoders.items())
        rows.append((f"[`{name}`](#{name})", cls.label, reads))
        about = inspect.getdoc(inspect.getmodule(cls)) or ""
        parts += [f"## {name}", "", words(about), "", f"```text\n{signature(cls.__name__, cls)}\n```", "", *prose(cls)]
    introduction = (
        "Ways to make a source from rows without labels, for `graft pretrain --objective`. What they write opens with "
        "`file:FOLDER`; [make your own source](../how-to/make-your-own-source.md) shows how.\n\n"
        + table(("name", "in a sentence", "encoders by modality"), rows)
    )
    return page("Objectives", introduction, parts)


def sources() -> str:
    """One section per URI scheme."""
    parts: list[str] = []
    for scheme, source in SOURCES.items():
        about = inspect.getdoc(sys.modules[type(source).__module__]) or ""
        parts += [f"## {scheme}:", "", words(about), ""]
    introduction = (
        "Where pretrained models come from. A source is named by a URI, `scheme:location`, or by the path of a folder. "
        "`graft models` lists those within reach; how to add to them is on "
        "[choose sources](../how-to/choose-sources.md)."
    )
    return page("Sources", introduction, parts)


def scores() -> str:
    """One section per transferability score."""
    parts: list[str] = []
    for name, score in SCORES.items():
        first = next(iter(inspect.signature(score).parameters))
        reads = "the source's own class probabilities" if first == "probabilities" else "pooled features"
        note = "computed by `graft rank`" if name in DEFAULT_SCORES else "registered, not among the defaults"
        parts += [f"## {name}", "", f"Reads {reads}; {note}.", "", f"```text\n{signature(score.__name__, score)}\n```"]
        parts += ["", *prose(score)]
    introduction = (
        "How a source is judged before anything is trained. `probe` and `probe_last` are the metric of a cross-validated "
        "ridge probe on the best layers and on the last layer; they are what `graft fit` goes by. The scores below are "
        "the field's cheaper ones, shown beside it. Larger is better for all."
    )
    return page("Scores", introduction, parts)


def metrics() -> str:
    """All metrics."""
    rows = [
        (
            f"`{name}`",
            metric.kind.replace(" ", ", "),
            "larger" if metric.larger else "smaller",
            METRIC_WORDS.get(name, ""),
        )
        for name, metric in METRICS.items()
    ]
    introduction = (
        "What finished models are judged by. Every value comes with an interval from bootstrap resamples of the rows, or "
        "of the groups where there are groups."
    )
    return page("Metrics", introduction, [table(("name", "task", "better is", "meaning"), rows)])


def python() -> str:
    """Public names."""
    parts: list[str] = []
    for name in graft.__all__:
        thing = getattr(graft, name)
        shown = name
        parts += [f"## {shown}", "", f"```text\n{signature(shown, thing)}\n```", "", *prose(thing)]
        if inspect.isclass(thing):
            methods = [
                f"- `{signature(key, member)}`: {words(_first(member))}" if callable(member) else
                f"- `{key}`: {words(_first(member))}"
                for key, member in _members(thing)
            ]  # fmt: skip
            parts += ["**Methods and properties**", "", *methods, ""] if methods else []
    introduction = (
        "`import graft` loads neither torch nor any other large package and changes nothing; names are resolved when "
        "they are used."
    )
    return page("Python", introduction, parts)


def _members(cls: type) -> Iterator[tuple[str, Any]]:
    """Documented public methods and properties that graft wrote, in the order of the code."""
    seen = set()
    for base in cls.__mro__:
        if not base.__module__.startswith("graft"):
            continue
        for key, member in vars(base).items():
            if key.startswith("_") or key in seen:
                continue
            inner = member.__func__ if isinstance(member, classmethod | staticmethod) else member
            documented = getattr(inner, "__doc__", None)
            if documented and (inspect.isfunction(inner) or isinstance(inner, property)):
                seen.add(key)
                yield key, inner


def _first(thing: Any) -> str:
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())


# -- results ---------------------------------------------------------------------------------------------------------


def results(language: str, names: tuple[str, ...] = (), heading: str = "**{}**") -> str:
    """Tables of the named results, or of all, or how to make them."""
    say = WORDS[language]
    files = sorted(path for path in RESULTS.glob("*.json") if path.stem not in NO_TABLE)
    files = [path for path in files if not names or path.stem in names]
    if not files:
        return say["none"]
    parts = [say["legend"], ""]
    for path in files:
        result = json.loads(path.read_text(encoding="utf-8"))
        parts += [heading.format(result["title"]), ""]
        made = {**judging.TABLES, **without_labels.TABLES}.get(path.stem)
        if made:
            parts += _judged(result, made(result, language), say)
        else:
            parts += _result(result, say)
    return "\n".join(parts).rstrip()


def _result(result: dict[str, Any], say: dict[str, str]) -> list[str]:
    rows = result["rows"]
    systems = list(dict.fromkeys(row["system"] for row in rows))
    wide = len(systems) <= WIDEST
    lines: list[tuple[str, ...]] = []
    for name, metric in dict.fromkeys((row["set"], row["metric"]) for row in rows):
        cells = {row["system"]: row for row in rows if (row["set"], row["metric"]) == (name, metric)}
        known = METRICS.get(metric)
        larger = metric not in ("points", "trials") if known is None else known.larger  # of these the fewer the better
        pick: Callable[..., float] = max if larger else min
        best = pick(row["mean"] for row in cells.values())
        metric = metric.replace("_", " ")  # noqa: PLW2901
        if wide:
            found = (_cell(cells[one], best=best) if one in cells else "" for one in systems)
            lines.append((name, metric, *found))
        else:
            lines += [(name, metric, one, _cell(cells[one], best=best)) for one in systems if one in cells]
    head = (say["set"], say["metric"], *(systems if wide else ("", "")))
    return [table(head, lines), "", *_notes(result, say)]


def _notes(result: dict[str, Any], say: dict[str, str]) -> list[str]:
    seeds = sorted({str(seed) for row in result["rows"] for seed in row.get("seeds", ())})
    facts = [f"{say['date']}: {result['date']}", *([f"{say['seeds']}: {', '.join(seeds)}"] if seeds else [])]
    facts += [f"{say[key]}: {_facts(result[key])}" for key in ("machine", "versions") if result.get(key)]
    return [*(f"- {note}" for note in result.get("notes", ())), f"- {'; '.join(facts)}", ""]


def _judged(result: dict[str, Any], parts: list[judging.Part], say: dict[str, str]) -> list[str]:
    """The tables and lines of an experiment that judges the choosing."""
    lines: list[str] = []
    for part in parts:
        lines += [part if isinstance(part, str) else table(*part), ""]
    return lines + _notes(result, say)


def _cell(row: dict[str, Any], *, best: float) -> str:
    if row["metric"] == "seconds":  # steps of one system, not rivals: time and the memory that cannot be given back
        return f"{row['seconds']:.0f} s, {row['peak_anonymous_bytes'] / 2**20:,.0f} MiB"
    digits = ".3f" if row["mean"] < 100 else ",.0f"
    mean = f"{row['mean']:{digits}}"
    spread = f" ({row['low']:{digits}}–{row['high']:{digits}})" if len(row["scores"]) > 1 else ""
    seconds = row.get("seconds")
    time = "" if seconds is None else f", {seconds:.0f} s" if seconds >= 10 else f", {seconds:.1f} s"
    return (f"**{mean}**" if mean == f"{best:{digits}}" else mean) + spread + time


def _facts(facts: Any) -> str:
    return ", ".join(f"{key} {what}" for key, what in facts.items()) if isinstance(facts, dict) else str(facts)


def readme(path: Path, language: str) -> str:
    """The README with its results block filled anew."""
    text = (ROOT / path).read_text(encoding="utf-8")
    head, start, rest = text.partition(MARKERS["start"])
    _, end, tail = rest.partition(MARKERS["end"])
    if not start or not end:
        raise SystemExit(f"{path} lacks the markers {MARKERS['start']} and {MARKERS['end']}")
    return f"{head}{start}\n{results(language, HEADLINES)}\n\n{WORDS[language]['more']}\n{end}{tail}"


def all_results() -> str:
    """Every table of results."""
    introduction = "What `python -m benchmarks` found, each result with its machine, versions and seeds."
    return page("Results", introduction, [results("en", heading="## {}")])


def label_pages() -> dict[Path, str]:
    """The page about label efficiency with its charts, where it has been measured."""
    path = RESULTS / "labels.json"
    if not path.exists():
        return {}
    result = json.loads(path.read_text(encoding="utf-8"))
    parts, charts = label_efficiency.page_of(result)
    introduction = (
        "How far does a source made here go with few labels? Each chart shows accuracy on test rows over labels per class "
        f"(mean over seeds {', '.join(map(str, result['rows'][0]['seeds']))}, bars from the lowest to the highest). "
        + " ".join(result["notes"])
        + f" Measured {result['date']} on {_facts(result['machine'])}."
    )
    found = {Path("docs/explanation/label-efficiency.md"): page("Label efficiency", introduction, parts)}
    return found | {Path("docs/images") / name: svg for name, svg in charts.items()}


def budget_chart() -> dict[Path, str]:
    """Accuracy by budget, where it has been measured."""
    path = RESULTS / "budgets.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    return {Path("docs/images") / judging.CHART: judging.chart(rows)} if rows else {}


# -- all -------------------------------------------------------------------------------------------------------------


def pages() -> dict[Path, str]:
    """Path, relative to the repository, and text of everything that is generated."""
    written = {
        "commands": commands, "tasks": tasks, "transfers": transfers, "objectives": objectives, "sources": sources, "scores": scores, "metrics": metrics,
        "python": python, "results": all_results,
    }  # fmt: skip
    found = {REFERENCE / f"{name}.md": make() for name, make in written.items()}
    found |= label_pages() | budget_chart()
    found[Path("README.md")] = readme(Path("README.md"), "en")
    found[Path("README.zh-CN.md")] = readme(Path("README.zh-CN.md"), "zh")
    return found


def main(arguments: list[str]) -> int:
    """Write the pages, or say which are stale; the exit code."""
    if arguments not in ([], ["--check"]):
        print("usage: python docs/generate.py [--check]", file=sys.stderr)
        return 2
    stale = []
    for path, text in pages().items():
        file = ROOT / path
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            stale.append(path)
            if not arguments:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8", newline="\n")
    for path in stale:
        print(f"{path} is stale; run make docs" if arguments else f"wrote {path}")
    return 1 if arguments and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
