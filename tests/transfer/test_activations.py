import dataclasses

import numpy as np
import pytest
import torch
from conftest import make_pictures, make_texts

from graft.core.errors import BudgetError
from graft.core.runtime import Clock
from graft.core.store import Store
from graft.data.load import load
from graft.sources.base import open_model
from graft.sources.prefix import PREFIX, UpperPart
from graft.transfer import activations
from graft.transfer.activations import lower_activations
from graft.transfer.base import Setting
from graft.transfer.finetune import Finetune


@pytest.fixture
def texts():
    return load(make_texts(48))


@pytest.fixture
def passes(monkeypatch):
    """Rows of every pass of lower blocks."""
    seen, real = [], UpperPart.lower

    def lower(self, batch):
        seen.append(len(next(iter(batch.values()))))
        return real(self, batch)

    monkeypatch.setattr(UpperPart, "lower", lower)
    return seen


def attached(found, backbone, data, rows):
    batch = backbone.collate(backbone.preprocess(data.take(np.asarray(rows))))
    found.attach(data.rows[rows], batch)
    return batch


@pytest.mark.parametrize("kind", ["text", "image"])
@pytest.mark.parametrize("cached", [True, False])
def test_rows_get_their_own_activations_in_any_order(tiny_bert, tiny_vit, tmp_path, kind, cached):
    data = load(make_texts(30) if kind == "text" else make_pictures(12))
    data = data.select(np.arange(len(data))[::-1][:9])
    backbone = open_model(f"hf:{tiny_bert if kind == 'text' else tiny_vit}")
    found = lower_activations(backbone, data, 1, Setting(store=Store(tmp_path) if cached else None))
    batch = attached(found, backbone, data, [7, 0, 3])
    with torch.no_grad():
        assert torch.allclose(found.upper(batch), backbone({k: v for k, v in batch.items() if k != PREFIX}), atol=0.05)
        whole = found.upper.lower({k: v for k, v in batch.items() if k != PREFIX})
    mask = batch["attention_mask"].bool() if kind == "text" else torch.ones(3, dtype=torch.bool)
    assert torch.allclose(batch[PREFIX][mask], whole[mask], rtol=0.02, atol=0.02)


def test_training_reads_the_lower_blocks_once(tiny_bert, texts, passes):
    Finetune(f"hf:{tiny_bert}", blocks=1, epochs=5, batch_size=8).fit(texts)
    assert sum(passes) <= len(texts) + 3 * activations.CHECKED


def test_it_learns_what_it_learns_without(tiny_bert, texts, monkeypatch):
    make = lambda: Finetune(f"hf:{tiny_bert}", blocks=1, epochs=5, batch_size=8, lr=1e-3)  # noqa: E731
    with_cache = make().fit(texts).outputs(texts)
    monkeypatch.setattr(Finetune, "_lower", lambda *_: None)
    assert np.abs(with_cache - make().fit(texts).outputs(texts)).max() < 0.05


def test_another_fold_finds_them(tiny_bert, texts, tmp_path, passes):
    setting = Setting(store=Store(tmp_path))
    for rows in (np.arange(40), np.arange(8, 48)):
        Finetune(f"hf:{tiny_bert}", blocks=1, epochs=5, batch_size=8).fit(texts.select(rows), setting=setting)
    assert sum(passes) <= len(texts) + 6 * activations.CHECKED
    whole = Finetune(f"hf:{tiny_bert}", blocks=1, epochs=5, batch_size=8).fit(texts.select(np.arange(40)))
    again = Finetune(f"hf:{tiny_bert}", blocks=1, epochs=5, batch_size=8)
    again.fit(texts.select(np.arange(40)), setting=setting)
    assert np.allclose(whole.outputs(texts), again.outputs(texts), atol=0.02)


@pytest.mark.parametrize(
    "options", [{"blocks": None}, {"dropout": 0.1}, {"mixup": 0.2}, {"epochs": 1}, {"gradual": 0.5}], ids=str
)
def test_without_gain_or_where_rows_change_there_are_none(tiny_bert, texts, passes, options):
    Finetune(f"hf:{tiny_bert}", **{"blocks": 1, "epochs": 3, "batch_size": 8} | options).fit(texts)
    assert not passes


def test_too_large_is_left(tiny_bert, texts, monkeypatch):
    monkeypatch.setattr(activations, "MOST", 10)
    assert lower_activations(open_model(f"hf:{tiny_bert}"), texts, 1, Setting()) is None


def test_the_clock_is_obeyed(tiny_bert, texts):
    late = Setting(clock=Clock(0.0))
    with pytest.raises(BudgetError, match="no time left"):
        lower_activations(open_model(f"hf:{tiny_bert}"), texts, 1, late)
    tuned = Finetune(f"hf:{tiny_bert}", blocks=1, epochs=9).fit(texts, setting=dataclasses.replace(late))
    assert tuned.stopped_
