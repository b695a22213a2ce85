"""Named spans of words as tags: BIO, its relatives IOB1, BIOES, BILOU, BMES and IO, and decoding into valid sequences.

A tag says how a word stands to a span: B begins one, I goes on, O is outside.  Numbered, the tags of K types are O, B of
the first type, I of the first, B of the second …: 0 is O, odd numbers begin, even ones go on, (tag - 1) // 2 is the type.
I of a type is valid only after B or I of that type.

scheme   a span of three words, of two, of one      told by
IOB1     I I I · I I · I, B where two of a type touch   an I that begins, no B that need not
BIO      B I I · B I · B                                a B that follows no span of its type
BIOES    B I E · B E · S                                an E or S (BILOU: L for E, U for S; BMES: M for I)
IO       X X X · X X · X                                types without a prefix

References:
    Ramshaw & Marcus (1995), Text chunking using transformation-based learning (IOB1); Tjong Kim Sang & Veenstra (1999);
    Ratinov & Roth (2009), Design challenges and misconceptions in named entity recognition (BILOU); Tjong Kim Sang & De
    Meulder (2003), whose scorer reads an I that begins a span as B.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graft.core.ragged import cut, flat, lengths, ragged

OUTSIDE = "O"
UNNAMED = "SPAN"  # type of spans whose tags are bare B and I
PREFIXES = {"B": "B", "I": "I", "M": "I", "E": "E", "L": "E", "S": "S", "U": "S"}
TINY = 1e-12  # smallest probability in a logarithm
STEPS = 1 << 18  # padded words whose best sequences are found at a time


def tags_of(types: Iterable[str]) -> tuple[str, ...]:
    """The tags of span types, in the order of their numbers.

    Example:
        >>> tags_of(["LOC", "PER"])
        ('O', 'B-LOC', 'I-LOC', 'B-PER', 'I-PER')
    """
    return (OUTSIDE, *(f"{prefix}-{name}" for name in types for prefix in "BI"))


def types_of(tags: Sequence[str]) -> tuple[str, ...]:
    """The types of tags in the order of ``tags_of``."""
    return tuple(tag[2:] for tag in tags[1::2])


def split_tag(tag: str) -> tuple[str, str] | None:
    """Prefix (B, I, E, S, O, or empty for a bare type) and type of a tag as it is written; None if it is none.

    Example:
        >>> split_tag("U-LOC"), split_tag("O"), split_tag("B_PER"), split_tag("PER"), split_tag("B-"), split_tag("B")
        (('S', 'LOC'), ('O', ''), ('B', 'PER'), ('', 'PER'), None, ('B', 'SPAN'))
    """
    if tag in {"O", "o"}:
        return "O", ""
    if tag in PREFIXES:
        return PREFIXES[tag], UNNAMED
    if len(tag) > 1 and tag[1] in "-_" and tag[0] in PREFIXES:
        return (PREFIXES[tag[0]], tag[2:]) if len(tag) > 2 else None
    plain = tag.strip("-_")
    return ("", tag) if plain == tag and tag and "-" not in tag[:2] else None


@dataclass(frozen=True)
class Read:
    """Tags as spans of every sentence.

    Attributes:
        spans: Of every sentence: (first word, word after the last, type), in order.
        scheme: Which scheme the tags are in.
        repaired: Of every sentence: the first word whose tag does not fit the one before it, or -1.
    """

    spans: list[list[tuple[int, int, str]]]
    scheme: str
    repaired: np.ndarray


def scheme_of(sentences: Iterable[Sequence[tuple[str, str]]]) -> str:
    """The scheme of tags that ``split_tag`` has split.

    Example:
        >>> scheme_of([[("I", "LOC"), ("O", ""), ("I", "PER"), ("B", "PER")]])
        'IOB1'
    """
    alone = begins = bare = False
    for sentence in sentences:
        before = ("O", "")
        for prefix, kind in sentence:
            if prefix in {"E", "S"}:
                return "BIOES"
            bare |= prefix == ""
            follows = before[1] == kind and before[0] != "O"
            alone |= prefix == "I" and not follows
            begins |= prefix == "B" and not follows
            before = (prefix, kind)
    if bare:
        return "IO"
    return "IOB1" if alone and not begins else "BIO"


def read_tags(sentences: Sequence[Sequence[tuple[str, str]]], scheme: str | None = None) -> Read:
    """Find the spans of tags that ``split_tag`` has split.

    What is no valid sequence is read as the scorer of CoNLL reads it: I (or E) that continues nothing begins a span, and a
    span ends where its continuation is missing.

    Example:
        >>> read_tags([[("B", "LOC"), ("E", "LOC"), ("S", "PER"), ("I", "PER")]])
        Read(spans=[[(0, 2, 'LOC'), (2, 3, 'PER'), (3, 4, 'PER')]], scheme='BIOES', repaired=array([3]))
    """
    scheme = scheme or scheme_of(sentences)
    found, repaired = [], np.full(len(sentences), -1, np.int64)
    for number, sentence in enumerate(sentences):
        spans: list[tuple[int, int, str]] = []
        start, open_ = 0, ""  # where the span that may go on began, and its type
        strange = -1
        for place, (prefix, kind) in enumerate(sentence):
            goes_on = prefix in {"I", "E", ""} and open_ == kind and bool(kind)
            if open_ and not goes_on:
                spans.append((start, place, open_))
                strange = place if scheme == "BIOES" and strange < 0 else strange
                open_ = ""
            if prefix == "O":
                continue
            if not goes_on:
                start = place
                wrong = prefix in {"I", "E"} and scheme in {"BIO", "BIOES"}
                strange = place if wrong and strange < 0 else strange
            if prefix in {"E", "S"}:
                spans.append((start, place + 1, kind))
                open_ = ""
            else:
                open_ = kind
        if open_:
            spans.append((start, len(sentence), open_))
            strange = len(sentence) - 1 if scheme == "BIOES" and strange < 0 else strange
        found.append(spans)
        repaired[number] = strange
    return Read(found, scheme, repaired)


def to_tags(spans: Iterable[tuple[int, int, str]], words: int) -> list[str]:
    """BIO tags of spans that do not overlap.

    Example:
        >>> to_tags([(1, 3, "PER")], 4)
        ['O', 'B-PER', 'I-PER', 'O']
    """
    tags = [OUTSIDE] * words
    for start, end, kind in spans:
        tags[start:end] = [f"B-{kind}", *[f"I-{kind}"] * (end - start - 1)]
    return tags


def to_spans(tags: Sequence[str]) -> list[tuple[int, int, str]]:
    """Spans of valid BIO tags.

    Example:
        >>> to_spans(["O", "B-PER", "I-PER", "B-PER"])
        [(1, 3, 'PER'), (3, 4, 'PER')]
    """
    return read_tags([[split_tag(tag) or ("O", "") for tag in tags]], "BIO").spans[0]


# -- numbers -----------------------------------------------------------------------------------------------------------


def transitions(count: int) -> np.ndarray:
    """Which of C tags may follow which: bool (C, C), row before column; what may follow O may also begin a sentence.

    Example:
        >>> transitions(3).astype(int).tolist()
        [[1, 1, 0], [1, 1, 1], [1, 1, 1]]
    """
    tag = np.arange(count)
    kind = np.where(tag > 0, (tag - 1) // 2, -1)
    goes_on = (tag > 0) & (tag % 2 == 0)
    allowed: np.ndarray = ~goes_on[None, :] | (kind[:, None] == kind[None, :])
    return allowed


def best_tags(outputs: np.ndarray) -> np.ndarray:
    """The likeliest valid sequence of every row of probabilities (T_i, C): an object array of int64 (T_i,).

    Where the likeliest tags of the words are valid together, they are the answer; for the other rows the sequence of the
    largest product is found among the valid ones.

    Example:
        >>> best_tags(ragged([np.array([[0.6, 0.3, 0.1], [0.2, 0.3, 0.5]])]))[0].tolist()  # O I is not valid
        [0, 1]
    """
    counts, values = lengths(outputs), flat(outputs)
    if not counts.sum():
        return ragged(np.zeros(0, np.int64) for _ in counts)
    tags = values.argmax(axis=1).astype(np.int64)
    allowed = transitions(values.shape[1])
    before = np.concatenate([[0], tags[:-1]])
    first = (np.cumsum(counts) - counts)[counts > 0]
    before[first] = 0
    wrong = np.flatnonzero(~allowed[before, tags])
    found = cut(tags, counts)
    if len(wrong):
        rows = np.unique(np.searchsorted(np.cumsum(counts), wrong, side="right"))
        score = np.where(allowed, 0.0, -np.inf)
        emissions = ragged(np.log(np.clip(outputs[row], TINY, None)) for row in rows)
        found[rows] = viterbi(emissions, score, score[0])
    return found


def viterbi(
    emissions: np.ndarray, transition: np.ndarray, start: np.ndarray, end: np.ndarray | None = None
) -> np.ndarray:
    """The best sequence of every row: an object array of int64 (T_i,).

    Maximises s_{y_1} + Σ_t e_{t, y_t} + Σ_t a_{y_{t-1}, y_t} + z_{y_T} over sequences y, in O(T C²) per row, many rows at
    a time.

    Args:
        emissions: Object array of e (T_i, C).
        transition: a (C, C), from row to column; -inf forbids.
        start: s (C,).
        end: z (C,); zeros if not given.

    References:
        Viterbi (1967), Error bounds for convolutional codes, IEEE Transactions on Information Theory 13.
    """
    counts = lengths(emissions)
    found = ragged(np.zeros(0, np.int64) for _ in counts)
    order = np.argsort(counts, kind="stable")
    order = order[counts[order] > 0]
    at = 0
    while at < len(order):
        upto = at + 1
        while upto < len(order) and (upto + 1 - at) * counts[order[upto]] <= STEPS:
            upto += 1
        rows = order[at:upto]
        found[rows] = _padded_viterbi(emissions[rows], counts[rows], transition, start, end)
        at = upto
    return found


def _padded_viterbi(
    emissions: np.ndarray, counts: np.ndarray, transition: np.ndarray, start: np.ndarray, end: np.ndarray | None
) -> np.ndarray:
    rows, steps, size = len(counts), int(counts.max()), len(start)
    padded = np.zeros((rows, steps, size))
    real = np.arange(steps) < counts[:, None]
    padded[real] = flat(emissions)
    score = start + padded[:, 0]
    back = np.tile(np.arange(size), (steps, rows, 1))  # where nothing is read the path stays where it is
    for step in range(1, steps):
        ways = score[:, :, None] + transition
        here = real[:, step]
        back[step, here] = ways.argmax(axis=1)[here]
        score = np.where(here[:, None], ways.max(axis=1) + padded[:, step], score)
    tag = (score if end is None else score + end).argmax(axis=1)
    path = np.empty((rows, steps), np.int64)
    for step in range(steps - 1, -1, -1):
        path[:, step] = tag
        tag = back[step, np.arange(rows), tag]
    return cut(path[real], counts)


def bounds(tags: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First word, word after the last, and type of every span of valid tags (ΣT,) of sentences of ``counts`` words.

    Example:
        >>> [part.tolist() for part in bounds(np.array([0, 1, 2, 1, 3]), np.array([4, 1]))]
        [[1, 3, 4], [3, 4, 5], [0, 0, 1]]
    """
    starts = np.flatnonzero(tags % 2 == 1)
    stop = (tags == 0) | (tags % 2 == 1)
    stop[(np.cumsum(counts) - counts)[np.asarray(counts) > 0]] = True
    stops = np.append(np.flatnonzero(stop), len(tags))
    ends = stops[np.searchsorted(stops, starts, side="right")]
    return starts, ends, (tags[starts] - 1) // 2


def span_counts(y: np.ndarray, tags: np.ndarray, types: int | None = None) -> np.ndarray:
    """Spans that are right, that are true, and that were predicted, per sentence: (n, 3), or by type (n, K, 3).

    A span is right if first word, last word and type all are: the strict measure of CoNLL.

    Args:
        y: True tags of every sentence.
        tags: Predicted tags, valid.
        types: Number K of types, where counts are wanted by type.

    Example:
        >>> span_counts(ragged([np.array([1, 2, 0, 3])]), ragged([np.array([1, 0, 0, 3])])).tolist()
        [[1, 2, 2]]
    """
    counts = lengths(y)
    row = np.repeat(np.arange(len(counts)), counts)
    kinds = types or 1
    found = np.zeros((len(counts) * kinds, 3), np.int64)
    if not len(row):
        return found.reshape(len(counts), kinds, 3) if types else found
    known = np.full((2, len(row)), -1, np.int64)  # end and type of the true span that begins at a word
    for column, values in ((1, y), (2, tags)):
        starts, ends, kind = bounds(flat(values).astype(np.int64), counts)
        cell = row[starts] * kinds + (kind if types else 0)
        found[:, column] = np.bincount(cell, minlength=len(found))
        if column == 1:
            known[0, starts], known[1, starts] = ends, kind
        else:
            right = (known[0, starts] == ends) & (known[1, starts] == kind)
            found[:, 0] = np.bincount(cell[right], minlength=len(found))
    return found.reshape(len(counts), kinds, 3) if types else found


def encode(y: Iterable[Sequence[Any]], classes: Sequence[str]) -> tuple[np.ndarray, tuple[int, str] | None]:
    """Numbers of BIO tags: an object array of int64 (T_i,), and the first (row, tag) that is none of the classes."""
    index = {name: number for number, name in enumerate(classes)}
    rows, strange = [], None
    for number, sentence in enumerate(y):
        names = [str(tag) for tag in sentence]
        unknown = next((tag for tag in names if tag not in index), None)
        if unknown is not None and strange is None:
            strange = number, unknown
        rows.append(np.array([index.get(tag, 0) for tag in names], np.int64))
    return ragged(rows), strange


def decode(tags: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Names of numbered tags: an object array of lists."""
    return ragged([classes[tag] for tag in row.tolist()] for row in tags)
