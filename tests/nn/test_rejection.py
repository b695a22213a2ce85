import numpy as np
import pytest

from graft.core.errors import UsageError
from graft.nn.rejection import background_threshold, mixture_threshold


@pytest.mark.parametrize(("rows", "rate"), [(19, 0.1), (50, 0.05), (200, 0.2)])
def test_the_background_error_holds_for_new_rows(rows, rate):
    rng = np.random.default_rng(0)
    wrong = [
        np.mean(rng.normal(size=200) >= background_threshold(rng.normal(size=rows), rate).threshold) for _ in range(300)
    ]
    assert rate - 0.04 < np.mean(wrong) < rate + 0.01


def test_too_small_a_background_is_refused():
    with pytest.raises(UsageError, match="give 99 or more"):
        background_threshold(np.zeros(20), 0.01)


def test_a_mixture_finds_the_lower_group_and_its_quantile():
    rng = np.random.default_rng(0)
    found = mixture_threshold(np.concatenate([rng.normal(0, 1, 300), rng.normal(6, 1, 700)]), 0.05)
    assert found.threshold == pytest.approx(1.645, abs=0.3)
    assert found.lost < 0.01
    assert found.how == "mixture"


@pytest.mark.parametrize("scores", [np.random.default_rng(1).normal(size=500), np.ones(500), np.arange(5.0)])
def test_one_group_has_no_threshold(scores):
    assert mixture_threshold(scores, 0.05) is None
