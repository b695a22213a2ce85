"""Every registered transfer, score and native source keeps its contract: a new plug-in file is tested at once."""

import numpy as np
import pytest
import torch
from torch import nn

from graft.core.registry import SCORES, TRANSFERS
from graft.core.runtime import seeded
from graft.core.types import ModelSpec
from graft.sources.native import build_backbone
from graft.testing import TOYS, check_score, check_source, check_transfer, toy_data
from graft.transfer.base import BaseTransfer

TUNED = {"epochs": 6, "batch_size": 8}
QUICK = {
    "adapters": TUNED,
    "bias": TUNED,
    "consistency": {"epochs": 6, "batch_size": 8},
    "contrastive": {"steps": 4},
    "finetune": TUNED,
    "reuse": {"epochs": 7, "batch_size": 8, "lr": 3e-3},
    "scratch": {"epochs": 7, "batch_size": 8, "lr": 3e-3},
    "soup": TUNED | {"members": 2},
    "word_vectors": {"epochs": 6, "batch_size": 8, "lr": 3e-3},
}


def quick(name, kind):
    """Rows and settings that suffice: pictures, sounds and tables are learned faster than texts."""
    settings = QUICK.get(name, {})
    if toy_data(kind).task.modality == "text":
        return toy_data(kind), settings
    return toy_data(kind, rows=32), settings | ({"epochs": settings["epochs"] - 2} if "epochs" in settings else {})


# Ways that are fine-tuning with a turn of their own: what they do with each kind of data is what fine-tuning does.
VARIANTS = {"adapters", "bias", "consistency", "reuse", "soup"}
USUAL = {"text", "image"}
CELLS = [
    pytest.param(name, kind, marks=[pytest.mark.slow] if name in VARIANTS and kind not in USUAL else [])
    for name in TRANSFERS
    for kind in TOYS
]


@pytest.mark.parametrize(("name", "kind"), CELLS)
def test_transfers(name, kind):
    data, settings = quick(name, kind)
    check_transfer(name, data, **settings)


NETWORK = ModelSpec("hf:any", "any", "text")


FROM_NETWORKS = [
    pytest.param(name, kind, marks=[pytest.mark.slow] if name in VARIANTS and kind != "image" else [])
    for name, transfer in TRANSFERS.items()
    for kind in ("imbalanced", "image")
    if transfer.needs_source and not transfer.fits(NETWORK)
]


@pytest.mark.parametrize(("name", "kind"), FROM_NETWORKS)
def test_transfers_from_a_transformer(name, kind, tiny_bert, tiny_vit):
    data, settings = quick(name, kind)
    check_transfer(name, data, source=f"hf:{tiny_vit if kind == 'image' else tiny_bert}", **settings)


@pytest.mark.parametrize("name", SCORES)
def test_scores(name):
    check_score(name)


@pytest.mark.parametrize("kind", ["text", "image", "audio", "sequence", "series", "table", "counts"])
def test_native_sources(kind):
    data = toy_data(kind)
    with seeded(1):
        check_source(build_backbone(data), data.take(slice(0, 4)))


def test_transformer_sources(tiny_bert, tiny_vit):
    check_source(f"hf:{tiny_bert}", toy_data("text").take(slice(0, 4)))
    check_source(f"hf:{tiny_vit}", toy_data("image").take(slice(0, 4)))


# -- the contracts themselves notice what is wrong ---------------------------------------------------------------------


class Good(BaseTransfer):
    """Nearest class mean of letter counts; broken in one way by each subclass below."""

    name = label = "good"

    def _fit(self, data, setting):
        n = self._counts(data)
        classes = range(data.task.outputs)
        self.mean_ = np.stack([n[data.y == c].mean(0) if (data.y == c).any() else n[0] + 1e6 for c in classes])

    def _counts(self, data):
        return np.array(
            [[text.count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in data.take()], float
        )

    def _outputs(self, data, store):
        distance = np.square(self._counts(data)[:, None] - self.mean_).sum(2)
        return np.eye(data.task.outputs)[distance.argmin(1)]

    def _arrays(self):
        return {}, {"mean": self.mean_}

    def _restore(self, state, arrays):
        self.mean_ = arrays["mean"]


class NotNormal(Good):
    def _outputs(self, data, store):
        return 2 * super()._outputs(data, store)


class Random(Good):
    def _fit(self, data, setting):
        super()._fit(data, setting)
        self.mean_ += np.random.default_rng().normal(size=self.mean_.shape) * 1e-6


class Moves(Good):
    def _fit(self, data, setting):
        torch.rand(1)
        super()._fit(data, setting)


class Sees(Good):
    def _outputs(self, data, store):
        outputs = super()._outputs(data, store)
        return (outputs + outputs.mean(0)) / 2


class Forgets(Good):
    def _restore(self, state, arrays):
        self.mean_ = arrays["mean"][::-1].copy()


class Drops(Good):
    def save(self, folder):
        super().save(folder)
        (folder / "extra.pkl").write_bytes(b"")
        return folder


class Prefers(Good):
    def _outputs(self, data, store):
        return np.tile(np.eye(data.task.outputs)[0], (len(data), 1))


class Writes(Good):
    def _fit(self, data, setting):
        super()._fit(data, setting)
        data.y[0] = 1 - data.y[0]


@pytest.mark.parametrize(
    ("broken", "line"),
    [
        (NotNormal, "probabilities sum to 2"), (Random, "equal seeds gave another"), (Moves, "torch's random state"),
        (Sees, "a row alone differs"), (Forgets, "changed by save and load"), (Drops, "save wrote extra.pkl"),
        (Prefers, "classes in another order"), (Writes, "fit changed the rows"),
    ],
)  # fmt: skip
def test_a_broken_transfer_is_told_what_it_broke(monkeypatch, broken, line):
    data = toy_data("text")
    monkeypatch.setitem(TRANSFERS._entries, "good", broken)
    with pytest.raises(AssertionError, match=line):
        check_transfer(broken, data)


def test_the_intact_one_passes(monkeypatch):
    monkeypatch.setitem(TRANSFERS._entries, "good", Good)
    check_transfer("good", toy_data("text"))
    check_transfer(Good, toy_data("imbalanced"))


@pytest.mark.parametrize(
    ("score", "line"),
    [
        (lambda features, y: float("nan"), "the value is nan"),
        (lambda features, y: float(features[0, 0]), "order of the rows"),
        (lambda features, y: float(y.sum()), "numbers of classes"),
        (lambda features, y: -np.var([features[y == c].mean(0) for c in range(3)]).item(), "larger must be better"),
        (lambda X, y: 1.0, "parameters are"),
    ],
)
def test_a_broken_score_is_told_what_it_broke(score, line):
    score.__doc__ = "Compute something."
    with pytest.raises(AssertionError, match=line):
        check_score(score)


def test_a_source_whose_rows_see_each_other_is_noticed():
    data = toy_data("text")
    with seeded(0):
        backbone = build_backbone(data)

    class Company(nn.Module):
        def __init__(self, body):
            super().__init__()
            self.body, self.hidden_size = body, body.hidden_size
            self.blocks, self.forward_features = body.blocks, body.forward_features

        def pool(self, hidden, batch):
            pooled = self.body.pool(hidden, batch)
            return pooled - pooled.mean(0)

    backbone.body = Company(backbone.body)
    with pytest.raises(AssertionError, match="in the company of others"):
        check_source(backbone, data.take(slice(0, 4)))
