"""The data sets by name.  The folder of data is an argument; nothing of it is part of the project."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np

TEXT = ("trec", "sst2", "banking77", "thucnews", "mr")
IMAGES = {"hymenoptera": ("train", "val"), "trashnet": ("train", "test"), "cifar10": ("train", "test")}
TABLES = ("splice",)


def kind(name: str) -> str:
    if name in TEXT:
        return "text"
    return "image" if name in IMAGES else "table"


def paths(name: str, data: Path, work: Path) -> tuple[Path, Path]:
    """Training and test data of a set, as files or folders that ``graft fit`` reads."""
    if name in TEXT:
        return _either(data / "text" / name / "train.csv"), _either(data / "text" / name / "test.csv")
    if name in IMAGES:
        train, test = IMAGES[name]
        return data / "image" / name / train, data / "image" / name / test
    return (
        _pairs_of_letters(data / "text" / name / "train.csv", work / f"{name}-train.csv"),
        _pairs_of_letters(data / "text" / name / "test.csv", work / f"{name}-test.csv"),
    )


def read_text(path: Path) -> tuple[list[str], np.ndarray]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["text"] for row in rows], np.asarray([row["label"] for row in rows])


def read_images(folder: Path) -> tuple[list[Path], np.ndarray]:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".jpg", ".png"})
    return files, np.asarray([path.parent.name for path in files])


def read_table(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[1:]
    return np.asarray([row[:-1] for row in rows]), np.asarray([row[-1] for row in rows])


def _either(path: Path) -> Path:
    return path if path.exists() else path.with_name(path.name + ".gz")


def _pairs_of_letters(source: Path, target: Path) -> Path:
    """A sequence as a table: one column per position, holding the 2-mer that starts there."""
    texts, labels = read_text(source)
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([f"kmer_{index + 1}" for index in range(len(texts[0]) - 1)] + ["label"])
        for text, label in zip(texts, labels, strict=True):
            writer.writerow([text[index : index + 2] for index in range(len(text) - 1)] + [label])
    return target
