"""Where a tagger errs: spans of another type, with other ends, missed or made up, and the sentences that hold most of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from graft.core.ragged import flat, lengths
from graft.core.spans import best_tags, bounds, decode, span_counts, types_of
from graft.core.task import Task
from graft.core.types import Dataset
from graft.data.written import character_spans
from graft.evaluate.metrics import checked


@dataclass(frozen=True)
class SpanErrors:
    """How many spans are wrong in which way; a span is counted once.

    Attributes:
        right: Predicted spans that are right.
        types: Spans found with the right ends, by (true type, predicted type) where these differ.
        ends: Predicted spans that overlap a true one of their type, with other ends.
        made_up: Predicted spans that share no word with a true one, or are of another type with other ends.
        missed: True spans of which no word is in a predicted one.
        true: True spans in all.
    """

    right: int
    types: dict[tuple[str, str], int]
    ends: int
    made_up: int
    missed: int
    true: int


def span_errors(task: Task, y: np.ndarray, outputs: np.ndarray) -> SpanErrors:
    """Count the errors of the likeliest valid tags.

    Args:
        task: A tagging.
        y: Encoded tags per sentence.
        outputs: Probabilities per sentence.

    Example:
        >>> from graft.core.ragged import ragged
        >>> task = Task("tagging", "text", ("O", "B-A", "I-A", "B-B", "I-B"), "entity_f1")
        >>> y, said = ragged([np.array([1, 2, 0, 3])]), ragged([np.eye(5)[[1, 0, 0, 1]]])
        >>> span_errors(task, y, said)
        SpanErrors(right=0, types={('B', 'A'): 1}, ends=1, made_up=0, missed=0, true=2)
    """
    y, outputs = checked(task, y, outputs)
    counts, tags = lengths(y), best_tags(outputs)
    names, truth = types_of(task.classes), flat(y).astype(np.int64)
    starts, ends, kinds = bounds(truth, counts)
    known = {(int(a), int(b)): int(kind) for a, b, kind in zip(starts, ends, kinds, strict=True)}
    kind_of = np.where(truth > 0, (truth - 1) // 2, -1)
    said = flat(tags).astype(np.int64)
    types: Counter[tuple[str, str]] = Counter()
    right = other_ends = made_up = 0
    for a, b, kind in zip(*(part.tolist() for part in bounds(said, counts)), strict=True):
        if (a, b) in known:
            right += known[a, b] == kind
            if known[a, b] != kind:
                types[names[known[a, b]], names[kind]] += 1
        elif (kind_of[a:b] == kind).any():
            other_ends += 1
        else:
            made_up += 1
    missed = sum(not said[a:b].any() for a, b in zip(starts.tolist(), ends.tolist(), strict=True))
    return SpanErrors(right, dict(types), other_ends, made_up, missed, len(starts))


def error_sentences(found: SpanErrors) -> list[str]:
    """What stands out, in words."""
    lines = [f"of {found.true:,} spans {found.right:,} were found as they are, {found.missed:,} not at all"]
    lines.append(f"{found.ends:,} predicted spans begin or end elsewhere, {found.made_up:,} are where there is none")
    if found.types:
        (true, said), count = max(found.types.items(), key=lambda item: (item[1], item[0]))
        total = sum(found.types.values())
        lines.append(f"{total:,} have the right words and another type, {true} as {said} most often ({count:,})")
    return lines


def hard_sentences(task: Task, data: Dataset, outputs: np.ndarray, top: int) -> list[dict[str, Any]]:
    """Sentences with the most wrong spans: ``row`` (position), ``label`` and ``prediction`` as lists of spans in words."""
    assert data.y is not None
    tags = best_tags(outputs)
    counts = span_counts(data.y, tags)
    wrong = counts[:, 1] + counts[:, 2] - 2 * counts[:, 0]
    order = np.argsort(-wrong, kind="stable")[:top]
    order = order[wrong[order] > 0]
    some = data.take(order)
    pairs = [decode(values[order], task.classes) for values in (data.y, tags)]
    rows = []
    for place, row in enumerate(order.tolist()):
        true, said = ([_in_words(span) for span in character_spans(some[place], part[place])] for part in pairs)
        rows.append({"row": row, "label": ", ".join(true) or "–", "prediction": ", ".join(said) or "–"})
    return rows


def _in_words(span: dict[str, Any]) -> str:
    return f"{span['text']} {span['label']}"
