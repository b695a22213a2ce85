"""What every test stands on: a cache of its own, no network, one thread, and tiny data and models."""

import itertools
import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports huggingface_hub
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
import pytest


@pytest.fixture(scope="session", autouse=True)
def _machine(tmp_path_factory):
    """No cache, model folder or network of the person who runs the tests; one thread, so that sums are repeatable."""
    import torch

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRAFT_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("GRAFT_DEVICE", "cpu")
        patch.delenv("GRAFT_CACHE_SIZE", raising=False)
        if not os.environ.get("GRAFT_DATA"):
            patch.delenv("GRAFT_MODELS", raising=False)
        torch.set_num_threads(1)
        yield


@pytest.fixture(scope="session")
def _caches(tmp_path_factory):
    """Numbered folders that do not exist yet: most tests write nothing, and a folder for each costs time."""
    place = tmp_path_factory.mktemp("caches")
    return (str(place / str(number) / "graft-cache") for number in itertools.count())


@pytest.fixture(autouse=True)
def _cache(_caches, monkeypatch):
    """A cache that is empty at the start of every test."""
    monkeypatch.setenv("GRAFT_CACHE", next(_caches))


@pytest.fixture
def short_trainings(monkeypatch):
    """Trainings that choose their own length take a few steps: for tests of what happens around a training."""
    monkeypatch.setattr("graft.transfer.scratch.MIN_STEPS", 20)
    monkeypatch.setattr("graft.transfer.word_vectors.MIN_STEPS", 20)
    monkeypatch.setattr("graft.transfer.finetune.MAX_EPOCHS", 5)


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory):
    """A folder with a random BERT of two layers."""
    from sources import tiny_models

    return tiny_models.bert(tmp_path_factory.mktemp("models") / "tiny-bert")


@pytest.fixture(scope="session")
def tiny_vit(tmp_path_factory):
    """A folder with a random vision transformer of two layers."""
    from sources import tiny_models

    return tiny_models.image(tmp_path_factory.mktemp("models") / "tiny-vit", "vit")


WORDS = ("where is my parcel", "card lost", "cancel order", "refund please", "help", "i want")


def make_texts(n, classes=("bad", "good"), seed=0, signal=True):
    """Sentences that name their class by a word, or, without signal, do not."""
    rng = np.random.default_rng(seed)
    y = np.asarray(classes)[np.arange(n) % len(classes)]
    texts = []
    for i in range(n):
        parts = [*rng.choice(WORDS, 2), str(y[i]) if signal else str(rng.choice(classes)), "abcdefghij"[i % 10]]
        texts.append(" ".join(parts) + " " + " ".join(rng.permutation(list("klmnop"))[:3]))
    return texts, y.tolist()


def make_pictures(n, seed=0):
    """Light pictures on the left or on the right side, with noise."""
    rng = np.random.default_rng(seed)
    y = np.asarray(["left", "right"])[np.arange(n) % 2]
    pictures = rng.integers(0, 120, (n, 16, 16, 3), dtype=np.uint8)
    for i in range(n):
        half = slice(0, 8) if y[i] == "left" else slice(8, 16)
        pictures[i, :, half] += 100
    return pictures, y.tolist()


def make_table(n, seed=0, kind="classification"):
    """Four numbers of which the first two decide."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4))
    z = 2 * X[:, 0] - X[:, 1]
    if kind == "regression":
        return X, z + 0.1 * rng.normal(size=n)
    return X, np.where(z > np.median(z), "yes", "no").tolist()


@pytest.fixture
def texts():
    """60 sentences of two classes."""
    return make_texts(60)


@pytest.fixture
def pictures():
    """40 pictures of two classes."""
    return make_pictures(40)


@pytest.fixture
def table():
    """80 rows of four numbers, two classes."""
    return make_table(80)


def make_tones(n, seed=0, rate=8000, seconds=0.2):
    """Low and high tones of changing pitch, with noise: pairs (samples, rate) and the classes."""
    rng = np.random.default_rng(seed)
    y = np.asarray(["low", "high"])[np.arange(n) % 2]
    time = np.arange(int(seconds * rate)) / rate
    pitch = np.where(y == "low", 300, 1200) * rng.uniform(0.8, 1.2, n)
    tones = 0.3 * np.sin(2 * np.pi * pitch[:, None] * time) + rng.normal(scale=0.02, size=(n, len(time)))
    return [(tone.astype(np.float32), rate) for tone in tones], y.tolist()


def save_tones(folder, n=20, seed=0, **options):
    """Tones as WAV files, one folder per class; the folder."""
    import soundfile

    for i, ((samples, rate), label) in enumerate(zip(*make_tones(n, seed, **options), strict=True)):
        path = folder / label / f"{i:02d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, rate)
    return folder
