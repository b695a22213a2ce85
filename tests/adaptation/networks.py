"""What tests of deep adaptations share: small settings, small pictures, and what a fitted network makes of rows."""

import numpy as np
import torch
from adaptation.shifts import rotated, turned

from graft.adaptation.deep import Given
from graft.adaptation.domains import Domains, pair
from graft.core.registry import ADAPTATIONS
from graft.core.task import Task
from graft.data.load import load
from graft.nn.encoders import MLP

QUICK = {"epochs": 12, "batch_size": 32, "lr": 5e-3}


def bars(shift: float = 0.0, *, rows: int = 96, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (n, 8, 8) uint8 of upright (0) and lying (1) bars; ``shift`` makes them paler on a brighter ground."""
    rng = np.random.default_rng(seed)
    y = np.arange(rows) % 2
    pictures = np.zeros((rows, 8, 8))
    for row, place in enumerate(rng.integers(2, 6, rows)):
        pictures[row, :, place] = 1.0
        if y[row]:
            pictures[row] = pictures[row].T
    noisy = pictures + 0.05 * rng.standard_normal(pictures.shape)
    return (255 * (shift + (1 - 1.5 * shift) * noisy)).clip(0, 255).astype(np.uint8), y


def picture_domains(shift: float = 0.4) -> tuple[Domains, np.ndarray]:
    """Bars, and paler ones on a brighter ground with their labels beside them."""
    source = load(bars(), task="classification")
    target, y = bars(shift, seed=1)
    return pair(source, load(target, labelled=False, like=source)), y


def seen(model, data) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (n, D) and logits (n, C) of a fitted adaptation."""
    backbone, head = model.backbone_.eval(), model.head_.module()
    with torch.no_grad():
        features = backbone(backbone.collate(backbone.preprocess(data.take()))).float()
        return features, head(features)


def fitted(name: str, domains: Domains, **settings):
    """An adaptation by name, trained for a few dozen steps."""
    return ADAPTATIONS[name](**(QUICK | settings)).fit(domains)


def accuracy(model, data, y: np.ndarray) -> float:
    """Share of rows whose class is predicted."""
    return float((model.outputs(data).argmax(1) == y).mean())


def learns(name: str, **settings) -> None:
    """Assert that a method learns points in the plane and, turned by 40 degrees, still tells them apart."""
    source, (target, y) = turned(0.0), turned(0.7, seed=1)
    labelled = load(source, task="classification")
    domains = pair(labelled, load(target, labelled=False, like=labelled))
    model = fitted(name, domains, **settings)
    assert accuracy(model, domains.target, y) > 0.9


def lowers(name: str, measure, **settings) -> None:
    """Assert that a method's term is lower on turned points after a training with it than after one without."""
    domains, _ = rotated()
    found = []
    for strength in (0.0, settings.pop("strength", 3.0)):
        model = fitted(name, domains, strength=strength, **settings)
        found.append(float(measure(*seen(model, domains.source), *seen(model, domains.target))))
    assert found[1] < 0.8 * found[0], found


def tiny(name: str, *, sources: int = 1, rates: bool = False, **settings):
    """The objective of a method over one layer of eight units, at the strength 2."""
    torch.manual_seed(0)
    body, head = MLP(5, width=8, depth=1, dropout=0.0), torch.nn.Linear(8, 2)
    groups = [{"params": [*body.parameters(), *head.parameters()], "lr": 0.1, "weight_decay": 0.0}] if rates else []
    given = Given(
        backbone=Tiny(body), head=head, width=8, task=Task("classification", "table", ("a", "b")), groups=groups,
        head_lr=1e-3, strength=2.0, augment=False, balance=None, sources=sources, targets=4,
        rows=lambda: [{"values": tiny_batch()["target.values"]}],
    )  # fmt: skip
    return ADAPTATIONS[name](**settings).objective(given)


class Tiny(torch.nn.Module):
    """The last layer of an encoder."""

    def __init__(self, body: torch.nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, batch: dict) -> torch.Tensor:
        return self.body.forward_features(batch)[-1]


def tiny_batch() -> dict:
    """Four source rows, of two domains, and four target rows."""
    X, y = turned(0.0, rows=8)
    values = torch.from_numpy(X).float()
    return {
        "source.values": values[:4], "target.values": values[4:], "y": torch.from_numpy(y[:4]),
        "origin": torch.tensor([0, 1, 0, 1]), "row": torch.arange(4), "target_y": torch.full((4,), -1),
    }  # fmt: skip
