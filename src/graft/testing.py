"""Contracts that every plug-in keeps, for the tests of the package that adds one.

For example::

    from graft.testing import check_score, check_source, check_transfer

    def test_my_transfer(): check_transfer("mine")
    def test_my_score(): check_score("mine")
    def test_my_source(): check_source("mine:tiny", ["a text", "another"])

Each raises AssertionError with one line that says what was promised and what was found.
"""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import clone

from graft.core.ragged import flat, lengths
from graft.core.registry import SCORES, TRANSFERS
from graft.core.runtime import seeded
from graft.core.types import Dataset, ModelSpec
from graft.data.load import load
from graft.features import encode
from graft.sources.base import Backbone, Coverage, open_model
from graft.sources.native import build_backbone, word_backbone
from graft.sources.scripts import join
from graft.sources.words import WordReader
from graft.transfer.base import BaseTransfer, load_transfer

SAFE = {".safetensors", ".json", ".txt", ".model", ".md"}  # what a saved folder may hold: weights, facts, vocabularies
CLOSE = {"fp32": 1e-4, "bf16": 2e-2}  # how far one row alone may differ from the same row in a batch
TOPICS = ("a parcel that was lost", "the card does not work", "please cancel my order")


def toy_data(kind: str = "text", rows: int = 48) -> Dataset:  # noqa: PLR0911  (one per kind)
    """A small data set that every sensible transfer can learn.

    Args:
        kind: ``"text"`` (two classes), ``"imbalanced"`` (three classes of texts, judged by macro F1), ``"image"``,
            ``"audio"``, ``"sequence"`` (DNA), ``"series"``, ``"table"``, ``"counts"``, ``"regression"``, ``"tagging"`` or
            ``"multilabel"``.
        rows: How many.

    Example:
        >>> toy_data("imbalanced").task.metric
        'macro_f1'
    """
    rng = np.random.default_rng(0)
    if kind == "multilabel":
        names = ("good", "kind", "new")
        texts = [" ".join([TOPICS[i % 3], *(n for n in names if rng.random() < 0.4), f"n{i}"]) for i in range(rows)]
        return load((texts, [[name for name in names if name in text.split()] for text in texts]))
    if kind == "tagging":
        return load(_toy_sentences(rng, rows), task="tagging")
    if kind in ("text", "imbalanced"):
        shares = (0.6, 0.4) if kind == "text" else (0.65, 0.2, 0.15)
        y = np.repeat(np.arange(len(shares)), np.round(np.asarray(shares) * rows).astype(int))
        texts = [f"{TOPICS[c]} {' '.join(rng.choice(list('abcdefgh'), 3))} {i}" for i, c in enumerate(y)]
        return load((texts, [("parcel", "card", "order")[c] for c in y]))
    if kind == "image":
        y = np.arange(rows) % 5 < 3
        pictures = rng.integers(0, 90, (rows, 12, 12, 3), dtype=np.uint8)
        pictures[y, :, :6] += 120
        pictures[~y, :, 6:] += 120
        return load((pictures, np.where(y, "left", "right").tolist()))
    if kind == "audio":
        y = np.arange(rows) % 5 < 3
        pitch = np.where(y, 300, 1200)[:, None] * rng.uniform(0.9, 1.1, (rows, 1))
        tones = 0.3 * np.sin(2 * np.pi * pitch * np.arange(1200) / 8000) + rng.normal(scale=0.03, size=(rows, 1200))
        return load(([(tone, 8000) for tone in tones], np.where(y, "low", "high").tolist()))
    if kind == "sequence":
        y = np.arange(rows) % 5 < 3
        letters = rng.choice(list("ACGT"), (rows, 40))
        letters[y, 12:18], letters[~y, 12:18] = list("TATAAT"), list("GGCCGG")
        return load((["".join(row) for row in letters], np.where(y, "promoter", "other").tolist()))
    if kind == "series":
        y = np.arange(rows) % 5 < 3
        pitch = np.where(y, 0.2, 0.5)[:, None] * rng.uniform(0.9, 1.1, (rows, 1))
        waves = np.sin(pitch * np.arange(40) + rng.uniform(0, 6, (rows, 1))) + rng.normal(scale=0.1, size=(rows, 40))
        return load((waves, np.where(y, "slow", "fast").tolist()), modality="series")
    if kind == "counts":
        from scipy.sparse import csr_matrix

        y = np.arange(rows) % 5 < 3
        X = rng.poisson(0.15, (rows, 60))
        X[:, :12] *= y[:, None]
        X[:, 12:24] *= ~y[:, None]
        X[:, :24] += X[:, :24] > 0
        return load((csr_matrix(X), np.where(y, "good", "bad").tolist()))
    X = rng.normal(size=(rows, 4))
    value = 2 * X[:, 0] - X[:, 1]
    if kind == "ordinal":
        grades = np.array(["low", "middle", "high"])[np.digitize(value, [-1, 1])]
        return load((X, grades.tolist()), order=("low", "middle", "high"))
    return load((X, value if kind == "regression" else np.where(value > -0.5, "high", "low").tolist()))


def _toy_sentences(rng: np.random.Generator, rows: int) -> tuple[list[list[str]], list[list[str]]]:
    """Sentences of one to eight words in which names of persons and towns follow words that announce them."""
    people, towns = ("Ada Byron", "Emmy Noether", "Sophie Germain"), ("Oslo", "Quito", "Lyon")
    X, y = [], []
    for row in range(rows):
        words, tags = ["note"], ["O"]
        for _ in range(row % 3):
            kind = int(rng.integers(2))
            name = rng.choice((people, towns)[kind]).split()
            words += [("by", "in")[kind], *name]
            tags += ["O", f"B-{('PER', 'LOC')[kind]}", *[f"I-{('PER', 'LOC')[kind]}"] * (len(name) - 1)]
        X.append(words)
        y.append(tags)
    return X, y


def toy_boxes(rows: int = 12, seed: int = 0) -> Dataset:
    """Pictures of 64 x 48 px with red squares and blue bars on grey, and their boxes; every sixth shows nothing.

    Example:
        >>> toy_boxes().task.classes
        ('bar', 'square')
    """
    rng = np.random.default_rng(seed)
    X, y = [], []
    for row in range(rows):
        picture = rng.integers(110, 140, (48, 64, 3), dtype=np.uint8)
        objects: list[dict[str, Any]] = []
        for number in range(0 if row % 6 == 5 else 1 + row % 2):
            kind = int(rng.integers(2))
            wide, high = ((16, 8), (14, 14))[kind]
            left, top = int(rng.integers(32 * number, 32 * number + 33 - wide)), int(rng.integers(0, 49 - high))
            picture[top : top + high, left : left + wide] = ((30, 40, 200), (220, 30, 30))[kind]
            objects.append({"label": ("bar", "square")[kind], "box": [left, top, left + wide, top + high]})
        X.append(picture)
        y.append(objects)
    return load((X, y), task="detection")


def toy_sources(data: Dataset) -> list[Backbone]:
    """Random sources that read the data: a small network and, for texts, a table of word vectors.

    Example:
        >>> [source.spec.architecture for source in toy_sources(toy_data("text"))]
        ['textcnn', 'word vectors']
    """
    with seeded(0):
        sources: list[Backbone] = [build_backbone(data)]
    if data.task.modality == "text":
        empty = WordReader([], lower=True)
        words = sorted({word for row in data.take() for word in empty.tokens(join(row)) if not word.isdigit()})
        matrix = np.random.default_rng(0).normal(size=(len(words) + 1, 16)).astype(np.float32)
        matrix[0] = 0.0
        sources.append(word_backbone(WordReader(words, lower=True), matrix, ModelSpec("toy:words", "words", "text")))
    return sources


TOYS = ("text", "imbalanced", "image", "audio", "sequence", "series", "table", "counts", "regression", "tagging")


# -- transfers ---------------------------------------------------------------------------------------------------------


def check_transfer(
    transfer: str | type[BaseTransfer], dataset: Dataset | None = None, *, source: Any = None, **settings: Any
) -> None:
    """Check what every transfer promises: equal bytes for equal seeds, a true round trip to disk, an untouched caller.

    Args:
        transfer: Registered name, or class.
        dataset: Data to learn; each of ``TOYS`` if not given.
        source: Source of a transfer that needs one; if not given a random network of the right modality or random word
            vectors, whichever ``fits``; data for which neither does are left out, and so are tasks that are none of its
            ``kinds``.
        settings: Constructor keywords that make it quick, for example ``epochs=2``.

    Raises:
        AssertionError: A promise is broken.

    Example:
        >>> check_transfer("majority")
    """
    cls = TRANSFERS[transfer] if isinstance(transfer, str) else transfer
    for data in [dataset] if dataset is not None else map(toy_data, TOYS):
        arguments = dict(settings)
        if not cls.reads(data.task):
            continue
        if cls.needs_source:
            toys = [source] if source is not None else [toy for toy in toy_sources(data) if not cls.fits(toy.spec)]
            if not toys:
                continue
            arguments["source"] = toys[0]
        _check_transfer(lambda arguments=arguments: cls(**arguments), data)


def _check_transfer(make: Callable[[], BaseTransfer], data: Dataset) -> None:
    fitted = _check_fit(make, data)
    outputs = fitted.outputs(data)
    what = f"{fitted.name} on {data.task.modality} ({data.task.kind})"
    _check_outputs(outputs, data, what)
    assert np.array_equal(np.asarray(fitted.predict(data)), data.task.decode(outputs)), (
        f"{what}: predict is not outputs"
    )
    some = np.linspace(0, len(data) - 1, 3).astype(int)
    alone = np.concatenate([fitted.outputs(data.select(np.array([row]))) for row in some])
    allowed = CLOSE[getattr(fitted, "precision_", None) or "fp32"]
    worst = float(np.abs(flat(alone) - flat(outputs[some])).max())
    assert worst <= allowed, f"{what}: a row alone differs by {worst:.2g} from the row in a batch"
    with tempfile.TemporaryDirectory() as folder:
        _check_disk(fitted, make, data, Path(folder), what)
    if data.task.is_classification:
        _check_names(make, data, fitted, what)
        _check_absent_class(make, data, what)


def _check_fit(make: Callable[[], BaseTransfer], data: Dataset) -> BaseTransfer:
    """Fitting returns self and changes nothing of the caller's."""
    transfer = make()
    parameters = {key: repr(value) for key, value in transfer.get_params(deep=False).items()}
    source = getattr(transfer, "source", None)
    before = _world(data, source)
    assert transfer.fit(data) is transfer, f"{transfer.name}: fit must return self"
    for what, old, new in zip(
        ("the rows", "torch's", "numpy's", "the source"), before, _world(data, source), strict=True
    ):
        assert old == new, f"{transfer.name}: fit changed {what}{' random state' if chr(39) in what else ''}"
    after = {key: repr(value) for key, value in transfer.get_params(deep=False).items()}
    assert parameters == after, f"{transfer.name}: fit changed a constructor keyword"
    clone(transfer)
    return transfer


def _world(data: Dataset, source: Any) -> tuple[Any, ...]:
    state = np.random.get_state()  # noqa: NPY002  (the caller's global state must stay as it is)
    kept = source.fingerprint() if isinstance(source, Backbone) else None
    return data.fingerprint(), torch.get_rng_state().numpy().tobytes(), (state[1].tobytes(), state[2]), kept


def _check_outputs(outputs: np.ndarray, data: Dataset, what: str) -> None:
    shape = (len(data), data.task.outputs) if data.task.has_columns else (len(data),)
    assert outputs.shape == shape, f"{what}: outputs have the shape {outputs.shape}, not {shape}"
    if data.task.is_tagging:
        words = [len(sentence.starts) for sentence in data.take()]
        assert lengths(outputs).tolist() == words, f"{what}: outputs are not one row per word"
        outputs = flat(outputs)
    assert np.isfinite(outputs).all(), f"{what}: outputs are not finite"
    if data.task.is_multilabel:
        assert ((outputs >= 0) & (outputs <= 1)).all(), f"{what}: probabilities below 0 or above 1"
    elif data.task.classes:
        sums = outputs.sum(axis=1)
        assert np.allclose(sums, 1, atol=1e-5), f"{what}: probabilities sum to {sums.min():.6f} … {sums.max():.6f}"
        assert (outputs >= 0).all(), f"{what}: negative probabilities"


def _check_disk(fitted: BaseTransfer, make: Callable[[], BaseTransfer], data: Dataset, folder: Path, what: str) -> None:
    """Saved files are safe, open to equal predictions, and are equal byte by byte for equal seeds."""
    fitted.save(folder / "one")
    files = _files(folder / "one")
    unsafe = [name for name in files if Path(name).suffix not in SAFE]
    assert not unsafe, f"{what}: save wrote {unsafe[0]}"
    opened = load_transfer(folder / "one")
    same = np.array_equal(flat(opened.outputs(data)), flat(fitted.outputs(data)))
    assert same, f"{what}: outputs changed by save and load"
    assert type(opened) is type(fitted), f"{what}: load gave a {type(opened).__name__}"
    opened.save(folder / "again")
    assert _files(folder / "again").keys() == files.keys(), f"{what}: an opened transfer saves other files"
    make().fit(data).save(folder / "two")
    other = _files(folder / "two")
    changed = [name for name in files if files[name] != other.get(name)]
    assert not changed, f"{what}: equal seeds gave another {changed[0]}"
    assert files.keys() == other.keys(), f"{what}: equal seeds gave other files"


def _files(folder: Path) -> dict[str, bytes]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def _check_names(make: Callable[[], BaseTransfer], data: Dataset, fitted: BaseTransfer, what: str) -> None:
    """Other names for the classes give other names in the predictions and nothing else."""
    task, last = data.task, data.task.outputs - 1
    renamed = replace(data, y=last - data.y, task=replace(task, classes=task.classes[::-1]))
    same = float(np.mean(make().fit(renamed).predict(renamed) == fitted.predict(data)))
    assert same >= 0.9, f"{what}: with the classes in another order only {same:.0%} of the predictions stay"


def _check_absent_class(make: Callable[[], BaseTransfer], data: Dataset, what: str) -> None:
    """A class without training rows keeps its column, and is hardly ever predicted."""
    if data.task.outputs < 3:  # one class alone is no task
        return
    kept = data.select(data.y != data.task.outputs - 1)
    outputs = make().fit(kept).outputs(data)
    _check_outputs(outputs, data, what)
    share = float(np.mean(outputs.argmax(axis=1) == data.task.outputs - 1))
    assert share <= 0.1, f"{what}: a class without training rows is predicted for {share:.0%} of the rows"


# -- scores ------------------------------------------------------------------------------------------------------------


def check_score(score: str | Callable[..., float]) -> None:
    """Check what every score promises: finite, deterministic, blind to order and names, larger for better features.

    Args:
        score: Registered name, or function of (features or probabilities, y).

    Raises:
        AssertionError: A promise is broken.

    Example:
        >>> check_score("h_score")
    """
    name = score if isinstance(score, str) else score.__name__
    function = SCORES[score] if isinstance(score, str) else score
    parameters = list(inspect.signature(function).parameters)
    assert parameters[:2] in (["features", "y"], ["probabilities", "y"]), f"{name}: parameters are {parameters}"
    assert function.__doc__, f"{name}: no docstring"
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 150)
    X = rng.normal(size=(150, 8)) + 2.0 * np.eye(3, 8)[y]
    if parameters[0] == "probabilities":
        X = np.exp(X) / np.exp(X).sum(axis=1, keepdims=True)
    kept, labels = X.copy(), y.copy()
    value = function(X, y)
    assert isinstance(value, float), f"{name}: the value is a {type(value).__name__}"
    assert np.isfinite(value), f"{name}: the value is {value!r}"
    assert np.array_equal(X, kept), f"{name}: changed its features"
    assert np.array_equal(y, labels), f"{name}: changed its targets"
    assert function(X, y) == value, f"{name}: two calls differ"
    rows = rng.permutation(len(y))
    assert np.isclose(function(X[rows], y[rows]), value, rtol=1e-4), f"{name}: the order of the rows matters"
    assert np.isclose(function(X, np.array([2, 0, 1])[y]), value, rtol=1e-4), f"{name}: the numbers of classes matter"
    assert np.isclose(function(X.astype(np.float32), y), value, rtol=1e-2), f"{name}: float32 gives another value"
    noise = function(X, rng.permutation(y))
    assert value > noise, f"{name}: {value:.3g} with signal, {noise:.3g} with permuted labels; larger must be better"


# -- sources -----------------------------------------------------------------------------------------------------------


def check_source(source: str | Backbone, examples: Any) -> None:
    """Check what every source promises: layers that pool, rows that do not see each other, a true round trip to disk.

    Args:
        source: URI, or an opened backbone.
        examples: At least three raw examples of different length (texts, pictures as uint8 arrays, or sounds), or
            columns.

    Raises:
        AssertionError: A promise is broken.

    Example:
        >>> check_source(build_backbone(toy_data("text")), ["a parcel", "a card that was lost", "order"])
    """
    if isinstance(source, str):
        before = torch.get_rng_state()
        backbone = open_model(source)
        assert torch.equal(before, torch.get_rng_state()), f"{source}: opening it moved torch's random state"
        assert open_model(source).fingerprint() == backbone.fingerprint(), f"{source}: opened twice, it differs"
    else:
        backbone = source
    name = backbone.spec.name
    backbone.eval()
    encoded = backbone.preprocess(examples)
    assert len(encoded) >= 3, f"{name}: preprocess gave {len(encoded)} examples"
    assert all(backbone.length(row) >= 1 for row in encoded), f"{name}: an example without a length"
    assert isinstance(backbone.coverage(examples), Coverage), f"{name}: coverage must be a Coverage"
    _check_layers(backbone, encoded)
    _check_groups(backbone)
    with tempfile.TemporaryDirectory() as folder:
        backbone.save(Path(folder) / "source")
        opened = open_model(str(Path(folder) / "source"))
        assert opened.fingerprint() == backbone.fingerprint(), f"{name}: save and open gave another model"
        same = np.array_equal(encode(opened, examples).values, encode(backbone, examples).values)
        assert same, f"{name}: save and open gave other features"


def _check_layers(backbone: Backbone, encoded: list[Any]) -> None:
    name = backbone.spec.name
    with torch.inference_mode():
        batch = backbone.collate(encoded)
        layers, logits = backbone.forward_all(batch)
        pooled = [backbone.pool(layer, batch) for layer in layers]
        assert len(layers) >= 1, f"{name}: no layers"
        assert all(p.ndim == 2 and len(p) == len(encoded) for p in pooled), f"{name}: pooled layers must be (B, D)"
        assert all(torch.isfinite(p).all() for p in pooled), f"{name}: features that are not finite"
        assert torch.equal(backbone(batch), pooled[-1]), f"{name}: forward is not the pooled last layer"
        assert pooled[-1].shape[1] == backbone.spec.hidden_size, f"{name}: hidden_size is not {pooled[-1].shape[1]}"
        classes = len(backbone.spec.classes)
        found = 0 if logits is None else logits.shape[1]
        assert found == classes, f"{name}: {found} logits for {classes} classes"
        for row in range(3):
            one = backbone.collate(encoded[row : row + 1])
            alone = backbone(one)[0]
            worst = float((alone - pooled[-1][row]).abs().max() / alone.abs().max().clamp_min(1e-6))
            assert worst < 1e-4, f"{name}: row {row} changes by {worst:.2g} in the company of others"


def _check_groups(backbone: Backbone) -> None:
    name = backbone.spec.name
    grouped = [id(p) for group in backbone.layer_groups() for p in group]
    assert len(grouped) == len(set(grouped)), f"{name}: a parameter is in two layer groups"
    assert set(grouped) == {id(p) for p in backbone.parameters()}, f"{name}: layer groups miss a parameter"
    was = [p.requires_grad for p in backbone.parameters()]
    blocks = backbone.blocks()
    for top in range(len(blocks) + 1):
        backbone.freeze_below(top)
        below = [*backbone.stem(), *blocks[: len(blocks) - top]]
        assert not any(p.requires_grad for p in _parameters(below)), f"{name}: freezing left a lower block trainable"
        free = set(map(id, _parameters(blocks[len(blocks) - top :]))) - set(map(id, _parameters(below)))
        trained = {id(p) for p in backbone.parameters() if p.requires_grad}
        assert free <= trained, f"{name}: freezing took a block that is to be trained"
    for parameter, state in zip(backbone.parameters(), was, strict=True):
        parameter.requires_grad_(state)


def _parameters(modules: list[torch.nn.Module]) -> Iterator[torch.nn.Parameter]:
    for module in modules:
        yield from module.parameters()


__all__ = ["TOYS", "check_score", "check_source", "check_transfer", "toy_boxes", "toy_data", "toy_sources"]
