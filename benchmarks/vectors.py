"""Networks on word vectors: those of the GloVe subset, or made by Word2Vec from the training rows of the set itself."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from benchmarks import sets


def word_vectors(
    name: str, train: Path, test: Path, seed: int, models: Path, *, own: bool = False, **settings: Any
) -> dict[str, Any]:
    """TextCNN, LSTM or mean on all training rows; seconds count the making of the vectors where they are made."""
    del name, models
    from graft.data.load import load
    from graft.pretrain.vectors import Vectors
    from graft.sources.base import open_model
    from graft.transfer.word_vectors import WordVectors

    data, start, facts = load(train), time.perf_counter(), {}
    if own:
        made = Vectors(epochs=30, seed=seed).fit(data)
        source = made.backbone_
        facts = {key: made.record_["scores"][0][key] for key in ("value", "baselines")}
    else:
        source = open_model(f"vectors:{sets.glove(train)}")
    model = WordVectors(source, seed=seed, **settings).fit(data)
    seconds = time.perf_counter() - start
    held_out = load(test, like=data)
    facts |= {"words": model.words_, "coverage": source.coverage(held_out.take()).reason}
    return {"truth": held_out.labels, "predicted": model.predict(held_out), "seconds": seconds, "facts": facts}


def mean_probe(name: str, train: Path, test: Path, seed: int, models: Path) -> dict[str, Any]:
    """The closed-form probe on the mean of the words of the GloVe subset."""
    del name, seed, models
    from graft.data.load import load
    from graft.transfer.probe import Probe

    data, start = load(train), time.perf_counter()
    model = Probe(f"vectors:{sets.glove(train)}").fit(data)
    seconds = time.perf_counter() - start
    held_out = load(test, like=data)
    return {"truth": held_out.labels, "predicted": model.predict(held_out), "seconds": seconds}
