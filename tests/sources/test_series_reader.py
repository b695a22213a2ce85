"""Series as steps for networks: level and shape, gaps, masks, long ones averaged, and channels that must agree."""

import numpy as np
import pytest

from graft.core.errors import SourceError
from graft.data.load import load
from graft.sources import series
from graft.sources.native import build_backbone
from graft.sources.series import SeriesReader
from graft.testing import check_source

RNG = np.random.default_rng(0)
ROWS = [RNG.normal(2, 3, (int(steps), 2)).astype(np.float32) for steps in (9, 20, 33, 14)]


def data():
    return load((ROWS, ["a", "b", "a", "b"]), modality="series")


def test_every_channel_is_scaled_by_all_series_and_by_its_own():
    reader = SeriesReader.of(data())
    whole = np.concatenate(ROWS)
    np.testing.assert_allclose(reader.mean[:2], whole.mean(axis=0), rtol=1e-5)
    got = reader.encode(ROWS)[1]
    np.testing.assert_allclose(got[:, :2], (ROWS[1] - whole.mean(axis=0)) / whole.std(axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(got[:, 2:].mean(axis=0), 0, atol=1e-6)
    batch = reader.collate(reader.encode(ROWS))
    assert batch["frames"].shape == (4, 40, 4)
    assert batch["attention_mask"].sum(1).tolist() == [9, 20, 33, 14]


def test_long_series_are_averaged(monkeypatch):
    monkeypatch.setattr(series, "MOST_STEPS", 16)
    reader = SeriesReader.of(data())
    assert reader.step == 2
    assert [len(row) for row in reader.encode(ROWS)] == [5, 10, 17, 7]


def test_a_network_over_series_keeps_the_contract():
    check_source(build_backbone(data()), ROWS)


def test_other_channels_are_refused():
    reader = SeriesReader.of(data())
    with pytest.raises(SourceError, match=r"reads series of 2 channel\(s\), these have 3; make one"):
        reader.encode([np.ones((4, 3), np.float32)])
    assert not reader.coverage([np.ones((4, 3), np.float32)]).ok
