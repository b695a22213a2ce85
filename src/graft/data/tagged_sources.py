"""Find out whether a source is sentences with tags, and in which form: files, folders, tables, lists."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from graft.core.errors import DataError
from graft.data import annotated, conll
from graft.data.conll import Example, Unreadable
from graft.data.lines import Lines
from graft.data.sentences import Sentence

RECORDS = (".jsonl", ".ndjson", ".json")
TABLES = (".parquet", ".pq")
LOOKED_AT = 50  # records that tell whether they are sentences with spans
LINES = "line"  # what ``Found.unit`` is where examples have lines

Read = Iterable[Example | Unreadable]


@dataclasses.dataclass(frozen=True)
class Found:
    """Sentences of a source, not read yet.

    Attributes:
        examples: The sentences, in order.
        name: What to call the data.
        where: The file, for messages.
        unit: What ``Example.line`` counts.
        cut: How raw text is to be cut into words where a model reads some.
    """

    examples: Read
    name: str = "data"
    where: str = "data"
    unit: str = "row"
    cut: str = "words"


def find(
    source: Any,
    *,
    encoding: str = "utf-8",
    labelled: bool = True,
    column: str | None = None,
    asked: bool = False,
    cut: str | None = None,
) -> Found | None:
    """Sentences of a source, or None where it holds none.

    Args:
        source: What ``load`` takes.
        encoding: Of text files.
        labelled: Whether tags are wanted.
        column: Name or number of the column of tags.
        asked: Whether sentences are wanted in any case: what is not annotated is read as raw text.
        cut: How text is cut into words; if not given, texts with spans into pieces, raw ones into words.

    Raises:
        DataError: Sentences are asked for, and it holds none.
    """
    if isinstance(source, str | Path):
        path = Path(source).expanduser()
        return (
            _of_path(path, encoding, labelled=labelled, column=column, asked=asked, cut=cut) if path.exists() else None
        )
    X, y = source if isinstance(source, tuple) and len(source) == 2 else (source, None)
    table = _table_of(X)
    if table is not None:
        if not annotated.is_annotated_table(table):
            return _refused("the columns are no words with tags", asked=asked and labelled)
        names = annotated.names_of(table) or _names_in_memory(X)
        records = annotated.table_records(table)
        return Found(annotated.read_records(records, labelled=labelled, names=names, cut=cut), cut=_cut_of(table))
    if isinstance(X, np.ndarray) and X.ndim == 1:
        X = X.tolist()
    if y is None:
        return Found(_raw(X, cut)) if asked and isinstance(X, list | tuple) else None
    if not (_is_lists(X) and _is_lists(y)):
        return _refused("X must be lists of words, and y lists of tags", asked=asked)
    records = (({"tokens": list(a), "tags": list(b)}, n) for n, (a, b) in enumerate(zip(X, y, strict=False), 1))
    if len(X) != len(y):
        raise DataError(f"{len(X)} sentences but {len(y)} lists of tags", hint="pass one list of tags per sentence")
    return Found(annotated.read_records(iter(records), labelled=labelled))


def _is_lists(values: Any) -> bool:
    """Lists of strings, one per sentence."""
    if not isinstance(values, list | tuple) or not len(values):
        return False
    some = (
        next((item for item in values if len(item)), None) if all(isinstance(i, list | tuple) for i in values) else None
    )
    return some is not None and isinstance(some[0], str)


def _refused(what: str, *, asked: bool) -> None:
    if asked:
        raise DataError(what, hint="see docs/how-to/tag-words.md for the forms that are read")


def _of_path(  # noqa: PLR0911  (one per form)
    path: Path, encoding: str, *, labelled: bool, column: str | None, asked: bool, cut: str | None
) -> Found | None:
    """Sentences of a file or folder."""
    if path.is_dir():
        table = annotated.arrow_folder(path)
        if table is None:
            return _refused(f"{path} is no folder that datasets saved", asked=asked)
        return _of_table(table, path, labelled=labelled, asked=asked, cut=cut)
    if path.stat().st_size == 0:
        return None  # the usual reader says so
    suffix = conll.suffix_of(path)
    if suffix in RECORDS:
        return _of_records(path, encoding, labelled=labelled, asked=asked, cut=cut)
    if suffix in TABLES:
        table = annotated.parquet_table(path)
        return None if table is None else _of_table(table, path, labelled=labelled, asked=asked and labelled, cut=cut)
    found = _of_lines(path, encoding, labelled=labelled, column=column)
    if found is None and asked and not labelled and suffix in conll.MAYBE:
        return Found(_lines(path, encoding, cut), _name(path), path.name, LINES)
    if found is None and asked and suffix in conll.MAYBE:
        read = conll.read_columns(path, encoding, labelled=labelled, column=column)  # says what is wrong with them
        return Found(read, _name(path), path.name, LINES)
    return _refused(f"{path.name} is in no form of sentences with tags", asked=asked) if found is None else found


def _name(path: Path) -> str:
    return path.name.split(".")[0]


def _of_table(table: pa.Table, path: Path, *, labelled: bool, asked: bool, cut: str | None) -> Found | None:
    if not annotated.is_annotated_table(table):
        return _refused("the columns are no words with tags", asked=asked)
    names = annotated.names_of(table)
    read = annotated.read_records(annotated.table_records(table), labelled=labelled, names=names, cut=cut)
    return Found(read, _name(path), path.name, "row", _cut_of(table))


def _of_records(path: Path, encoding: str, *, labelled: bool, asked: bool, cut: str | None) -> Found | None:
    head = [record for record, _ in itertools.islice(annotated.json_records(path, encoding), LOOKED_AT)]
    head = [record for record in head if isinstance(record, dict)]
    said = [annotated.keys_of(record) for record in head]
    filled = any((w and t) or (s and record[s]) for (w, t, _, s), record in zip(said, head, strict=True))
    if not filled and not asked:
        return None
    read = annotated.read_records(annotated.json_records(path, encoding), labelled=labelled, cut=cut)
    unit = LINES if conll.suffix_of(path) != ".json" else "row"
    return Found(read, _name(path), path.name, unit, "words" if any(w for w, _, _, _ in said) else "pieces")


def _of_lines(path: Path, encoding: str, *, labelled: bool, column: str | None) -> Found | None:
    """Sentences of a file whose name, or whose first lines, say that it is in columns."""
    suffix = conll.suffix_of(path)
    if suffix in conll.SUFFIXES or (suffix in conll.MAYBE and conll.looks_like_columns(path, encoding)):
        read = conll.read_columns(path, encoding, labelled=labelled, column=column)
        return Found(read, _name(path), path.name, LINES)
    return None


def _table_of(X: Any) -> pa.Table | None:
    """The table of a data set of ``datasets``, or of Arrow, whose columns may be sentences; None for anything else."""
    if isinstance(X, pa.Table):
        return X if annotated.may_be(X.schema) else None
    if hasattr(X, "with_format") and hasattr(X, "features") and annotated.may_be(X.data.table.schema):
        return X.data.table if getattr(X, "_indices", None) is None else X.with_format("arrow")[:]
    return None


def _names_in_memory(X: Any) -> list[str]:
    for feature in getattr(X, "features", {}).values() if hasattr(X, "features") else ():
        inner = feature[0] if isinstance(feature, list) else getattr(feature, "feature", None)
        names = getattr(inner, "names", None)
        if names:
            return [str(name) for name in names]
    return []


def _cut_of(table: pa.Table) -> str:
    words = annotated.keys_of(table.slice(0, 1).to_pylist()[0])[0]
    return "words" if words else "pieces"


def _raw(X: Sequence[Any], cut: str | None) -> Read:
    """Texts, or lists of words, without tags."""
    for number, item in enumerate(X, 1):
        if isinstance(item, Sentence):
            yield Example(item, number)
        elif isinstance(item, str):
            yield Example(Sentence.cut(item, cut or "words"), number)
        elif isinstance(item, list | tuple | np.ndarray) and all(isinstance(word, str) for word in item):
            yield Example(Sentence.of(list(item)), number)
        else:
            yield Unreadable(number, f"a {type(item).__name__} is neither a text nor a list of words")


def _lines(path: Path, encoding: str, cut: str | None) -> Read:
    """Plain text: every line is a row; a blank one is an empty text, so that rows keep their places."""
    lines = Lines(path, encoding)
    for line in lines:
        odd = lines.odd.pop(lines.number, None)
        yield (
            Unreadable(lines.number, odd) if odd else Example(Sentence.cut(line.strip(), cut or "words"), lines.number)
        )
