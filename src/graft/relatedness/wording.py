"""The answer of a comparison in a sentence, in English and Chinese."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from graft.core.errors import UsageError

FOLDER = Path(__file__).parents[1] / "templates"  # where the words of both languages are
LANGUAGES = ("en", "zh")


@cache
def phrases(language: str) -> dict[str, str]:
    """All phrases of a language by key.

    Raises:
        UsageError: An unknown language.
    """
    if language not in LANGUAGES:
        raise UsageError(f"no words in language {language!r}", hint=f"known: {', '.join(LANGUAGES)}")
    found: dict[str, str] = json.loads((FOLDER / f"words.{language}.json").read_text(encoding="utf-8"))
    return found


def sentence(found: dict[str, Any], language: str = "en") -> str:
    """Say how related two data sets are, and what it rests on.

    Args:
        found: ``Comparison.to_json()``.
        language: ``"en"`` or ``"zh"``.
    """
    words, relation, basis = phrases(language), found["relation"], found["basis"]
    values: dict[str, Any] = {"one": found["one"]["name"], "two": found["two"]["name"]}
    if basis == "gain":
        gain = found["gain"]
        values |= {
            "labels": f"{gain['labels']:,}",
            "metric": words.get(f"metric_{gain['metric']}", gain["metric"]),
            "gain": _points(gain["gain"]["value"]),
            "low": _points(gain["gain"]["low"]),
            "high": _points(gain["gain"]["high"]),
            "alone": _share(gain["alone"][0]),
            "together": _share(gain["together"][0]),
            "guess": _share(gain["guess"][0]),
            "head": _share(next(iter(gain["direct"].values()))[0]),
        }
        better = gain["gain"]["low"] > 0
        key = f"gain_{relation}_{'better' if better else 'noise'}" if relation != "unrelated" else "gain_unrelated"
    elif basis == "foreseen":
        one = found["foreseen"]
        values |= dict(zip(("value", "low", "high"), map(_share, one["accuracy"]), strict=True))
        values |= {
            "guess": _share(one["guess"]),
            "shifts": one["shifts"],
            "by": words[f"by_{one['by'].replace(' ', '_')}"],
        }
        key = f"foreseen_{relation}"
    else:
        values |= {"share": f"{found['overlap']:.0%}"}
        key = f"inputs_{relation}"
    said = words[f"related_{relation}"] + words["colon"] + words[f"related_{key}"].format(**values)
    if basis == "foreseen" and found["foreseen"]["distance"] > found["foreseen"]["furthest"]:
        said += words["related_beyond"].format(**values)
    return said


def _share(value: float) -> str:
    return f"{value:.1%}"


def _points(value: float) -> str:
    return f"{100 * value:+.1f}"
