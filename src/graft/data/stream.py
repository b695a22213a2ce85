"""Read new files for prediction as the training data were read, in chunks, with nothing lost and order kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from graft.core.errors import UsageError
from graft.core.ragged import ragged
from graft.core.task import Task
from graft.core.types import Dataset
from graft.data.assemble import assemble, fit_roles, read_labels, read_roles
from graft.data.blocks import Block
from graft.data.columns import as_text
from graft.data.detection import stream_pictures
from graft.data.inputs import Source, open_source
from graft.data.sentences import SentenceRows
from graft.data.series_tables import as_block, from_arrays, in_one
from graft.data.several import is_list, names_of, one_column
from graft.data.tagging import stream_tagged


@dataclass(frozen=True)
class Chunk:
    """Some consecutive input rows.

    Attributes:
        data: The usable rows; labelled only if every one of them has a label that the task knows.
        row_numbers: 0-based input position of each row of ``data`` (B,).
        bad: The other rows: (0-based position, reason), in order.
        labels: What the label column says for each row of ``data``, as text; None where there is no such column.
    """

    data: Dataset
    row_numbers: np.ndarray
    bad: list[tuple[int, str]]
    labels: np.ndarray | None = None


def recipe(data: Dataset) -> dict[str, Any]:
    """How to read new files as this data set was read: plain JSON.

    Example:
        >>> from graft.data.load import load
        >>> recipe(load((["good", "bad"], ["+", "-"])))["inputs"]
        ['text']
    """
    return {
        "format": 1,
        "modality": data.task.modality,
        "inputs": list(data.columns),
        "label": data.task.target,
        "kinds": dict(getattr(data.X, "kinds", {})),
        "task": {**dataclasses.asdict(data.task), "classes": list(data.task.classes)},
    }


def stream(
    source: Any, like: Dataset | dict[str, Any], *, chunk: int = 4096, encoding: str = "utf-8"
) -> Iterator[Chunk]:
    """Read a source in chunks; every input row is in exactly one chunk, in ``row_numbers`` or in ``bad``.

    A row is bad if its line cannot be read, all its texts are empty, its image or sound cannot be decoded, or a word
    stands in a column of numbers.  Memory does not grow with the file.

    Args:
        source: As for ``load``.
        like: The training data, or their ``recipe``.
        chunk: Input rows per chunk.
        encoding: Of text files.

    Raises:
        DataError: The file cannot be read, or an input column is missing.

    Example:
        >>> from graft.data.load import load
        >>> train = load((["good", "bad"], ["+", "-"]))
        >>> [(c.data.take(), c.row_numbers.tolist(), c.bad) for c in stream(["fine", " ", "poor"], train)]
        [(['fine', 'poor'], [0, 2], [(1, 'empty text')])]
    """
    if chunk < 1:
        raise UsageError("chunk must be at least 1")
    how = like if isinstance(like, dict) else recipe(like)
    roles, task = read_roles(how)
    if task.is_tagging:
        return _tagged(source, how, task, chunk=chunk, encoding=encoding)
    pictures = stream_pictures(source, chunk=chunk) if task.is_detection else None
    if pictures is not None:
        return _pictured(pictures, task)
    series = roles.modality == "series"
    source, columns = (from_arrays(source), ()) if series else (source, roles.inputs)
    opened = open_source(source, encoding=encoding, rows=chunk, columns=columns, labelled=False)
    parts = opened.blocks
    if series:  # the steps of one may lie in several blocks
        asked = {"where": opened.where, "label": roles.label}
        parts = (as_block(block, roles.inputs, **asked) for block in in_one(parts))
    return (_chunk(block, how, opened) for block in parts)


def _tagged(source: Any, how: dict[str, Any], task: Task, *, chunk: int, encoding: str) -> Iterator[Chunk]:
    for examples, places, bad, name in stream_tagged(source, how, chunk=chunk, encoding=encoding):
        rows = SentenceRows.of_sentences([one.sentence for one in examples], how["kinds"].get("words", "words"))
        lines = np.array([one.line for one in examples], np.int64)
        yield Chunk(
            Dataset(rows, None, task, np.arange(len(rows)), columns=("text",), name=name, line_of=lines), places, bad
        )


def _pictured(pictures: Any, task: Task) -> Iterator[Chunk]:
    for rows, places, bad, name in pictures:
        yield Chunk(Dataset(rows, None, task, np.arange(len(rows)), columns=("image",), name=name), places, bad)


def _chunk(block: Block, how: dict[str, Any], opened: Source) -> Chunk:
    roles, task = read_roles(how)
    bad = [(item.number, item.reason) for item in block.bad]
    if not len(block.numbers) and not block.table.column_names:  # nothing but unreadable lines so far
        block = dataclasses.replace(
            block, table=pa.table({name: pa.array([], pa.large_string()) for name in roles.inputs})
        )
    roles = fit_roles(roles, block.table, where=opened.where, modality=opened.modality, media=block.media)
    rows, spoilt = assemble(block.table, roles, base=opened.base, media=block.media)
    bad += [(int(block.numbers[place]), reason) for place, reason in spoilt.items()]
    good = np.setdiff1d(np.arange(len(rows)), np.fromiter(spoilt, np.int64, len(spoilt)))
    data = Dataset(rows, None, task, good, columns=roles.inputs, name=opened.name, line_of=block.lines)
    table, joined = one_column(block.table, None, (roles, task), where=opened.where)
    block = dataclasses.replace(block, table=table)
    label = next((name for name in (joined, roles.label, opened.label) if name in block.table.column_names), None)
    labels = None
    if label is not None:
        column = block.table.column(label)
        if is_list(column.type):
            labels = ragged("|".join(row or ()) for row in names_of(column, ""))[good]
        else:
            labels = np.array(as_text(column).to_pylist(), dtype=object)[good]
        y, gone, strange = read_labels(column, task)
        if len(good) and not (gone | strange)[good].any():
            data = dataclasses.replace(data, y=y[good])
    return Chunk(data, block.numbers[good], sorted(bad), labels)
