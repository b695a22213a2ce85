"""Sets that the shipped rule of ``graft adapt`` is learned on, and their shifts; none is a set of ``experiments/shifts.toml``.

Numbers are simulated, or scikit-learn's diabetes; pictures are four and three classes of CIFAR-10, TrashNet, and letters drawn here in
several styles; spoken digits; intents of BANKING77, headlines of THUCNews; and reviews, of which source and target are of
one domain (benchmark pairs have two).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.drifts import Rows
from benchmarks.shifts import SIDE, _directions, _texts

Make = Callable[[Path], Rows]
NUMBERS = ("covariate", "label", "subset", "noise", "units", "missing", "none")
PICTURES = ("covariate", "label", "subset", "noise", "blur", "moved", "faded", "missing")
TEXTS = ("covariate", "label", "subset", "dropped", "misspelt")
ROWS = 1_500
VEHICLES = ("airplane", "automobile", "ship", "truck")


def simulated(seed: int, columns: int, informative: int, classes: int, clusters: int, apart: float) -> Make:
    """Gaussian clusters of classes."""

    def make(data: Path) -> Rows:
        from sklearn.datasets import make_classification

        del data
        X, y = make_classification(
            2_500, columns, n_informative=informative, n_redundant=columns // 4, n_classes=classes,
            n_clusters_per_class=clusters, class_sep=apart, flip_y=0.03, random_state=seed,
        )  # fmt: skip
        return Rows(X, y.astype(str), X)

    return cache(make)


def skewed(make: Make) -> Make:
    """Columns with long tails."""

    def changed(data: Path) -> Rows:
        rows = make(data)
        X = np.exp(rows.X / 2)
        return Rows(X, rows.y, X)

    return changed


@cache
def diabetes(data: Path) -> Rows:
    """Above or below the median."""
    from sklearn.datasets import load_diabetes

    del data
    found = load_diabetes()
    return Rows(found.data, (found.target > np.median(found.target)).astype(int).astype(str), found.data)


def pictures(folder: str, classes: tuple[str, ...] = (), kind: bool = False) -> Make:
    """Grey pictures of some classes; or, with ``kind``, of vehicles and animals."""

    def make(data: Path) -> Rows:
        from PIL import Image

        names = sorted(
            path for path in (data / "image" / folder).glob("*/*") if not classes or path.parent.name in classes
        )
        some = [names[i] for i in np.random.default_rng(0).permutation(len(names))[:ROWS]]
        X = np.stack([np.asarray(Image.open(one).convert("L").resize((SIDE, SIDE)), np.float64) for one in some]) / 255
        y = [one.parent.name for one in some]
        if kind:
            y = ["vehicle" if one in VEHICLES else "animal" for one in y]
        return Rows(X.reshape(len(X), -1), np.array(y), X.reshape(len(X), -1), SIDE)

    return cache(make)


def letters(style: str, seed: int) -> Make:
    """Ten letters, turned, moved, in several sizes and one style, with noise."""

    def make(data: Path) -> Rows:
        from PIL import Image, ImageDraw, ImageFont
        from scipy.ndimage import grey_dilation, grey_erosion

        del data
        rng, X, y = np.random.default_rng(seed), [], []
        fonts = {size: ImageFont.load_default(size=size) for size in range(26, 42)}
        slant = {"italic": (1, 0.35, -8, 0, 1, 0), "wide": (0.7, 0, 7, 0, 1.25, -6)}
        for _ in range(1_200):
            y.append("ABCDEFGHKR"[rng.integers(10)])
            picture = Image.new("L", (48, 48), 0)
            place = tuple(24 + rng.integers(-4, 5, 2))
            ImageDraw.Draw(picture).text(place, y[-1], fill=255, font=fonts[int(rng.integers(26, 42))], anchor="mm")
            picture = picture.rotate(rng.uniform(-20, 20))
            if style in slant:
                picture = picture.transform((48, 48), Image.Transform.AFFINE, slant[style])
            pixels = np.asarray(picture)
            if style == "bold":
                pixels = grey_dilation(pixels, (5, 5))
            elif style == "thin":
                pixels = pixels - grey_erosion(pixels, (3, 3))
            small = np.asarray(Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BOX), np.float64)
            X.append(np.clip(small.ravel() / 255 + rng.normal(0, 0.15, SIDE * SIDE), 0, 1))
        return Rows(np.array(X), np.array(y), np.array(X), SIDE)

    return cache(make)


def speech(*speakers: str) -> Make:
    """Digits as log spectra (12 frames of 12 bands); of all speakers where none is named."""

    def make(data: Path) -> Rows:
        import soundfile

        names = sorted((data / "image" / "fsdd").glob("*/*.flac"))
        names = [one for one in names if not speakers or one.stem.split("_")[1] in speakers]
        X, y = [], []
        for one in [names[i] for i in np.random.default_rng(0).permutation(len(names))[:ROWS]]:
            sound = np.pad(soundfile.read(one)[0], (0, 256))
            starts = np.linspace(0, len(sound) - 256, 12).astype(int)
            spectrum = np.abs(np.fft.rfft(np.stack([sound[i : i + 256] for i in starts]) * np.hanning(256)))
            X.append(np.log(spectrum[:, 1:97].reshape(12, 12, 8).mean(axis=2) + 1e-3).ravel())
            y.append(one.stem.split("_")[0])
        return Rows(np.array(X), np.array(y), np.array(X))

    return cache(make)


def texts(name: str, first: int, classes: int) -> Make:
    """Texts of some classes, counted from the most frequent one."""

    def make(data: Path) -> Rows:
        path = data / "text" / name / "train.csv"
        rows, y = _texts(path if path.exists() else path.with_name("train.csv.gz"))
        names, count = np.unique(y, return_counts=True)
        some = np.flatnonzero(np.isin(y, names[np.argsort(-count, kind="stable")][first : first + classes]))
        some = np.random.default_rng(3).permutation(some)[:ROWS]
        spaced = np.array([" ".join(one) for one in rows[some]], dtype=object) if name == "thucnews" else rows[some]
        return Rows(rows[some], y[some], _directions(spaced))

    return cache(make)


def reviews(data: Path, name: str, kind: str, time: int) -> tuple[Any, Any, Any, np.ndarray]:
    """Source, target, further rows of it, and their classes, out of one domain of Amazon reviews."""
    from graft.core.registry import MODALITIES
    from graft.data.load import load
    from graft.unlabelled.simulate import simulated as shifts

    whole = load(data / "text" / "amazon_reviews" / f"{name}_train.svmlight.gz")
    rng = np.random.default_rng([time, len(name)])
    whole = whole.select(np.sort(rng.permutation(len(whole))[:1_400]))
    X = MODALITIES[whole.task.modality].vectors().fit(whole).transform(whole)
    shift = shifts(X, whole.y, count=1, kinds=[kind], seed=time + 5)[0]
    source, target = rng.permutation(shift.source)[:400], rng.permutation(shift.target)
    sides = [whole.select(np.sort(part)) for part in (source, target[:400], target[400:])]
    y = np.concatenate([side.y for side in sides[1:]])
    return sides[0], *(dataclasses.replace(side, y=None) for side in sides[1:]), y


FAMILIES: dict[str, dict[str, tuple[Make, tuple[str, ...]]]] = {
    "simulated": {
        "3 classes, 20 columns": (simulated(11, 20, 8, 3, 2, 1.0), NUMBERS),
        "2 classes, 40 columns": (simulated(12, 40, 12, 2, 3, 1.2), NUMBERS),
        "5 classes, 12 columns": (simulated(13, 12, 6, 5, 1, 1.3), NUMBERS),
        "4 classes, 60 columns": (simulated(14, 60, 20, 4, 1, 1.5), NUMBERS),
        "long tails": (skewed(simulated(15, 16, 8, 3, 2, 1.3)), NUMBERS),
    },
    "diabetes": {"diabetes": (diabetes, NUMBERS)},
    "cifar": {
        "four classes": (pictures("cifar10/train", ("airplane", "frog", "ship", "truck")), PICTURES),
        "three classes": (pictures("cifar10/train", ("automobile", "deer", "horse")), PICTURES),
    },
    "trashnet": {"trashnet": (pictures("trashnet/train"), PICTURES)},
    "letters": {"plain letters": (letters("plain", 0), PICTURES), "bold letters": (letters("bold", 1), PICTURES)},
    "speech": {"spoken digits": (speech(), NUMBERS)},
    "banking77": {"12 intents": (texts("banking77", 0, 12), TEXTS), "5 intents": (texts("banking77", 30, 5), TEXTS)},
    "thucnews": {"headlines": (texts("thucnews", 0, 10), TEXTS[:3])},
}
PAIRS: dict[str, dict[str, tuple[Make, Make]]] = {
    "letters": {
        "plain -> bold": (letters("plain", 4), letters("bold", 5)),
        "bold -> thin": (letters("bold", 6), letters("thin", 7)),
        "plain -> italic": (letters("plain", 3), letters("italic", 9)),
        "wide -> plain": (letters("wide", 13), letters("plain", 19)),
        "italic -> wide": (letters("italic", 23), letters("wide", 29)),
    },
    "cifar": {
        "other vehicles and animals": (
            pictures("cifar10/train", ("airplane", "ship", "frog", "bird"), kind=True),
            pictures("cifar10/train", ("truck", "automobile", "cat", "horse"), kind=True),
        ),
        "and others": (
            pictures("cifar10/train", ("truck", "ship", "horse", "dog"), kind=True),
            pictures("cifar10/train", ("airplane", "automobile", "cat", "deer"), kind=True),
        ),
    },
    "speech": {
        "jackson -> theo": (speech("jackson"), speech("theo")),
        "theo -> nicolas": (speech("theo"), speech("nicolas")),
        "nicolas -> jackson": (speech("nicolas"), speech("jackson")),
        "two -> theo": (speech("jackson", "nicolas"), speech("theo")),
    },
}
REVIEWS = [(name, kind) for name in ("books", "dvd", "electronics", "kitchen") for kind in ("direction", "cluster")]
