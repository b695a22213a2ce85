"""``vectors:``: word vectors as text, word2vec's form, GloVe's or fastText's ``.vec``, plain or ``.gz``.

``vectors:PATH?limit=N`` reads the first N words, which in these files are the most frequent ones.  A row of text becomes
the mean of its words, with their largest values as a layer below.  References: Mikolov et al. (2013); Pennington et al. (2014); Bojanowski et al. (2017).
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from pathlib import Path

from graft.core.errors import SourceError, UsageError
from graft.core.registry import SOURCES
from graft.core.types import ModelSpec
from graft.sources import folder as folders_
from graft.sources.base import Backbone, Source
from graft.sources.native import word_backbone
from graft.sources.vector_files import Table, form_of, is_table, words_of
from graft.sources.words import WORD_VECTORS, WordReader


def _locate(location: str) -> tuple[Path, int | None]:
    """Path and number of words that a location asks for."""
    path, limit = Path(location).expanduser(), None
    if "?" in location and not path.exists():
        name, _, query = location.rpartition("?")
        found = re.fullmatch(r"limit=(\d+)", query)
        if not found or not int(found.group(1)):
            raise UsageError(f"{query!r} is no option of vectors:", hint="write vectors:PATH?limit=50000")
        path, limit = Path(name).expanduser(), int(found.group(1))
    if path.is_dir():
        raise SourceError(f"{path} is a folder", hint="name the file of vectors in it")
    if not path.is_file():
        raise SourceError(f"no file {path}", hint="check the path")
    return path.resolve(), limit


def _describe(path: Path, uri: str, limit: int | None = None) -> ModelSpec:
    """Facts from the first two lines and the size of the file; without a header the number of words is an estimate."""
    form = form_of(path)
    words = words_of(path, form)
    return ModelSpec(
        uri=uri,
        name=re.sub(r"(\.w2v)?(\.txt|\.vec|\.glove)?(\.gz)?$", "", path.name),
        modality="text",
        architecture=WORD_VECTORS,
        objective=WORD_VECTORS,
        hidden_size=form.width,
        parameters=min(words, limit or words) * form.width,
        bytes=path.stat().st_size,
        path=str(path),
    )


class WordVectors(Source):
    """Text files of word vectors."""

    modalities = ("text",)

    def recognises(self, folder: Path) -> bool:
        """Whether the path is a file of word vectors."""
        return is_table(folder)

    def list(self, folders: tuple[str, ...]) -> list[ModelSpec]:
        """Files of word vectors in the folders and in ``GRAFT_MODELS``."""
        places = (*folders, *filter(None, os.environ.get("GRAFT_MODELS", "").split(os.pathsep)))
        specs = []
        for folder in folders_.local_folders(places):
            if not (folder / "graft.json").is_file():  # what graft made is listed by file:
                files = sorted(folder.glob("*"))  # empty where the folder cannot be read
                specs += [_describe(path.resolve(), f"vectors:{path}") for path in files if is_table(path)]
        return specs

    def describe(self, location: str) -> ModelSpec:
        """Facts about one file."""
        path, limit = _locate(location)
        return _describe(path, f"vectors:{location}", limit)

    def open(self, location: str) -> Backbone:
        """Open one file."""
        path, limit = _locate(location)
        spec = _describe(path, f"vectors:{location}", limit)
        table = Table(path, form_of(path))
        words, matrix = table.read(limit)
        notes = (f"{table.repeated:,} words stood twice; the first one counts",) if table.repeated else ()
        digest = folders_.weights_digest([path])
        digest = digest if limit is None else hashlib.sha256(f"{digest} {limit}".encode()).hexdigest()
        reader = WordReader.for_words(words, notes=notes)
        return word_backbone(reader, matrix, dataclasses.replace(spec, weights_sha256=digest))


SOURCES.register("vectors")(WordVectors())
