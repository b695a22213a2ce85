"""Turn whatever a user passes (path, folder, frame, arrays) into blocks of rows."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from graft.core.errors import DataError
from graft.data.audio import SUFFIXES as SOUNDS
from graft.data.blocks import ROWS, Block, check_names
from graft.data.fasta import Records, is_fasta, open_fasta
from graft.data.fasta import open_folder as open_records
from graft.data.formats import blocks, plain
from graft.data.guess import FILES
from graft.data.image import SUFFIXES as IMAGES
from graft.data.lines import Lines
from graft.data.series_files import open_folder as open_series
from graft.data.several import in_memory
from graft.data.sparse import CountRows
from graft.data.spectrogram import Sound
from graft.data.svmlight import COLUMN, is_svmlight

SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev"}
LABEL = "label"  # the column of labels that came beside the rows


@dataclass(frozen=True)
class Source:
    """Where rows come from.

    Attributes:
        blocks: The rows; read once.
        name: What to call the data.
        where: The file, for messages; empty for objects in memory.
        unit: What ``Block.lines`` counts: ``"line"`` or ``"row"``.
        base: Folder that relative paths of images and sounds start from.
        modality: ``"image"``, ``"audio"``, ``"sequence"``, ``"series"``, ``"text"`` or ``"counts"`` where the source
            leaves no choice.
        label: The label column where the source leaves no choice.
        path: The text file, where it is one.
        encoding: Of a text file.
        media: All images, sounds or counts, where they came as arrays.
        notes: How labels were found, where no column names them.
    """

    blocks: Iterator[Block]
    name: str = "data"
    where: str = "data"
    unit: str = "row"
    base: Path | None = None
    modality: str | None = None
    label: str | None = None
    path: Path | None = None
    encoding: str = "utf-8"
    media: Any = None
    notes: tuple[str, ...] = ()

    def advice(self) -> str:
        """Which encoding the file seems to be in."""
        return Lines(self.path, self.encoding).advice() if self.path else ""


def open_source(
    source: Any, *, encoding: str = "utf-8", rows: int = ROWS, columns: Sequence[str] = (), labelled: bool = True
) -> Source:
    """Find out what ``source`` is; nothing is read before the blocks are.

    Raises:
        DataError: It is nothing that graft reads, or there is no such file.
    """
    if isinstance(source, str | Path):
        path = Path(source).expanduser()
        if path.is_dir():
            return _folder(path, rows, encoding, labelled=labelled)
        unit = "row" if path.suffix.lower() in {".parquet", ".pq", ".json"} else "line"
        text = unit == "line" or path.suffix.lower() == ".json"
        read = blocks(path, encoding=encoding, rows=rows, columns=columns)
        if is_fasta(path):
            return _fasta(open_fasta(path, encoding=encoding, rows=rows), path, encoding)
        first = next(read, None)  # opens the file now: what cannot be read is said at once
        parts = itertools.chain([first], read) if first is not None else iter(())
        stem = path.name.split(".")[0]
        given: tuple[Any, Any] = (COLUMN, LABEL) if is_svmlight(path) else (None, None)
        given = ("series", None) if path.suffix.lower() == ".ts" else given
        return Source(parts, stem, path.name, unit, path.parent, *given, path if text else None, encoding)
    X, y = source if isinstance(source, tuple) and len(source) == 2 else (source, None)
    for modality, media in (("image", _as_images(X)), ("audio", _as_sounds(X)), ("counts", _as_counts(X))):
        if media is not None:
            label = None if y is None else LABEL
            return Source(_media_blocks(media, y, rows), modality=modality, label=label, media=media)
    table = _as_table(X)
    check_names(table.column_names, Path("data"))
    if y is not None:
        if LABEL in table.column_names:
            raise DataError(f"the rows already have a column {LABEL!r}", hint="pass the frame alone, with label=…")
        table = table.append_column(LABEL, _label_column(y, table.num_rows))
    # a list of str is text however short and often repeated its rows are; columns of a frame have to be guessed
    texts = isinstance(X, list | tuple) or (isinstance(X, np.ndarray) and X.ndim == 1)
    return Source(
        _table_blocks(plain(table), rows), modality="text" if texts else None, label=None if y is None else LABEL
    )


def _table_blocks(table: pa.Table, rows: int) -> Iterator[Block]:
    for start in range(0, table.num_rows, rows):
        part = table.slice(start, rows)
        numbers = np.arange(start, start + part.num_rows)
        yield Block(part, numbers, numbers + 1)


def _media_blocks(media: Any, y: Any, rows: int) -> Iterator[Block]:
    label = None if y is None else _label_column(y, len(media))
    for start in range(0, len(media), rows):
        part = media[start : start + rows]
        numbers = np.arange(start, start + len(part))
        table = pa.table({} if label is None else {LABEL: plain(pa.table({LABEL: label[start : start + rows]}))[LABEL]})
        yield Block(table, numbers, numbers + 1, media=part)


def _label_column(y: Any, rows: int) -> pa.ChunkedArray:
    lists = in_memory(y, rows)
    if lists is not None:
        return pa.chunked_array([lists])
    values = y if isinstance(y, np.ndarray) else np.asarray(list(y))
    if values.ndim != 1 or len(values) != rows:
        raise DataError(f"{rows} rows but labels of shape {values.shape}", hint="pass one label per row")
    try:
        column = pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        column = pa.array([None if value is None else str(value) for value in values.tolist()])
    return pa.chunked_array([column])


def _as_images(X: Any) -> Sequence[Any] | None:
    """Arrays (N, H, W[, C]) or lists of pictures; None for anything else."""
    if isinstance(X, np.ndarray) and X.ndim in {3, 4}:
        if X.dtype.kind not in "uifb":
            raise DataError(f"images of type {X.dtype} cannot be read", hint="pass uint8, or floats in [0, 1]")
        return X
    if isinstance(X, list | tuple) and len(X):
        array = isinstance(X[0], np.ndarray) and X[0].ndim in {2, 3}
        picture = hasattr(X[0], "convert") and hasattr(X[0], "size")  # PIL, without importing it
        return X if array or picture else None
    return None


def _as_sounds(X: Any) -> Sequence[Any] | None:
    """Lists of sounds, or of pairs (samples, rate); None for anything else."""
    if not isinstance(X, list | tuple) or not len(X):
        return None
    pair = isinstance(X[0], tuple) and len(X[0]) == 2 and isinstance(X[0][0], np.ndarray) and np.ndim(X[0][1]) == 0
    return X if pair or isinstance(X[0], Sound) else None


def _as_counts(X: Any) -> CountRows | None:
    """Rows of a scipy sparse matrix or array; None for anything else."""
    if not (hasattr(X, "tocsr") and hasattr(X, "nnz")):  # scipy, without importing it
        return None
    return CountRows.of(X)


def _as_table(X: Any) -> pa.Table:
    if isinstance(X, pa.Table):
        return X
    if hasattr(X, "with_format") and hasattr(X, "features"):
        return _from_datasets(X)
    if hasattr(X, "columns") and hasattr(X, "iloc"):
        return _from_frame(X)
    if isinstance(X, np.ndarray) and X.ndim == 2:
        return pa.table({f"x{i}": pa.array(X[:, i], from_pandas=True) for i in range(X.shape[1])})
    if isinstance(X, dict):
        return pa.table({str(name): pa.array(values, from_pandas=True) for name, values in X.items()})
    columns = _texts(X.tolist() if isinstance(X, np.ndarray) and X.ndim == 1 else X)
    if columns is None:
        hint = "pass a path, a DataFrame, a datasets.Dataset, a list of str, or (X, y)"
        raise DataError(f"cannot read data from a {type(X).__name__}", hint=hint)
    return pa.table({name: pa.array(column, pa.large_string()) for name, column in columns.items()})


def _texts(X: Any) -> dict[str, Sequence[str | None]] | None:
    """Columns of a list of texts or of equally long tuples of texts; None for anything else."""
    if not isinstance(X, list | tuple):
        return None
    if all(isinstance(item, str | None) for item in X):
        return {"text": list(X)}
    if all(isinstance(item, tuple | list) and len(item) == len(X[0]) for item in X):
        parts = list(zip(*X, strict=True))
        if all(isinstance(cell, str | None) for part in parts for cell in part):
            return {f"text{i + 1}": part for i, part in enumerate(parts)}
    return None


def _from_frame(X: Any) -> pa.Table:
    frame = X.rename(columns=str)
    check_names(list(frame.columns), Path("the frame"))
    try:
        return pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # a column that mixes numbers and words
        mixed = [name for name in frame.columns if frame[name].dtype == object]
        gone = frame[mixed].isna()
        text = {name: frame[name].astype(str).where(~gone[name], None) for name in mixed}
        return pa.Table.from_pandas(frame.assign(**text), preserve_index=False)


def _from_datasets(data: Any) -> pa.Table:
    """The Arrow table of a Hugging Face dataset; class numbers become class names, a selection is carried out."""
    table = data.data.table if getattr(data, "_indices", None) is None else data.with_format("arrow")[:]
    table = table.select(list(data.features))
    for place, (name, feature) in enumerate(data.features.items()):
        inner = getattr(getattr(feature, "feature", None), "names", None)
        if inner:  # a list of class numbers
            lists = [None if row is None else [inner[i] for i in row] for row in table.column(name).to_pylist()]
            table = table.set_column(place, name, pa.array(lists, pa.large_list(pa.large_string())))
        names = getattr(feature, "names", None)
        if names and pa.types.is_integer(table.column(name).type):
            lookup = pa.array(names, pa.large_string())
            numbers = pa.array([None if i is None or i < 0 else i for i in table.column(name).to_pylist()], pa.int64())
            table = table.set_column(place, name, lookup.take(numbers))
    return table


def _fasta(found: Records, path: Path, encoding: str) -> Source:
    """Sequences of a file or folder."""
    label, file = LABEL if found.labelled else None, path if path.is_file() else None
    where, name = (path.name, path.name.split(".")[0]) if file else (str(path), path.name)
    return Source(found.blocks, name, where, found.unit, None, "sequence", label, file, encoding, notes=found.notes)


def _folder(path: Path, rows: int, encoding: str, *, labelled: bool) -> Source:
    """A folder of images, sounds, sequences or time series by class, or a plain one of them where no label is asked for."""
    entries = sorted(item for item in path.iterdir() if not item.name.startswith((".", "__MACOSX")))
    folders = [item for item in entries if item.is_dir()]
    names = {item.name.casefold() for item in folders}
    if folders and names <= SPLITS:
        hint = f"pass one of them, for example {folders[-1 if 'train' not in names else _train(folders)]}"
        raise DataError(f"the folder holds splits ({', '.join(f.name for f in folders)})", where=str(path), hint=hint)
    found = {kind: _files(entries, suffixes) for kind, suffixes in (("image", IMAGES), ("audio", SOUNDS))}
    kind = max(found, key=lambda name: sum(map(len, found[name].values())))  # whatever there is more of
    by_class = {folder.name: found[kind][folder.name] for folder in folders}
    files = found[kind][""]
    if not files and not any(by_class.values()):
        sequences = open_records(path, entries, encoding=encoding, rows=rows)
        if sequences is not None:
            return _fasta(sequences, path, encoding)
        series = open_series(folders, path, encoding)
        if series is not None:
            note = "each file is a series, its folder the class"
            return Source(iter([series]), path.name, str(path), "file", path, "series", LABEL, notes=(note,))
        other = next((item.name for item in entries if item.is_file()), None)
        hint = f"it holds {other!r}: pass that file" if other else "put them in one folder per class"
        raise DataError("no images or sounds in this folder", where=str(path), hint=hint)  # nor sequences, nor series
    if labelled and not any(by_class.values()):
        raise DataError(f"the {FILES[kind]} have no labels", where=str(path), hint="put them in one folder per class")
    table_rows = [] if labelled else [(item, None) for item in files]
    table_rows += [(item, name) for name, items in by_class.items() for item in items]
    paths = [str(item.relative_to(path)) for item, _ in table_rows]
    table = pa.table(
        {
            kind: pa.array(paths, pa.large_string()),
            LABEL: pa.array([name for _, name in table_rows], pa.large_string()),
        }
    )
    table = table if any(by_class.values()) else table.select([kind])
    label = LABEL if LABEL in table.column_names else None
    return Source(_table_blocks(table, rows), path.name, str(path), "file", path, kind, label)


def _train(folders: list[Path]) -> int:
    return next(i for i, folder in enumerate(folders) if folder.name.casefold() == "train")


def _files(entries: list[Path], suffixes: tuple[str, ...]) -> dict[str, list[Path]]:
    """Files with one of the suffixes: by folder, and those that lie in none under ``""``."""
    found = {"": [item for item in entries if item.suffix.lower() in suffixes and item.is_file()]}
    for folder in [item for item in entries if item.is_dir()]:
        inside = (p for p in folder.rglob("*") if p.suffix.lower() in suffixes and not p.name.startswith("."))
        found[folder.name] = sorted(inside)
    return found
