"""Search by similarity: which rows of a file are most like a query, by the cosine of what a network makes of both."""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graft.core.errors import DataError, SourceError, UsageError
from graft.core.rows import evenly_spaced
from graft.core.runtime import Progress, silent
from graft.core.store import Store
from graft.core.types import Dataset, Features
from graft.data.load import load
from graft.features import encode, extract
from graft.predict import check_out, writing
from graft.sources.base import Backbone, open_model
from graft.transfer.base import load_transfer

BLOCK = 8_192  # rows compared at a time: memory does not grow with the file
SAMPLE = 200  # rows by which is judged whether the network can read them
SHOWN = 300  # characters of a row that are written
FILES = ("image", "audio")  # a query is the path of a file
TEXTS = ("text", "sequence")


@dataclass(frozen=True)
class Hit:
    """A row that is like a query.

    Attributes:
        query: The query.
        rank: 1 for the most similar row.
        score: Cosine, at most 1.
        row: 0-based number of the row among those that were read.
        line: Line of the file, or number of the row.
        input: The text, or the file.
    """

    query: str
    rank: int
    score: float
    row: int
    line: int
    input: str


def search(
    model: str | Path,
    corpus: Any,
    queries: str | Sequence[str],
    *,
    top: int = 10,
    inputs: str | Sequence[str] | None = None,
    encoding: str = "utf-8",
    cache: bool = True,
    progress: Progress = silent,
) -> tuple[list[list[Hit]], list[str]]:
    """Rows of a corpus that are most like each query, the most similar first, and notes on what was noticed.

    The corpus is read once: its features are kept by content, so the next search of the same rows compares alone.  They are
    those of the last layer, 16 bits a number; cosines are taken block by block.  Equal cosines stand in the order of the rows.

    Args:
        model: Folder of a run, whose network is taken, or the URI of a source, best one made for similarity (``sbert:``).
        corpus: File, folder, frame or list, as ``graft.load_data`` takes them; labels are not read.
        queries: Texts; where the network reads pictures or sounds, paths of files.
        top: Rows of each query.
        inputs: The column that is searched; found if not given.
        encoding: Of text files.
        cache: Whether features stay on disk for the next search.
        progress: Told what happens.

    Raises:
        SourceError: There is no such model, or it has no network.
        DataError: A query is empty, or the corpus cannot be read.
        UsageError: ``top`` is below one, or rows of this kind are not searched.

    Example:
        >>> from graft.similarity import search
        >>> hits, _ = search("sbert:all-MiniLM-L6-v2", ["a red apple", "the stock market"], "share prices", top=1)
        >>> hits[0][0].input
        'the stock market'
    """
    if top < 1:
        raise UsageError(f"top must be 1 or more, not {top}")
    asked = [queries] if isinstance(queries, str) else list(queries)
    backbone, recipe = _opened(model)
    _check(asked, backbone.spec.modality)
    data = _corpus(corpus, backbone, recipe, inputs, encoding)
    wanted = _queries(asked, backbone.spec.modality, data)
    coverage = backbone.coverage(data.take(evenly_spaced(len(data), SAMPLE)))
    notes = [*data.notes, *([] if coverage.ok else [f"{backbone.spec.name}: {coverage.reason}"])]
    with nullcontext() if cache else tempfile.TemporaryDirectory() as folder:
        features = extract(backbone, data, store=Store(folder) if folder else None, progress=progress)
        vectors = encode(backbone, wanted.take(), precision=features.precision).layer(-1)
        scores, places = nearest(features, vectors, top)
    return [
        [_hit(query, rank, score, place, data) for rank, (score, place) in enumerate(zip(some, rows, strict=True), 1)]
        for query, some, rows in zip(asked, scores.tolist(), places.tolist(), strict=True)
    ], notes


def nearest(features: Features, queries: np.ndarray, top: int, block: int = BLOCK) -> tuple[np.ndarray, np.ndarray]:
    """Cosines (q, k), falling, and positions (q, k) of the k rows nearest to each query (q, D); fewer where there are fewer.

    Args:
        features: Of the rows; the last layer is compared.
        queries: What is looked for.
        top: Asked k.
        block: Rows compared at a time.
    """
    wanted = _unit(np.asarray(queries, np.float32))
    scores, places = np.empty((len(wanted), 0), np.float32), np.empty((len(wanted), 0), np.int64)
    for start in range(0, len(features), block):
        rows = np.arange(start, min(start + block, len(features)))
        close = wanted @ _unit(features.layer(-1, rows=rows)).T
        scores, places = np.hstack([scores, close]), np.hstack([places, np.tile(rows, (len(wanted), 1))])
        order = np.lexsort((places, -scores), axis=1)[:, :top]
        scores, places = np.take_along_axis(scores, order, axis=1), np.take_along_axis(places, order, axis=1)
    return scores.astype(np.float64).round(6), places


def write(hits: Sequence[Sequence[Hit]], out: Path, *, overwrite: bool = False) -> None:
    """Write hits as JSON where the file's name ends so, else as CSV: query, rank, score, row, line and input.

    Raises:
        OutputError: The file exists or cannot be written.
    """
    check_out(out, overwrite=overwrite)
    rows = [asdict(hit) for some in hits for hit in some]
    with writing(out) as file:
        if out.suffix.lower() == ".json":
            json.dump(rows, file, ensure_ascii=False, indent=1)
            return
        table = csv.DictWriter(file, list(Hit.__dataclass_fields__), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def read_queries(path: Path, *, encoding: str = "utf-8") -> list[str]:
    """Queries from a file: lines of text, or the text column of a table.

    Raises:
        DataError: The file cannot be read, or has no text.
    """
    found = load(path, labelled=False, modality="text", long="truncate", encoding=encoding)
    if len(found.columns) != 1:
        raise DataError(
            f"queries of {len(found.columns)} columns", where=found.name, hint="give a file with one column"
        )
    return [str(text) for text in found.take()]


def _opened(model: str | Path) -> tuple[Backbone, dict[str, Any] | None]:
    """The network, and how a run reads its rows."""
    folder = Path(model)
    if not (folder / "model.json").is_file():
        return open_model(str(model)), None
    run = load_transfer(folder)
    if run.task_.is_tagging:
        raise UsageError(f"{model} tags words", hint="search with a source, for example sbert:all-MiniLM-L6-v2")
    if run.backbone_ is None:
        what = f"{model} has no network: it is the {type(run).called(run.task_)}"
        raise SourceError(what, hint="search with a source, for example sbert:all-MiniLM-L6-v2")
    return run.backbone_, run.recipe_


def _check(queries: Sequence[str], modality: str) -> None:
    """Say what is wrong with queries before anything is read."""
    if modality not in (*TEXTS, *FILES):
        raise UsageError(
            f"a model of {modality} cannot be searched with", hint="texts, sequences, pictures and sounds can"
        )
    if not queries:
        raise DataError("there is no query")
    for query in queries:
        if not query.strip():
            raise DataError("a query is empty", hint="say what to look for")
        if modality in FILES and not Path(query).expanduser().is_file():
            what = "a picture" if modality == "image" else "a sound"
            raise DataError(f"no such file {query!r}", hint=f"the model reads {what}: the query is the path of one")


def _corpus(corpus: Any, backbone: Backbone, recipe: dict[str, Any] | None, inputs: Any, encoding: str) -> Dataset:
    modality = backbone.spec.modality
    like = recipe if recipe is not None and not inputs and len(recipe["inputs"]) <= 1 else None
    how = {"like": like} if like else {"inputs": inputs, "modality": modality}
    data = load(corpus, labelled=False, encoding=encoding, **how)
    if len(data.columns) > 1:
        hint = f"name one with --inputs: {', '.join(data.columns)}"
        raise DataError(f"{data.name} has {len(data.columns)} columns of {modality}", hint=hint)
    if not len(data):
        raise DataError(f"{data.name} has no rows")
    return data


def _queries(queries: Sequence[str], modality: str, data: Dataset) -> Dataset:
    if modality in FILES:
        paths = [str(Path(query).expanduser().resolve()) for query in queries]
        found = load({modality: paths}, labelled=False, modality=modality)
        if len(found) < len(paths):
            raise DataError("a query cannot be read", hint=found.notes[-1] if found.notes else None)
        return found
    long = getattr(data.X, "long", "") or "truncate"
    more = {"long": long} if modality == "text" else {}
    return load(list(queries), labelled=False, modality=modality, **more)


def _hit(query: str, rank: int, score: float, place: int, data: Dataset) -> Hit:
    row = int(data.rows[place])
    line = row + 1 if data.line_of is None else int(data.line_of[row])
    if data.task.modality in FILES:
        source = next(data.X.sources(np.array([row])))  # type: ignore[attr-defined]
        text = str(source) if isinstance(source, Path) else f"row {row + 1}"
    else:
        text = " ".join(str(data.take(slice(place, place + 1))[0]).split())
    return Hit(query, rank, score, row, line, text if len(text) <= SHOWN else text[: SHOWN - 1] + "…")


def _unit(rows: np.ndarray) -> np.ndarray:
    unit: np.ndarray = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-12))
    return unit
