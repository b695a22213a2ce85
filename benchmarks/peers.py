"""Peers with few rows: SetFit's published procedure, and full fine-tuning of a picture network with the Trainer.

SetFit is no dependency of the project.  Its procedure is carried out with the library that it stands on,
sentence-transformers: pairs, one epoch of the cosine loss, a logistic head on the tuned embeddings (Tunstall et al., 2022).
"""

from __future__ import annotations

import itertools
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import sets

Pairs = list[tuple[int, int, float]]
ROUNDS = 20  # R of the paper


def pairs_by_rounds(y: np.ndarray, rounds: int, seed: int) -> Pairs:
    """For every row, ``rounds`` times, a row of its class (1.0) and one of another (0.0): 2 · rounds · n pairs.

    This is the sampling of the paper's code.
    """
    rng = np.random.default_rng(seed)
    same = {each: np.flatnonzero(y == each) for each in np.unique(y)}
    other = {each: np.flatnonzero(y != each) for each in np.unique(y)}
    found: Pairs = []
    for _, row in itertools.product(range(rounds), range(len(y))):
        found.append((row, int(rng.choice(same[y[row]])), 1.0))
        found.append((row, int(rng.choice(other[y[row]])), 0.0))
    return found


def all_pairs(y: np.ndarray, seed: int) -> Pairs:
    """Every pair of rows once, and the rarer kind over and over until there are as many as of the other.

    This is the default of SetFit from version 1 on (``oversampling``); a row with itself is a pair there.
    """
    first, second = np.triu_indices(len(y))
    order = np.random.default_rng(seed).permutation(len(first))
    first, second = first[order], second[order]
    equal = y[first] == y[second]
    kinds = [np.flatnonzero(equal), np.flatnonzero(~equal)]
    most = max(map(len, kinds))
    like, unlike = (np.resize(kind, most) for kind in kinds)
    index = np.stack([like, unlike], axis=1).ravel()
    return [(int(first[i]), int(second[i]), float(equal[i])) for i in index]


def setfit(
    name: str, train: Path, test: Path, seed: int, models: Path, *, sampling: str = "rounds", rounds: int = ROUNDS
) -> dict[str, Any]:
    """SetFit with its defaults: one epoch over the pairs, batch 16, rate 2e-5, then scikit-learn's logistic regression.

    Seconds are those of training and of the head; reading and opening are not in them.
    """
    del name, models
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.losses import CosineSimilarityLoss
    from sklearn.linear_model import LogisticRegression
    from transformers import set_seed

    from benchmarks.systems import QUIET, _minilm

    (X, y), (Xt, yt) = sets.read_text(train), sets.read_text(test)
    set_seed(seed)
    model = SentenceTransformer(_minilm(), device="cpu")
    start = time.perf_counter()
    pairs = pairs_by_rounds(y, rounds, seed) if sampling == "rounds" else all_pairs(y, seed)
    rows = Dataset.from_dict({
        "sentence1": [X[one] for one, _, _ in pairs],
        "sentence2": [X[other] for _, other, _ in pairs],
        "label": [equal for _, _, equal in pairs],
    })  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        arguments = SentenceTransformerTrainingArguments(
            folder,
            num_train_epochs=1,
            per_device_train_batch_size=16,
            learning_rate=2e-5,
            warmup_steps=0.1,  # a share of the steps
            seed=seed,
            **QUIET,
        )
        SentenceTransformerTrainer(model, arguments, train_dataset=rows, loss=CosineSimilarityLoss(model)).train()
    head = LogisticRegression().fit(model.encode(X, show_progress_bar=False), y)
    seconds = time.perf_counter() - start
    predicted = head.predict(model.encode(Xt, show_progress_bar=False))
    return {"truth": yt, "predicted": predicted, "seconds": seconds, "facts": {"pairs": len(pairs)}}


def picture_trainer(
    name: str, train: Path, test: Path, seed: int, models: Path, *, epochs: int = 30, lr: float = 5e-5
) -> dict[str, Any]:
    """Full fine-tuning of MobileNetV2-1.0 with the Hugging Face Trainer: batch 16, its defaults otherwise."""
    del name
    import torch
    from PIL import Image
    from transformers import (
        AutoImageProcessor,
        AutoModelForImageClassification,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    from benchmarks.systems import QUIET

    (files, y), (test_files, yt) = sets.read_images(train), sets.read_images(test)
    classes = np.unique(y)
    set_seed(seed)
    network = models / "mobilenetv2-1.0-224-imagenet"
    processor = AutoImageProcessor.from_pretrained(network)
    model = AutoModelForImageClassification.from_pretrained(
        network, num_labels=len(classes), ignore_mismatched_sizes=True, dtype=torch.float32
    )

    def rows(paths: list[Path], labels: np.ndarray) -> list[dict[str, Any]]:
        found = []
        for path, label in zip(paths, np.searchsorted(classes, labels), strict=True):
            with Image.open(path) as picture:
                values = processor(picture.convert("RGB"), return_tensors="pt")["pixel_values"][0]
            found.append({"pixel_values": values, "labels": int(label)})
        return found

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            num_train_epochs=epochs,
            per_device_train_batch_size=16,
            learning_rate=lr,
            seed=seed,
            **QUIET,
        )
        start = time.perf_counter()
        run = Trainer(model, arguments, train_dataset=rows(files, y))
        run.train()
        seconds = time.perf_counter() - start
        with torch.inference_mode():
            logits = run.predict(rows(test_files, yt)).predictions
    return {"truth": yt, "predicted": classes[logits.argmax(1)], "seconds": seconds}
