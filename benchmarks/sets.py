"""The data sets by name.  The folder of data is an argument; nothing of it is part of the project."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path
from typing import Any

import numpy as np

TEXT = ("trec", "sst2", "banking77", "thucnews", "mr")
IMAGES = {"hymenoptera": ("train", "val"), "trashnet": ("train", "test"), "cifar10": ("train", "test")}
TABLES = ("splice",)
LETTERS = {"splice letters": "splice", "promoters letters": "promoters"}  # sequences as they are, a row of letters each
DIGITS = ("mnist", "usps")
REVIEWS = ("books", "dvd", "electronics", "kitchen")  # domains of counts, in pairs
TAGGED = ("conll2003",)  # sentences with marked names, in columns
BOXES = ("bccd",)  # pictures with boxes, in the form of COCO
BUNDLED = ("diabetes",)  # scikit-learn carries it: ten numbers of 442 patients, a regression
SOUNDS = ("fsdd",)  # recordings in one folder, the class before the first underscore


def kind(name: str) -> str:
    if name in TEXT or name in LETTERS:
        return "text"
    if name in SOUNDS:
        return "audio"
    return "image" if name in IMAGES or name in DIGITS else "table"


def paths(name: str, data: Path, work: Path) -> tuple[Path, Path]:
    """Training and test data of a set, as files or folders that ``graft fit`` reads."""
    if name in TEXT:
        return _either(data / "text" / name / "train.csv"), _either(data / "text" / name / "test.csv")
    if name in IMAGES:
        train, test = IMAGES[name]
        return data / "image" / name / train, data / "image" / name / test
    if name in LETTERS:
        folder = data / "text" / LETTERS[name]
        return _either(folder / "train.csv"), _either(folder / "test.csv")
    if name in SOUNDS:
        train, test = (_sorted(data / "image" / name / part, work / f"{name}-{part}") for part in ("train", "test"))
        return train, test
    if name in DIGITS:
        arrays = np.load(data / "image" / "digits" / f"{name}.npz")
        train, test = (_pictures(arrays, part, work / f"{name}-{part}") for part in ("train", "test"))
        return train, test
    return (
        _pairs_of_letters(data / "text" / name / "train.csv", work / f"{name}-train.csv"),
        _pairs_of_letters(data / "text" / name / "test.csv", work / f"{name}-test.csv"),
    )


def tagged(name: str, data: Path, *, judge: str = "test") -> tuple[Path, Path]:
    """Training file of a tagged set, and the file that is scored: ``test``, or ``valid`` to choose settings on."""
    folder = data / "text" / name
    return _either(folder / "train.txt"), _either(folder / f"{judge}.txt")


def bundled(name: str, work: Path) -> Path:
    """All rows of a set that scikit-learn carries, as a CSV file."""
    from sklearn import datasets

    found = getattr(datasets, f"load_{name}")()
    path = work / f"{name}.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*found.feature_names, "target"])
        writer.writerows([*row, target] for row, target in zip(found.data.tolist(), found.target.tolist(), strict=True))
    return path


def tencent(data: Path) -> Path:
    """Vectors of 4,729 Chinese characters and marks, a subset of Tencent AI Lab's."""
    return data / "text" / "thucnews" / "tencent_char_200d.w2v.txt.gz"


def glove(train: Path) -> Path:
    """The subset of glove.6B.50d that lies beside the sets of texts."""
    return train.parents[1] / "word_vectors" / "glove.6B.50d.5k-subset.txt.gz"


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


def _pictures(arrays: Any, part: str, folder: Path) -> Path:
    """A folder of pictures by class, written once."""
    from PIL import Image

    if not folder.exists():
        for index, (picture, label) in enumerate(zip(arrays[f"x_{part}"], arrays[f"y_{part}"], strict=True)):
            target = folder / str(label) / f"{index:05d}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(target)
    return folder


def _sorted(source: Path, folder: Path) -> Path:
    """A folder of recordings by class, of links to those of a flat folder, made once."""
    for file in sorted(source.iterdir()) if not folder.exists() else ():
        target = folder / file.name.partition("_")[0] / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(file)
    return folder


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
