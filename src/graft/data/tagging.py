"""Named-entity tagging: read sentences with tags, and make their tags BIO.

Read are columns (a word per line), JSON lines, JSON, Parquet and Hugging Face ``datasets`` with words and tags or with a
text and spans of characters, and (X, y) of lists of words and lists of tags.  A row is a sentence, or whatever stands
between two blank lines.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from graft.core import spans as spans_
from graft.core.errors import DataError, UsageError
from graft.core.ragged import ragged
from graft.core.task import Task
from graft.core.types import Dataset
from graft.data.conll import Example, Unreadable
from graft.data.sentences import SentenceRows
from graft.data.tagged_sources import LINES, Found, find

FEW_DOCUMENTS = 10  # with fewer, documents are no groups: folds could not be cut
SHOWN = 3  # places that a note names


# -- labelled ----------------------------------------------------------------------------------------------------------


def load_tagged(
    source: Any,
    *,
    task: str | Task | None = None,
    like: dict[str, Any] | None = None,
    label: str | None = None,
    modality: str | None = None,
    encoding: str = "utf-8",
    labelled: bool = True,
    bad_rows: str = "error",
    name: str | None = None,
) -> Dataset | None:
    """A data set of sentences with their tags as BIO; None where the source is something else.

    What is no valid sequence of tags is read as the scorer of CoNLL reads it, with a note.  Of spans that overlap the
    longest is kept, with a note.  Sentences without a word are left out, with a note.

    Args:
        source: What ``load`` takes.
        task: ``"tagging"`` to insist, or the known task.
        like: Recipe of the data that a model was fitted on.
        label: Name or number of the column of tags.
        modality: What was asked for; sentences are text.
        encoding: Of text files.
        labelled: Whether tags are wanted.
        bad_rows: ``"error"`` or ``"drop"``.
        name: What to call the data.

    Raises:
        DataError: A sentence cannot be read, its tags are malformed or not known to the model, or there is no span.
    """
    known = _task_of(like) if like else task if isinstance(task, Task) else None
    if (
        modality not in {None, "text"}
        or (known and not known.is_tagging)
        or (isinstance(task, str) and task != "tagging")
    ):
        return None
    asked = known is not None or task == "tagging"
    cut = like.get("kinds", {}).get("words", "words") if like else None
    found = find(source, encoding=encoding, labelled=labelled, column=label, asked=asked, cut=cut)
    if found is None:
        return None
    examples, notes = _usable(found, drop=bad_rows == "drop")
    if not examples:
        raise DataError("there are no sentences", where=found.where)
    unit = cut or found.cut
    rows = SentenceRows.of_sentences([one.sentence for one in examples], unit)
    places = np.array([one.line for one in examples], np.int64)
    target = known.target if known else (label if label and not label.isdigit() else "tags")
    base = known or Task("tagging", "text", (), "entity_f1", target)
    data = Dataset(rows, None, base, np.arange(len(rows)), None, ("text",), name or found.name, line_of=places)
    if labelled:
        tags, more = _tags(examples, found)
        notes += more
        data = dataclasses.replace(data, **_targets(tags, examples, known, found, target))
        groups = np.array([one.group for one in examples])
        if len(np.unique(groups)) >= FEW_DOCUMENTS:
            data = dataclasses.replace(data, groups=groups)
            notes.append(
                f"{len(np.unique(groups))} documents: sentences of one are never split between training and test"
            )
        notes += _repeated(data) if known is None else []
    return dataclasses.replace(data, notes=tuple(notes))


def _task_of(like: dict[str, Any]) -> Task:
    return Task(**{**like["task"], "classes": tuple(like["task"]["classes"])})


def _usable(found: Found, *, drop: bool) -> tuple[list[Example], list[str]]:
    """Sentences that can be used, and notes on the others."""
    examples: list[Example] = []
    bad: list[Unreadable] = []
    empty: list[int] = []
    for one in found.examples:
        if isinstance(one, Example) and one.tags is not None:
            place = next((i for i, tag in enumerate(one.tags) if spans_.split_tag(tag) is None), None)
            if place is not None:
                at = one.line + (place if found.unit == LINES and one.spans is None else 0)
                one = Unreadable(at, f"{one.tags[place]!r} is no tag; tags are O, B-TYPE and I-TYPE")  # noqa: PLW2901
        if isinstance(one, Unreadable):
            if not drop:
                raise DataError(
                    one.reason,
                    where=f"{found.where}, {found.unit} {one.line}",
                    hint="--bad-rows drop leaves such sentences out",
                )
            bad.append(one)
        elif not len(one.sentence.starts):
            empty.append(one.line)
        else:
            examples.append(one)
    notes = (
        [f"{len(bad)} unreadable sentence(s) left out: {_places([b.line for b in bad], found)} ({bad[0].reason})"]
        if bad
        else []
    )
    notes += [f"{len(empty)} sentence(s) without a word left out: {_places(empty, found)}"] if empty else []
    for kind, number in Counter(note for one in examples for note in one.notes).items():
        notes.append(f"{kind}: {_places([one.line for one in examples if kind in one.notes], found)} ({number} in all)")
    return examples, notes


def _places(places: Sequence[int], found: Found) -> str:
    some = ", ".join(map(str, places[:SHOWN])) + (" …" if len(places) > SHOWN else "")
    return f"{found.unit}{'s' * (len(places) > 1)} {some}"


def _tags(examples: list[Example], found: Found) -> tuple[list[list[str]], list[str]]:
    """BIO tags of every sentence, and notes on what was converted or repaired."""
    if examples[0].spans is not None:
        return [spans_.to_tags(one.spans or (), len(one.sentence.starts)) for one in examples], []
    if examples[0].tags is None:
        raise DataError("the sentences have no tags", where=found.where, hint="add a column of tags, or spans")
    split = [[spans_.split_tag(tag) or ("O", "") for tag in one.tags or ()] for one in examples]
    read = spans_.read_tags(split)
    notes = [f"tags are {read.scheme}, converted to BIO"] if read.scheme != "BIO" else []
    wrong = np.flatnonzero(read.repaired >= 0)
    if len(wrong):
        lines = [examples[i].line + (int(read.repaired[i]) if found.unit == LINES else 0) for i in wrong.tolist()]
        notes.append(
            f"{len(wrong)} sentence(s) hold tags that do not follow each other, read as CoNLL's scorer reads them: {_places(lines, found)}"
        )
    return [spans_.to_tags(spans, len(tags)) for spans, tags in zip(read.spans, split, strict=True)], notes


def _targets(
    tags: list[list[str]], examples: list[Example], known: Task | None, found: Found, target: str
) -> dict[str, Any]:
    """Task and encoded tags."""
    if known is None:
        try:
            task = Task.infer(ragged(tags), modality="text", kind="tagging", target=target)
        except DataError as error:
            raise DataError(error.what, where=found.where, hint=error.hint) from None
        return {"task": task, "y": task.encode(tags)}
    y, strange = spans_.encode(tags, known.classes)
    if strange is not None:
        row, tag = strange
        at = examples[row].line + (tags[row].index(tag) if found.unit == LINES and examples[row].spans is None else 0)
        kinds = ", ".join(spans_.types_of(known.classes))
        what = f"{tag[2:]!r} is no type of span that the model knows"
        raise DataError(what, where=f"{found.where}, {found.unit} {at}", hint=f"its types are {kinds}")
    return {"y": y}


def _repeated(data: Dataset) -> list[str]:
    keys = data.X.keys(data.rows)  # type: ignore[attr-defined]
    repeated = len(keys) - len(np.unique(keys))
    return [f"{repeated} sentence(s) repeat an earlier one"] if repeated else []


# -- prediction --------------------------------------------------------------------------------------------------------


def stream_tagged(
    source: Any, like: dict[str, Any], *, chunk: int, encoding: str
) -> Iterator[tuple[list[Example], np.ndarray, list[tuple[int, str]], str]]:
    """Sentences to predict in chunks: examples, their 0-based places, unusable ones with the reason, and the name.

    Raises:
        DataError: The file cannot be read, or is in no form of sentences.
        UsageError: ``source`` is no path and no list.
    """
    cut = like.get("kinds", {}).get("words", "words")
    if isinstance(source, str | Path) and not Path(source).expanduser().exists():
        raise DataError(f"no such file {str(source)!r}", hint="check the path")
    found = find(source, encoding=encoding, labelled=False, asked=True, cut=cut)
    if found is None:
        raise UsageError(
            "these are no sentences", hint="pass columns, JSON lines, or a text file with a sentence per line"
        )
    examples: list[Example] = []
    places: list[int] = []
    bad: list[tuple[int, str]] = []
    for number, one in enumerate(found.examples):
        if isinstance(one, Unreadable):
            bad.append((number, one.reason))
        elif not len(one.sentence.starts):
            bad.append((number, "empty text"))
        else:
            examples.append(one)
            places.append(number)
        if (number + 1) % chunk == 0:
            yield examples, np.array(places, np.int64), bad, found.name
            examples, places, bad = [], [], []
    if examples or bad:
        yield examples, np.array(places, np.int64), bad, found.name
