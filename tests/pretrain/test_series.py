"""Pretraining over time series beats what knows nothing, and gives a source that fits other series."""

import numpy as np
import pytest

from graft.core.errors import UsageError
from graft.core.registry import OBJECTIVES
from graft.data.load import load
from graft.sources.base import open_model
from graft.testing import toy_data
from graft.transfer.probe import Probe

RNG = np.random.default_rng(0)
TIME = np.arange(48)
WAVES = [
    np.stack([np.sin(pitch * TIME[: 30 + i % 18] + 1), 3 + np.cos(pitch * TIME[: 30 + i % 18])], 1)
    for i, pitch in enumerate(RNG.uniform(0.2, 0.6, 60))
]


@pytest.mark.parametrize(("objective", "encoder"), [("masked-series", "cnn"), ("next-series", "gru")])
def test_it_learns_how_waves_go_on(objective, encoder, tmp_path):
    data = load(WAVES, modality="series", labelled=False)
    made = OBJECTIVES[objective](encoder=encoder, size="tiny", epochs=12, lr=3e-3).fit(data)
    score = made.record_["scores"]
    assert len(score) == 1
    simple = score[0]["baselines"]["mean of the band" if objective == "masked-series" else "mean frame"]
    assert score[0]["value"] < simple
    assert made.record_["data"]["channels"] == 2
    assert made.record_["samples"][0]["picture"].startswith("data:image/")
    made.save(tmp_path / "source")
    backbone = open_model(f"file:{tmp_path / 'source'}")
    assert backbone.spec.modality == "series"


def test_a_source_of_series_is_probed(tmp_path):
    data = toy_data("series")
    made = OBJECTIVES["masked-series"](encoder="cnn", size="tiny", epochs=1).fit(data)
    fitted = Probe(f"file:{made.save(tmp_path / 'source')}").fit(data)
    assert np.mean(fitted.predict(data) == data.labels) > 0.8
    with pytest.raises(UsageError, match="has no option --length"):
        OBJECTIVES["next-series"](length=16).fit(data)
