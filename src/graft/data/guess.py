"""Guess what the columns are for: label, texts, image paths, numbers and categories; every guess is put in words."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from graft.core.errors import DataError, UsageError
from graft.core.rows import evenly_spaced
from graft.data.audio import SUFFIXES as SOUNDS
from graft.data.audio import starts_like_sound
from graft.data.columns import NUMBER, as_numbers, as_text, is_missing, take
from graft.data.dates import are_dates
from graft.data.image import SUFFIXES as IMAGES
from graft.data.letters import alphabet_of, is_named
from graft.data.series_rows import is_series
from graft.data.several import is_list, separator_of
from graft.data.table_kinds import STRANGE, table_kinds

LABELS = ("label", "labels", "class", "category", "intent", "target", "y", "sentiment", "标签", "类别", "分类")
TEXTS = (
    "text", "texts", "sentence", "content", "title", "review", "question", "comment", "body", "document", "message",
    "query", "utterance", "headline", "abstract", "tweet", "premise", "hypothesis", "answer", "description",
    "文本", "内容", "标题", "评论", "句子", "问题",
)  # fmt: skip
PAIRS = (  # names of the two texts of a pair
    ("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2"), ("text1", "text2"),
    ("sentence_a", "sentence_b"), ("text_a", "text_b"), ("句子1", "句子2"), ("文本1", "文本2"),
)  # fmt: skip
FILES = {"image": "images", "audio": "sounds"}  # modalities whose examples are files, and what these are called
GIVEN = {**FILES, "counts": "sparse counts", "sequence": "sequences"}  # a source can leave no choice about these
IDS = ("id", "idx", "index", "uid", "uuid", "guid", "row", "row_id", "unnamed: 0", "编号", "序号")
SAMPLE = 5_000  # rows that a guess looks at, spread evenly over the data


@dataclass(frozen=True)
class Roles:
    """What each column is for.

    Attributes:
        modality: ``"text"``, ``"image"``, ``"audio"``, ``"sequence"``, ``"series"``, ``"table"`` or ``"counts"``.
        inputs: Names of the input columns, in order.
        label: Name of the label column, or None.
        group: Name of the group column, or None.
        kinds: Of the input columns of a table, see ``data.rows.TableRows``; of counts: number of features, and where
            their numbers start; of sequences: ``alphabet``, and ``strands`` where both count.
        notes: How the guess was made.
    """

    modality: str
    inputs: tuple[str, ...]
    label: str | None = None
    group: str | None = None
    kinds: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def find_column(name: str, columns: list[str], *, role: str, where: str) -> str:
    """The column of this name, or an error that names the nearest one."""
    if name in columns:
        return name
    folded = {column.casefold(): column for column in columns}
    near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    hint = f"did you mean {folded[near[0]]!r}?" if near else f"columns: {', '.join(columns)}"
    raise DataError(f"no {role} column {name!r}", where=where, hint=hint)


def guess(
    table: pa.Table, *, where: str, label: str | None = None, inputs: tuple[str, ...] = (), group: str | None = None,
    modality: str | None = None, labelled: bool = True,
) -> Roles:  # fmt: skip
    """Give every column a role; what is named is kept, the rest is guessed from names and values.

    Raises:
        DataError: A named column is missing, or no label or input can be told.
    """
    if modality not in {None, "text", "image", "audio", "sequence", "series", "table"}:
        raise UsageError(f"unknown modality {modality!r}", hint="use text, image, audio, sequence, series or table")
    names = list(table.column_names)
    notes: list[str] = []
    group = find_column(group, names, role="group", where=where) if group else None
    kept = tuple(find_column(name, names, role="input", where=where) for name in inputs)
    rows = evenly_spaced(table.num_rows, SAMPLE)
    looks = {name: _look(take(table.column(name), rows), name) for name in names}
    if label is not None:
        label = find_column(label, names, role="label", where=where)
    else:
        label = _find_label(names, looks, taken={*kept, group}, required=labelled, where=where)
        if label and labelled:
            notes.append(f"column {label!r} is taken as the label")
    if label in kept:
        raise UsageError(f"column {label!r} is named both as label and as input")
    free = [name for name in names if name not in {label, group}]
    if kept:
        found = modality or _modality_of(kept, looks)
    else:
        pair = _pair(free, looks, notes) if modality in {None, "text"} else None
        found, kept = ("text", pair) if pair else _find_inputs(free, looks, modality, where, notes)
    if found in GIVEN and len(kept) > 1:
        raise DataError(
            f"several columns of {GIVEN[found]}: {', '.join(kept)}", where=where, hint="name one with inputs"
        )
    kinds = {}
    if found == "table":
        kept, kinds = table_kinds(table, kept, explicit=bool(inputs), where=where, notes=notes)
    return Roles(found, kept, label, group, kinds, tuple(notes))


@dataclass(frozen=True)
class _Look:
    """What a sample of one column looks like.

    ``kind`` is image, audio, sequence, series, labels (lists), text, word, number or empty; ``several``: cells hold several labels.
    """

    kind: str
    distinct: int
    filled: int
    several: bool = False


def _look(sample: pa.Array, name: str) -> _Look:  # noqa: PLR0911  (one per kind)
    column = pa.chunked_array([sample])
    if is_list(column.type) or pa.types.is_struct(column.type) or pa.types.is_large_binary(column.type):
        kind = "labels" if is_list(column.type) else "audio" if _holds_sound(column) else "image"
        kind = "series" if is_series(column.type) else kind
        return _Look(kind, len(column), len(column), several=kind == "labels")
    text = as_text(column)
    texts = pc.utf8_trim_whitespace(text.filter(pa.array(~is_missing(text))))
    if not len(texts):
        return _Look("empty", 0, 0)
    distinct = len(pc.unique(texts))
    if not pa.types.is_large_string(column.type):
        kind = "word" if pa.types.is_boolean(column.type) else "date" if pa.types.is_temporal(column.type) else "number"
        return _Look(kind, distinct, len(texts))
    values = texts.to_pylist()
    if are_dates(values):
        return _Look("date", distinct, len(values))
    for kind, suffixes in (("image", IMAGES), ("audio", SOUNDS)):
        if sum(value.lower().endswith(suffixes) for value in values) >= 0.8 * len(values):
            return _Look(kind, distinct, len(values))
    letters = bool(alphabet_of(values, named=is_named(name)))
    number = as_numbers(column)[1].sum() <= STRANGE * len(values) and any(re.match(NUMBER, one) for one in values[:100])
    if letters or number:
        return _Look("sequence" if letters else "number", distinct, len(values))
    words = float(np.mean([len(value.split()) for value in values]))
    width = float(np.mean([len(value) + 2 * sum("\u2e80" <= c <= "\ud7a3" for c in value) for value in values]))
    named = _base(name) in TEXTS
    long = (words >= 2.5 or width >= 12) if named else (words >= 3 or width >= 20)
    varied = distinct > 0.5 * len(values) or distinct > 1000 or (width > 40 and distinct > 20)
    kind = "text" if (long and varied) or (named and varied) else "word"
    return _Look(kind, distinct, len(values), several=not named and width <= 200 and separator_of(column) is not None)


def _holds_sound(column: pa.ChunkedArray) -> bool:
    """Whether the first record or encoded file of a column is a sound."""
    first = next((item.as_py() for item in column if item.is_valid), b"")
    if not isinstance(first, dict):
        return starts_like_sound(first)
    return starts_like_sound(first.get("bytes") or b"") or str(first.get("path") or "").lower().endswith(SOUNDS)


def _names_rows(name: str, look: _Look) -> bool:
    """Whether a column only tells rows apart: PassengerId, row_id, index."""
    folded = name.casefold().strip()
    return folded in IDS or (folded.endswith("id") and look.distinct == look.filled > 2)


def _base(name: str) -> str:
    return re.sub(r"[\s_\-\d]+$", "", name.casefold().strip())


def _find_label(
    names: list[str], looks: dict[str, _Look], *, taken: set[Any], required: bool, where: str
) -> str | None:
    folded = {name.casefold().strip(): name for name in reversed(names) if name not in taken}
    for word in LABELS:
        if word in folded:
            return folded[word]
    if not required:
        return None
    rest = [name for name in names if name not in taken]
    last = rest[-1] if rest else None
    if last is not None and (len(rest) > 1 or taken - {None}):
        look = looks[last]
        repeats = look.distinct <= max(2, 0.5 * look.filled) and look.distinct <= 200
        target = look.kind == "number" and all(looks[n].kind in {"text", "series", *GIVEN} for n in rest[:-1])
        if (look.kind in {"word", "number"} and repeats) or target or look.several:
            return last
    if len(rest) > 1 and looks[rest[-1]].kind == "empty":
        raise DataError(f"the last column {rest[-1]!r} is empty", where=where, hint="name the label column with label")
    hint = f"name it with label; columns: {', '.join(names)}"
    near = [name for name in names if difflib.get_close_matches(name.casefold(), LABELS, n=1, cutoff=0.75)]
    raise DataError("no label column found", where=where, hint=f"is it {near[0]!r}? {hint}" if near else hint)


def _modality_of(inputs: tuple[str, ...], looks: dict[str, _Look]) -> str:
    kinds = {looks[name].kind for name in inputs}
    for modality in ("series", *GIVEN):
        if kinds == {modality}:
            return modality
    if kinds == {"text"} or (len(inputs) == 1 and _like_text(looks[inputs[0]])):
        return "text"
    return "table"


def _like_text(look: _Look) -> bool:
    """A lone column of short but ever different strings (names, queries) is text, not a category."""
    return look.kind == "text" or (look.kind == "word" and look.distinct > 0.5 * look.filled and look.distinct > 2)


def _find_inputs(
    free: list[str], looks: dict[str, _Look], modality: str | None, where: str, notes: list[str]
) -> tuple[str, tuple[str, ...]]:
    like_texts = {"text", "sequence"} if modality in {"text", "table"} else {"text"}
    texts = [name for name in free if looks[name].kind in like_texts]
    others = [
        name for name in free if looks[name].kind in {"word", "number", "date"} and not _names_rows(name, looks[name])
    ]
    if not texts and len(others) == 1 and _like_text(looks[others[0]]):
        texts, others = others, []
    if not texts and modality == "text":
        texts = [name for name in others if _base(name) in TEXTS] or [n for n in others if looks[n].kind == "word"]
    letters = _find_sequences(free, looks, modality, where, len(texts) + len(others))
    if letters:
        _note_left(free, letters[1], notes)
        return letters
    for kind, called in FILES.items():
        files = [name for name in free if looks[name].kind == kind]
        if modality in {None, kind} and files:
            notes.append(f"{called} are read from column {files[0]!r}")
            return kind, tuple(files)
    named = [name for name in texts if _base(name) in TEXTS]
    if modality == "text" or (modality is None and texts and (named or len(texts) >= len(others))):
        if not texts:
            raise DataError(
                "no text column found", where=where, hint=f"name it with inputs; columns: {', '.join(free)}"
            )
        used = named if named and others and len(named) < len(texts) else texts
        plural = "s" * (len(used) > 1)
        notes.append(f"text is read from column{plural} {', '.join(map(repr, used))}")
        _note_left(free, used, notes, also="" if modality or not others else ", or --modality table to use all")
        return "text", tuple(used)
    if modality in FILES:
        raise DataError(
            f"no column of {modality} paths found", where=where, hint=f"name it with inputs; columns: {', '.join(free)}"
        )
    used = [name for name in free if name in {*others, *texts}]
    left = [name for name in free if name not in used]
    if left:
        notes.append(f"column{'s' * (len(left) > 1)} not used: {', '.join(left)} (empty, an identifier or free text)")
    return "table", tuple(used)


def _pair(free: list[str], looks: dict[str, _Look], notes: list[str]) -> tuple[str, str] | None:
    """Two columns that are named as the texts of a pair."""
    folded = {
        name.casefold().strip(): name for name in reversed(free) if looks[name].kind in {"text", "word", "sequence"}
    }
    both = ((one, two) for one, two in PAIRS if one in folded and two in folded and f"{two[:-1]}3" not in folded)
    found = next(((folded[one], folded[two]) for one, two in both), None)
    if found:
        notes.append(f"pairs of texts are read from columns {found[0]!r}, {found[1]!r}")
        _note_left(free, found, notes)
    return found


def _note_left(free: list[str], used: list[str] | tuple[str, ...], notes: list[str], *, also: str = "") -> None:
    left = [name for name in free if name not in used]
    if left:
        notes.append(f"column{'s' * (len(left) > 1)} not used: {', '.join(left)} (name inputs to use them{also})")


def _find_sequences(
    free: list[str], looks: dict[str, _Look], modality: str | None, where: str, rest: int
) -> tuple[str, tuple[str, ...]] | None:
    """Columns of time series or of sequences, where there are such and they are no side matter, or are asked for."""
    series = tuple(name for name in free if looks[name].kind == "series")
    if modality in {None, "series"} and series:
        return "series", series
    found = tuple(name for name in free if looks[name].kind == "sequence")
    if modality == "sequence" and not found:
        words = tuple(
            name for name in free if looks[name].kind in {"text", "word"} and not _names_rows(name, looks[name])
        )
        found = tuple(name for name in words if is_named(name)) or words
        if not found:
            hint = f"name it with inputs; columns: {', '.join(free)}"
            raise DataError("no column of sequences found", where=where, hint=hint)
    wanted = modality == "sequence" or (modality is None and len(found) >= rest)
    return ("sequence", found) if found and wanted else None
