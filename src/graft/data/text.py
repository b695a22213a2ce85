"""Texts: scripts and lengths; words and characters as weighted counts (TF-IDF)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from graft.core.errors import DataError
from graft.core.registry import MODALITIES
from graft.core.rows import evenly_spaced
from graft.core.types import Dataset
from graft.data.overlap import NAMES as COMMON
from graft.data.overlap import overlap

SAMPLE = 2_000  # rows that scripts and duplicates are judged by
FIT = 200_000  # rows that the vocabulary is learnt from at most
TERMS = 200_000  # terms kept at most
SWEEP = 4_000_000  # terms counted at a time before those seen once are dropped
BLOCK = 8_192  # rows transformed at a time
GENES = 25  # characters of the median word from which words are no words (gene sequences): characters are counted
SEPARATOR = "\u241f"  # between the texts of a pair; a unit of its own

SCRIPTS = {  # the blocks of Unicode that letters of a script come from
    "Latin": (
        (0x41, 0x5A),
        (0x61, 0x7A),
        (0xAA, 0xAA),
        (0xBA, 0xBA),
        (0xC0, 0x24F),
        (0x1E00, 0x1EFF),
        (0xFF21, 0xFF5A),
    ),
    "Greek": ((0x370, 0x3FF), (0x1F00, 0x1FFF)),
    "Cyrillic": ((0x400, 0x52F),),
    "Armenian": ((0x530, 0x58F),),
    "Hebrew": ((0x590, 0x5FF),),
    "Arabic": ((0x600, 0x6FF), (0x750, 0x77F), (0x8A0, 0x8FF), (0xFB50, 0xFDFF), (0xFE70, 0xFEFF)),
    "Devanagari": ((0x900, 0x97F),),
    "Bengali": ((0x980, 0x9FF),),
    "Tamil": ((0xB80, 0xBFF),),
    "Thai": ((0xE00, 0xE7F),),
    "Georgian": ((0x10A0, 0x10FF),),
    "Hangul": ((0x1100, 0x11FF), (0x3130, 0x318F), (0xAC00, 0xD7AF)),
    "Kana": ((0x3040, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9F)),
    "Han": ((0x3005, 0x3007), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF)),
}
UNSPACED = ("Han", "Kana", "Thai")  # written without spaces: a character is the unit
_EACH = "".join(f"{chr(a)}-{chr(b)}" for name in UNSPACED for a, b in SCRIPTS[name])
# measured against sklearn's words of two letters or more: "?", "!" and single letters carry part of the meaning
WORDS = re.compile(rf"[{_EACH}]|[^\W{_EACH}]+|[?!'’¿¡؟]|{SEPARATOR}")
SPACE = re.compile(r"\s+")


def scripts(texts: list[str]) -> dict[str, float]:
    """Share of letters by script, largest first; ``Other`` where the script is not in ``SCRIPTS``.

    Example:
        >>> scripts(["abc 中"])
        {'Latin': 0.75, 'Han': 0.25}
    """
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "replace"), np.uint32)
    distinct, counts = np.unique(codes, return_counts=True)
    letters = np.array([chr(code).isalpha() for code in distinct.tolist()], bool)
    distinct, counts = distinct[letters], counts[letters]
    total = counts.sum()
    shares, rest = {}, counts.copy()
    for name, ranges in SCRIPTS.items():
        inside = np.logical_or.reduce([(distinct >= low) & (distinct <= high) for low, high in ranges])
        shares[name] = int(counts[inside].sum())
        rest[inside] = 0
    shares["Other"] = int(rest.sum())
    return {name: float(n / total) for name, n in sorted(shares.items(), key=lambda item: -item[1]) if n}


def joined(rows: list[Any]) -> list[str]:
    """Pairs as one text with a separator; single texts as they are."""
    return [row if isinstance(row, str) else f" {SEPARATOR} ".join(row) for row in rows]


def _sample(dataset: Dataset, size: int) -> list[str]:
    chosen = evenly_spaced(len(dataset), size)
    return joined(dataset.take(chosen))


def _blocks(dataset: Dataset, chosen: np.ndarray) -> Iterator[list[str]]:
    for start in range(0, len(chosen), BLOCK):
        yield joined(dataset.take(chosen[start : start + BLOCK]))


class TextVectors:
    """TF-IDF (1 + ln tf) · (1 + ln((1 + N) / (1 + n_t))), rows of length 1, over runs of one to ``longest`` units.

    A unit is a word, or one of the marks that carry meaning; text written without spaces is cut into characters;
    sequences without any words (genes) are runs of one to six letters.  Terms seen once are dropped only where the
    limits on memory demand it.
    """

    def __init__(self) -> None:
        self.unit, self.longest, self.pairs = "word", 2, False
        self.terms: list[str] = []
        self.idf = np.empty(0)

    def units(self, text: str) -> list[str]:
        """Cut a text into units."""
        text = text.lower()
        if self.unit == "letter":
            return [*SPACE.sub("", text)]
        return [*SPACE.sub(" ", text)] if self.unit == "character" else WORDS.findall(text)

    def runs(self, text: str) -> list[str]:
        """All runs of one to ``longest`` units."""
        units = self.units(text)
        found, glue = list(units), " " if self.unit == "word" else ""
        for n in range(2, self.longest + 1):
            found += [glue.join(units[i : i + n]) for i in range(len(units) - n + 1)]
        return found

    def fit(self, dataset: Dataset) -> TextVectors:
        """Choose the unit by script and learn vocabulary and weights.

        Raises:
            DataError: There is no word in any text.
        """
        self.unit, self.longest = _unit(_sample(dataset, SAMPLE))
        self.pairs = len(dataset) > 0 and not isinstance(dataset.take(np.array([0]))[0], str)
        chosen = evenly_spaced(len(dataset), FIT)
        seen: Counter[str] = Counter()
        for texts in _blocks(dataset, chosen):
            for text in texts:
                seen.update(set(self.runs(text)))
            if len(seen) > SWEEP:
                seen = Counter({term: n for term, n in seen.items() if n > 1})
        if not seen:
            raise DataError("the texts hold no words", where=dataset.name)
        kept = sorted(seen.items(), key=lambda item: (-item[1], item[0]))[:TERMS]  # ties by spelling: reproducible
        kept.sort()
        self.terms = [term for term, _ in kept]
        documents = np.array([n for _, n in kept], np.float64)
        self.idf = 1 + np.log((1 + len(chosen)) / (1 + documents))
        return self

    def transform(self, dataset: Dataset) -> Any:
        """CSR float64 (N, terms); of pairs what both texts have in common stands beside it (``data.overlap``)."""
        from scipy.sparse import csr_matrix, hstack, vstack

        index = {term: i for i, term in enumerate(self.terms)}
        parts = [csr_matrix((0, len(self.terms)))]
        for texts in _blocks(dataset, np.arange(len(dataset))):
            ends, columns, counts = [0], [], []
            for text in texts:
                found = Counter(index[run] for run in self.runs(text) if run in index)
                columns += found.keys()
                counts += found.values()
                ends.append(len(columns))
            rows = np.repeat(np.arange(len(texts)), np.diff(ends))
            places = np.array(columns, np.int32)
            values = (1 + np.log(np.array(counts, np.float64))) * self.idf[places]
            norms = np.sqrt(np.bincount(rows, values**2, len(texts)))
            part = csr_matrix((values / norms[rows], places, np.array(ends, np.int32)), (len(texts), len(self.terms)))
            part.sort_indices()
            parts.append(part)
        whole = vstack(parts, format="csr")
        if not self.pairs:
            return whole
        blocks = (dataset.take(slice(start, start + BLOCK)) for start in range(0, len(dataset), BLOCK))
        common = [np.zeros((0, len(COMMON))), *(overlap(block, self.units) for block in blocks)]
        return hstack([whole, csr_matrix(np.concatenate(common))], format="csr")

    def names(self) -> list[str]:
        """The term that each column counts, and what is common to pairs."""
        return [*self.terms, *(COMMON if self.pairs else ())]

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Unit and length as JSON; terms (joined by newlines, UTF-8) and weights as arrays."""
        terms = np.frombuffer("\n".join(self.terms).encode(), np.uint8)
        return {"unit": self.unit, "longest": self.longest, "pairs": self.pairs}, {"terms": terms, "idf": self.idf}

    @classmethod
    def from_state(cls, facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> TextVectors:
        """The inverse of ``state``."""
        vectors = cls()
        vectors.unit, vectors.longest, vectors.pairs = facts["unit"], facts["longest"], facts.get("pairs", False)
        vectors.terms = arrays["terms"].astype(np.uint8).tobytes().decode().split("\n")
        vectors.idf = np.asarray(arrays["idf"], np.float64)
        return vectors


def _unit(texts: list[str]) -> tuple[str, int]:
    """Unit and longest run that suit the texts."""
    shares = scripts(texts)
    if sum(shares.get(name, 0.0) for name in UNSPACED) > 0.3:
        return "character", 2
    words = [word for text in texts for word in text.split() if word != SEPARATOR]
    if words and float(np.median([len(word) for word in words])) >= GENES:
        return "letter", 6
    return "word", 2


class _Text:
    """Facts, walk and vectors of texts."""

    vectorizer = TextVectors

    def describe(self, dataset: Dataset) -> dict[str, Any]:
        """Rows, length in characters (median, 95 %, longest), scripts, and shares of empty and repeated rows."""
        lengths = np.concatenate(
            [
                np.zeros(0, np.int64),
                *(np.array([len(text) for text in texts]) for texts in _blocks(dataset, np.arange(len(dataset)))),
            ]
        )
        keys = dataset.X.keys(dataset.rows) if hasattr(dataset.X, "keys") else np.arange(len(dataset))
        median, high, top = np.quantile(lengths, [0.5, 0.95, 1.0]).astype(int).tolist() if len(lengths) else (0, 0, 0)
        return {
            "rows": len(dataset),
            "columns": list(dataset.columns),
            "characters": {"median": median, "p95": high, "max": top},
            "scripts": {
                name: round(share, 4) for name, share in scripts(_sample(dataset, SAMPLE)).items() if share >= 5e-5
            },
            "empty": int((lengths == 0).sum()),
            "duplicates": len(keys) - len(np.unique(keys)),
        }

    def walk(self, dataset: Dataset, row: int) -> list[tuple[str, str]]:
        """One text: as read, lower-cased units, and the heaviest terms of its vector."""
        vectors = TextVectors().fit(dataset)
        text = joined(dataset.take(np.array([row])))[0]
        units = vectors.units(text)
        one = vectors.transform(dataset.select(np.array([row])))
        order = np.argsort(-one.data, kind="stable")[:6]
        names = vectors.names()
        heavy = ", ".join(f"{names[one.indices[i]]} {one.data[i]:.2f}" for i in order)
        steps = [("raw", _short(text)), (f"{vectors.unit}s", _short(" | ".join(units)))]
        if dataset.y is not None:
            steps.append(("label", str(dataset.select(np.array([row])).labels[0])))
        return [*steps, ("terms", f"{one.nnz} of {len(vectors.terms)}; heaviest: {heavy}")]

    def vectors(self) -> TextVectors:
        """TF-IDF."""
        return TextVectors()


def _short(text: str) -> str:
    return text if len(text) <= 200 else text[:199] + "…"


MODALITIES.register("text")(_Text())
