"""Sentences with spans as records: JSON lines, JSON, Parquet, Hugging Face ``datasets`` on disk or in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from graft.core.errors import DataError
from graft.data.conll import Example, Unreadable
from graft.data.lines import Lines
from graft.data.sentences import Sentence

WORDS = ("tokens", "words", "token")
TAGS = ("ner_tags", "tags", "labels", "ner", "tag", "label")
TEXTS = ("text", "sentence", "content")
SPANS = ("spans", "entities", "label", "labels", "annotations")
STARTS, ENDS = ("start", "start_offset", "begin"), ("end", "end_offset", "stop")
KINDS = ("label", "type", "entity_group", "tag", "entity")
PIECES = "a span begins or ends inside of a word, which is cut there"
NESTED = "of spans that overlap the longest is kept"
SHARDS = "*.arrow"


def keys_of(record: dict[str, Any]) -> tuple[str | None, str | None, str | None, str | None]:
    """Names of the words, tags, text and spans of a record, None for what it does not have.

    Example:
        >>> keys_of({"text": "Li left.", "spans": [{"start": 0, "end": 2, "label": "PER"}]})
        (None, None, 'text', 'spans')
    """
    words = next((key for key in WORDS if isinstance(record.get(key), list)), None)
    tags = next((key for key in TAGS if words and key != words and isinstance(record.get(key), list)), None)
    text = next((key for key in TEXTS if isinstance(record.get(key), str)), None)
    spans = next((key for key in SPANS if text and not words and _are_spans(record.get(key))), None)
    return words, tags, text, spans


def _are_spans(value: Any) -> bool:
    """A list of {start, end, label} or [start, end, label]; an empty one may be."""
    if not isinstance(value, list):
        return False
    return all(
        (isinstance(item, dict) and any(key in item for key in STARTS))
        or (isinstance(item, list) and len(item) >= 3 and isinstance(item[0], int) and isinstance(item[1], int))
        for item in value
    )


def is_annotated(record: Any) -> bool:
    """Whether a record is a sentence with tags or spans."""
    if not isinstance(record, dict):
        return False
    words, tags, _, spans = keys_of(record)
    return bool(words and tags) or spans is not None


def read_records(
    records: Iterator[tuple[Any, int]], *, labelled: bool, names: Sequence[str] = (), cut: str | None = None
) -> Iterator[Example | Unreadable]:
    """Sentences of records with the line of each.

    Args:
        records: (object, line); a str in the place of an object says what is wrong with the line.
        labelled: Whether tags or spans are needed.
        names: Tags by number, where they are numbers.
        cut: How texts are cut into words; if not given, those with spans into pieces, others into words.
    """
    known: tuple[str | None, ...] | None = None
    for record, line in records:
        if not isinstance(record, dict):
            yield Unreadable(
                line, record if isinstance(record, str) else f"a JSON {type(record).__name__}, not an object"
            )
            continue
        if known is None or not any(key in record for key in known if key):
            known = keys_of(record)
        yield _example(record, line, known, labelled=labelled, names=names, cut=cut)


def _example(
    record: dict[str, Any],
    line: int,
    keys: tuple[str | None, ...],
    *,
    labelled: bool,
    names: Sequence[str],
    cut: str | None,
) -> Example | Unreadable:
    words, tags, text_key, spans_key = keys
    if words is not None:
        return _of_words(record, line, words, tags if labelled else None, labelled=labelled, names=names)
    text = record.get(text_key or "text")
    if not isinstance(text, str):
        return Unreadable(line, "neither a text nor a list of words")
    if not labelled:
        return Example(Sentence.cut(text, cut or "words"), line)
    key = spans_key or next((key for key in SPANS if _are_spans(record.get(key))), None)
    spans = record.get(key) if key else None
    return _with_spans(text, spans, line, cut or "pieces") if isinstance(spans, list) else Unreadable(line, "no spans")


def _of_words(
    record: dict[str, Any], line: int, words_key: str, tags_key: str | None, *, labelled: bool, names: Sequence[str]
) -> Example | Unreadable:
    """A list of words with a list of tags, or of their numbers."""
    words = [str(word) for word in record.get(words_key) or []]
    blank = next((place for place, word in enumerate(words, 1) if not word.strip()), None)
    if blank is not None:
        return Unreadable(line, f"word {blank} is empty")
    example = Example(Sentence.of(words), line)
    if not labelled:
        return example
    tags = record.get(tags_key) if tags_key else None
    if not isinstance(tags, list) or len(tags) != len(words):
        got = f"{len(tags)} tags" if isinstance(tags, list) else "no tags"
        return Unreadable(line, f"{len(words)} words but {got}")
    if any(isinstance(tag, int) for tag in tags):
        if not all(isinstance(tag, int) and 0 <= tag < len(names) for tag in tags):
            what = (
                f"a tag is none of the {len(names)} that are named"
                if names
                else "tags are numbers, and nothing says their names"
            )
            return Unreadable(line, what)
        tags = [names[tag] for tag in tags]
    example.tags = [str(tag) for tag in tags]
    return example


def _with_spans(text: str, spans: list[Any], line: int, cut: str) -> Example | Unreadable:
    """A text cut into words so that spans of characters are spans of words."""
    found: list[tuple[int, int, str]] = []
    for item in spans:
        start, end, kind = _read_span(item)
        if not (isinstance(start, int) and isinstance(end, int) and isinstance(kind, str) and kind):
            return Unreadable(line, f"{str(item)[:60]!r} is no span: start, end and label are needed")
        if not 0 <= start < end <= len(text):
            return Unreadable(line, f"the span {start} to {end} is not within the text of {len(text)} characters")
        while start < end and text[start].isspace():
            start += 1
        while end > start and text[end - 1].isspace():
            end -= 1
        if start < end:
            found.append((start, end, kind))
    kept: list[tuple[int, int, str]] = []
    for span in sorted(found, key=lambda one: (one[0] - one[1], one[0])):  # the longest first
        if all(span[1] <= other[0] or other[1] <= span[0] for other in kept):
            kept.append(span)
    kept.sort()
    whole = Sentence.cut(text, cut)
    sentence = Sentence.cut(text, cut, [place for start, end, _ in kept for place in (start, end)])
    notes = [NESTED] * (len(kept) < len(found)) + [PIECES] * (len(sentence.starts) > len(whole.starts))
    starts, ends = sentence.starts.searchsorted, sentence.ends.searchsorted
    words = [(int(starts(start)), int(ends(end, side="right")), kind) for start, end, kind in kept]
    return Example(sentence, line, spans=[span for span in words if span[0] < span[1]], notes=notes)


def _read_span(item: Any) -> tuple[Any, Any, Any]:
    if isinstance(item, list):
        return item[0], item[1], item[2]
    pick = lambda keys: next((item[key] for key in keys if key in item), None)  # noqa: E731
    kind = pick(KINDS)
    return pick(STARTS), pick(ENDS), kind[0] if isinstance(kind, list) and kind else kind


# -- files -------------------------------------------------------------------------------------------------------------


def json_records(path: Path, encoding: str) -> Iterator[tuple[Any, int]]:
    """Objects of JSON lines, or of a JSON list, with the line or the number of each."""
    lines = Lines(path, encoding)
    suffixes = {suffix.lower() for suffix in path.suffixes}
    if ".json" in suffixes:
        text = "".join(lines)
        try:
            whole = json.loads(text)
        except (json.JSONDecodeError, RecursionError):
            whole = None  # one object per line, as it is often called too
        if isinstance(whole, list):
            yield from ((record, number) for number, record in enumerate(whole, 1))
            return
        lines = Lines(path, encoding)
    for line in lines:
        odd = lines.odd.pop(lines.number, None)
        if odd is not None:
            yield odd, lines.number
        elif line.strip():
            yield _object(line), lines.number


def _object(line: str) -> Any:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        return f"invalid JSON: {error.msg} at character {error.pos + 1}"
    except RecursionError:
        return "JSON nested too deeply"
    return value if not isinstance(value, str) else f"a JSON {type(value).__name__}, not an object"


def arrow_folder(path: Path) -> pa.Table | None:
    """The table of a folder that ``datasets`` saved; None where it is none.

    Raises:
        DataError: It is damaged, or holds several splits.
    """
    if (path / "dataset_dict.json").is_file():
        splits = sorted(item.name for item in path.iterdir() if item.is_dir())
        hint = f"pass one of them, for example {path / (splits[0] if splits else 'train')}"
        raise DataError(f"the folder holds splits ({', '.join(splits)})", where=str(path), hint=hint)
    if not (path / "dataset_info.json").is_file():
        return None
    try:
        shards = sorted(path.glob(SHARDS))
        return pa.concat_tables([pa.ipc.open_stream(pa.memory_map(str(shard))).read_all() for shard in shards])
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"a damaged data set ({error})", where=str(path), hint="save it again") from None


def tag_names(table: pa.Table, column: str) -> list[str]:
    """Names of the tags that a column of lists of numbers holds, from the metadata that ``datasets`` writes."""
    raw = (table.schema.metadata or {}).get(b"huggingface")
    if raw is None:
        return []
    try:
        feature = json.loads(raw)["info"]["features"][column]
    except (ValueError, KeyError, TypeError):
        return []
    inner = feature[0] if isinstance(feature, list) else feature.get("feature", {}) if isinstance(feature, dict) else {}
    return [str(name) for name in inner.get("names", [])] if isinstance(inner, dict) else []


def may_be(schema: pa.Schema) -> bool:
    """Whether columns have the names and types of sentences with tags or spans, before any row is read."""
    lists = {
        name
        for name in schema.names
        if pa.types.is_list(schema.field(name).type) or pa.types.is_large_list(schema.field(name).type)
    }
    return bool(lists & {*WORDS, *SPANS})


def parquet_table(path: Path) -> pa.Table | None:
    """The table of a Parquet file whose columns may be sentences; None for any other."""
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            return file.read() if may_be(file.schema_arrow) else None
    except (pa.ArrowInvalid, OSError):
        return None  # the usual reader says what is wrong


def is_annotated_table(table: pa.Table) -> bool:
    """Whether the columns of a table are words with tags, or texts with spans."""
    return bool(table.num_rows) and may_be(table.schema) and is_annotated(table.slice(0, 1).to_pylist()[0])


def table_records(table: pa.Table) -> Iterator[tuple[Any, int]]:
    """Rows of a table with their number."""
    for start in range(0, table.num_rows, 1024):
        for number, record in enumerate(table.slice(start, 1024).to_pylist(), start + 1):
            yield record, number


def names_of(table: pa.Table) -> list[str]:
    """Names of the tags of a table of words with tags."""
    if not table.num_rows:
        return []
    tags = keys_of(table.slice(0, 1).to_pylist()[0])[1]
    return tag_names(table, tags) if tags else []
