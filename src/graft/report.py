"""Pages of a run: one self-contained HTML page and a Markdown model card, drawn from a ``Run`` and nothing else.

The page loads nothing: style and charts are inline, and its content policy forbids every request, so what stands in
the data cannot make it fetch or execute anything.  Templates and the words of both languages are in ``templates/``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import ChainableUndefined, Environment, FileSystemLoader
from markupsafe import Markup

from graft import charts
from graft.charts import finite, triple
from graft.core.errors import OutputError, UsageError

if TYPE_CHECKING:
    from graft.core.types import Run

FOLDER = Path(__file__).parent / "templates"
LANGUAGES = ("en", "zh")
PERCENT = (
    "accuracy",
    "balanced_accuracy",
    "word_accuracy",
    "top1",
    "top5",
    "precision",
    "recall",
    "ece",
)  # shown as 96.1%
PICTURE = re.compile(r"data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/]+={0,2}")


def write_report(run: Run, folder: Path, *, lang: str = "en") -> Path:
    """Write ``report.html`` and ``MODEL_CARD.md`` into ``folder``; a reader sees the old files or the new ones.

    Args:
        run: The run to show.
        folder: Where to write; made if it is missing.
        lang: ``"en"`` or ``"zh"``, the language of the page; the card is English.

    Returns:
        The path of the page.

    Raises:
        OutputError: The folder cannot be written.
        UsageError: An unknown language.

    Example:
        >>> import tempfile
        >>> from graft.core.types import Run
        >>> write_report(Run(), Path(tempfile.mkdtemp())).name
        'report.html'
    """
    _write(Path(folder), {"MODEL_CARD.md": render_card(run), "report.html": render_html(run, lang=lang)})
    return Path(folder) / "report.html"


def write_pretraining(record: dict[str, Any], folder: Path, *, lang: str = "en") -> Path:
    """Write the ``report.html`` of a pretraining from what ``pretrain.json`` holds; the path of the page.

    Raises:
        OutputError: The folder cannot be written.
        UsageError: An unknown language.
    """
    view = _plain(record)
    _write(Path(folder), {"report.html": _page("pretraining.html.jinja", view, lang)})
    return Path(folder) / "report.html"


def write_adaptation(record: dict[str, Any], folder: Path, *, lang: str = "en") -> Path:
    """Write the ``report.html`` of an adaptation from what ``adapt.json`` holds; the path of the page.

    Raises:
        OutputError: The folder cannot be written.
        UsageError: An unknown language.
    """
    _write(Path(folder), {"report.html": _page("adaptation.html.jinja", _plain(record), lang)})
    return Path(folder) / "report.html"


def _write(folder: Path, pages: dict[str, str]) -> None:
    for name, text in pages.items():
        waiting = folder / f".{name}.{os.getpid()}.new"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            waiting.write_text(text, encoding="utf-8", errors="replace", newline="\n")
            waiting.replace(folder / name)
        except OSError as error:
            hint = "free some space, or choose another --out"
            raise OutputError(
                f"cannot write {name}: {error.strerror or error}", where=str(folder), hint=hint
            ) from error
        finally:
            if folder.is_dir():
                waiting.unlink(missing_ok=True)


def render_html(run: Run, *, lang: str = "en") -> str:
    """Draw the page of a run.

    Args:
        run: The run to show; whatever it lacks is left out.
        lang: ``"en"`` or ``"zh"``.

    Raises:
        UsageError: An unknown language.
    """
    view = _plain(run.to_json())
    return _page("page.html.jinja", view, lang, run=view, present=_present(view))


def _page(template: str, view: dict[str, Any], lang: str, **more: Any) -> str:
    environment = _environment(lang)
    script = (FOLDER / "print.js").read_text(encoding="utf-8").strip()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = environment.get_template(template)
    # Our own file goes in unescaped; the page's policy allows exactly these bytes by digest.
    return page.render(view, lang=lang, script=Markup(script), digest=digest, **more)  # noqa: S704


def render_card(run: Run) -> str:
    """Write the model card of a run: YAML front matter as Hugging Face reads it, then Markdown."""
    view = _plain(run.to_json())
    return _environment("en").get_template("card.md.jinja").render(view, front=_front_matter(view))


@lru_cache(maxsize=len(LANGUAGES))
def _environment(lang: str) -> Environment:
    if lang not in LANGUAGES:
        raise UsageError(f"no report in language {lang!r}", hint=f"known: {', '.join(LANGUAGES)}")
    words = json.loads((FOLDER / f"words.{lang}.json").read_text(encoding="utf-8"))
    environment = Environment(loader=FileSystemLoader(FOLDER), autoescape=True, undefined=ChainableUndefined,
                              trim_blocks=True, lstrip_blocks=True)  # fmt: skip
    say = partial(_say, words)
    environment.filters.update(
        num=number, secs=partial(seconds, words=words), size=size, md=_markdown, code=_code, line=_one_line,
        triple=triple, finite=finite, share=lambda value: number(value, "accuracy"), by_class=_by_f1, clip=charts.clip,
        mixture=lambda found: ", ".join(f"{number(one.get('weight'), 'accuracy')} {_one_line(one.get('name'))}" for one in found),
        settings=lambda found: ", ".join(f"{key}={_one_line(value)}" for key, value in (found or {}).items()),
        tojson_text=lambda value: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False),
        short=lambda value: "–" if finite(value) is None else f"{value:.4g}".replace("-", "−"),
        picture=lambda value: value if isinstance(value, str) and PICTURE.fullmatch(value) else "",
    )  # fmt: skip
    environment.tests["scored"] = lambda value: triple(value) is not None
    environment.globals.update(
                signed_of=lambda metric: lambda value: signed(value, metric).removesuffix(".0"),
        tick_of=lambda metric: partial(tick, metric=metric),
        t=say, charts=charts, signed=signed, span=interval_text, difference=partial(difference_text, words=words),
        metric_name=lambda metric: words.get(f"metric_{metric}", str(metric or words["score"])),
        groups=_groups, curves_of=_curves, confused=_confused, largest=_largest, score_names=_score_names,
        separated=_separated,
    )  # fmt: skip
    return environment


def _say(words: dict[str, str], key: str, **values: Any) -> str:
    """A phrase with its values filled in; the template escapes the result."""
    return words[key].format(**values) if values else words[key]


def _plain(value: Any) -> Any:
    """Plain data without None and without numbers that are not finite: a template sees them as missing."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, dict):
        return {str(key): item for key, found in value.items() if (item := _plain(found)) is not None}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return finite(value) if isinstance(value, float) else value


def _present(view: dict[str, Any]) -> list[str]:
    """The sections that have something to show, in order; the answer is always first and not listed."""
    metrics, guard = view.get("metrics", {}), view.get("guard", {})
    found = {
        "candidates": view.get("trials"),
        "ranking": view.get("ranking"),
        "guard": guard.get("compared") or guard.get("sentence"),
        "curves": _curves(view),
        "classes": any(metrics.get(key) for key in ("per_class", "confusion", "scatter", "residuals")),
        "calibration": metrics.get("reliability") or triple(metrics.get("ece")),
        "rows": metrics.get("hardest") or metrics.get("mislabelled"),
        "data": view.get("data") or view.get("audit"),
        "repeat": view.get("config") or view.get("environment") or view.get("data", {}).get("fingerprint"),
    }
    return [name for name, something in found.items() if something]


def number(value: Any, metric: str | None = None, digits: int = 3) -> str:
    """A number for a reader: shares as per cent with one digit, large ones with separators, nothing as a dash.

    Example:
        >>> number(0.9612, "accuracy"), number(0.9612, "r2"), number(5452), number(None)
        ('96.1%', '0.961', '5,452', '–')
    """
    found = triple(value) if isinstance(value, list) else (finite(value),)
    if found is None or found[0] is None:
        return "–"
    value = found[0]
    if metric in PERCENT:
        return f"{100 * value:.1f}%"
    if metric is None and (value.is_integer() or abs(value) >= 1000):
        return f"{value:,.0f}"
    return f"{value:,.{digits}f}".replace("-", "−") if abs(value) < 100 else f"{value:,.1f}".replace("-", "−")


def tick(value: float, metric: str | None = None) -> str:
    """A number on an axis, with no more digits than it needs: ``85%``, ``97.5%``, ``0.9``."""
    text = f"{100 * value:.6g}%" if metric in PERCENT else f"{value:.6g}"
    return text.replace("-", "−")


def interval_text(value: Any, metric: str | None = None) -> str:
    """The bounds of (value, low, high) in words: ``94.9–97.2%``; empty where there is no interval."""
    found = triple(value)
    if not found or found[1] == found[2]:
        return ""
    low, high = number(found[1], metric or "plain"), number(found[2], metric or "plain")
    joint = " to " if "−" in low + high else "–"
    return f"{low.rstrip('%') if joint == '–' else low}{joint}{high}"


def signed(value: float, metric: str | None = None) -> str:
    """A difference with its sign, in points for shares, without a unit.

    Example:
        >>> signed(0.074, "accuracy"), signed(-0.02, "r2"), signed(-0.00001, "accuracy")
        ('+7.4', '−0.020', '0.0')
    """
    text = f"{100 * value:+.1f}" if metric in PERCENT else f"{value:+.3f}"
    return text.replace("-", "−") if float(text) else text[1:]


def difference_text(value: Any, metric: str | None, words: dict[str, str], *, bare: bool = False) -> str:
    """The middle of (value, low, high) with its sign and unit, ``+7.4 points``; ``bare`` leaves out the sign."""
    found = triple(value)
    if not found:
        return "–"
    text = signed(found[0], metric)
    text = text.lstrip("+−") if bare else text
    return words["points"].format(value=text) if metric in PERCENT else text


def seconds(value: Any, words: dict[str, str]) -> str:
    """A duration in its natural unit."""
    found = finite(value)
    if found is None:
        return "–"
    if found < 60:
        return words["unit_s"].format(s=f"{found:.1f}" if found < 10 else f"{found:.0f}")
    minutes, rest = divmod(round(found), 60)
    if minutes < 60:
        return words["unit_min" if rest else "unit_m"].format(m=minutes, s=rest)
    return words["unit_h"].format(h=minutes // 60, m=minutes % 60)


def size(value: Any, step: int = 1000) -> str:
    """Bytes in decimal units, as disks are sold."""
    found = finite(value)
    if found is None:
        return "–"
    for unit in ("B", "kB", "MB", "GB"):
        if found < step:
            return f"{found:.0f} {unit}" if unit == "B" or found >= 10 else f"{found:.1f} {unit}"
        found /= step
    return f"{found:.1f} TB"


def _value(row: dict[str, Any], key: str) -> float:
    found = triple(row.get(key))
    return found[0] if found else float("-inf")


def _groups(trials: list[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Trials that have a score by source, best group and best trial first."""
    found: dict[str, list[dict[str, Any]]] = {}
    for trial in sorted((row for row in trials if triple(row.get("score"))), key=lambda row: -_value(row, "score")):
        found.setdefault(str(trial.get("source_name") or trial.get("source") or ""), []).append(trial)
    return list(found.items())


def _curves(view: dict[str, Any]) -> list[tuple[str, list[dict[str, Any]]]]:
    """History by trial, the chosen one first; trials without two losses to join are left out."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in view.get("history") or []:
        found.setdefault(str(row.get("trial", "")), []).append(row)
    kept = [item for item in found.items() if sum(finite(row.get("loss")) is not None for row in item[1]) > 1]
    return sorted(kept, key=lambda item: item[0] != view.get("answer", {}).get("trial"))


def _confused(matrix: list[list[Any]], classes: list[str], most: int = 6) -> list[dict[str, Any]]:
    """The pairs of classes that are mistaken for each other most often."""
    pairs = []
    for i, row in enumerate(matrix or []):
        counts = [finite(value) or 0.0 for value in row]
        pairs += [
            {"true": classes[i], "predicted": classes[j], "count": count, "share": count / sum(counts)}
            for j, count in enumerate(counts)
            if count > 0 and i != j and max(i, j) < len(classes)
        ]
    return sorted(pairs, key=lambda pair: (-pair["count"], -pair["share"]))[:most]


def _by_f1(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Classes, the weakest first."""
    return sorted(rows, key=lambda row: (_value(row, "f1"), str(row.get("class"))))


def _largest(ranking: list[dict[str, Any]]) -> dict[str, Any] | None:
    """What a static list by size would pick: the usable candidate with the most parameters."""
    usable = [row for row in ranking if not row.get("failure") and finite(row.get("parameters"))]
    return max(usable, key=lambda row: row["parameters"]) if len(usable) > 1 else None


def _score_names(ranking: list[dict[str, Any]]) -> list[str]:
    """Scores that some row has, in the order of first appearance."""
    return list(
        dict.fromkeys(name for row in ranking for name, value in row.get("scores", {}).items() if triple(value))
    )


def _separated(ranking: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Usable candidates after the first that cannot be told from it."""
    usable = [row for row in ranking if not row.get("failure")]
    return [row for row in usable[1:] if row.get("separated") is False]


def _one_line(value: Any) -> str:
    return " ".join(str(value).split())


def _markdown(value: Any) -> Markup:
    """Text for Markdown: one line, with everything that Markdown or HTML would read as markup escaped."""
    text = _one_line("–" if value is None or isinstance(value, ChainableUndefined) else value)
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return Markup(re.sub(r"([\\`*_\[\]|#~$])", r"\\\1", text))  # noqa: S704  (escaped above)


def _code(value: Any) -> Markup:
    """Text for a Markdown code span or block line: no backticks, no line breaks."""
    return Markup(_one_line(value).replace("`", "'"))  # noqa: S704  (code spans show HTML as text)


def _purpose(modality: str, kind: str) -> str | None:
    """What the hub calls the task."""
    if kind in {"tagging", "detection"}:
        return "token-classification" if kind == "tagging" else "object-detection"
    kind = "classification" if kind == "ordinal" else kind
    return f"{'tabular' if modality in {'table', 'counts'} else modality}-{kind}" if modality and kind else None


def _front_matter(view: dict[str, Any]) -> Markup:
    """The YAML header of the card; every value is JSON, which YAML reads."""
    answer, task, data = (view.get(key, {}) for key in ("answer", "task", "data"))
    source = str(answer.get("source") or "")
    row = next((row for row in view.get("ranking", []) if row.get("uri") == source), {})
    modality, kind = str(task.get("modality") or ""), str(task.get("kind") or "")
    name = str(data.get("name") or "data")
    fields: dict[str, Any] = {
        "license": answer.get("licence") or row.get("licence"),
        "language": row.get("languages"),
        "library_name": "graft",
        "tags": [tag for tag in ("graft", "transfer-learning", modality, kind, answer.get("transfer")) if tag],
        "pipeline_tag": _purpose(modality, kind),
        "base_model": re.sub(r"^hf:|@[^@/]*$", "", source) if source.startswith("hf:") else None,
        "metrics": [answer["metric"]] if answer.get("metric") else None,
    }
    found = triple(answer.get("score"))
    if found:
        metric = {"type": answer.get("metric", "score"), "value": round(found[0], 4)}
        dataset = {"name": name, "type": name}
        result = {"task": {"type": fields["pipeline_tag"] or "other"}, "dataset": dataset, "metrics": [metric]}
        fields["model-index"] = [{"name": str(answer.get("trial") or name), "results": [result]}]
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in fields.items() if value]
    return Markup("\n".join(lines))  # noqa: S704  (YAML, not HTML)
