"""How like real pictures drawn ones are."""

import numpy as np
import pytest
from pretrain.picture_sets import crosses, stripes
from scipy.linalg import sqrtm

from graft.pretrain.fidelity import (
    FixedFeatures,
    faults,
    frechet,
    gaussian_pictures,
    moments,
    nearest,
    spread,
)


def gaussian(seed, d=4):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(d, d))
    return rng.normal(size=d), root @ root.T


def test_the_distance_is_that_of_the_formula():
    one, two = gaussian(0), gaussian(1)
    root = sqrtm(one[1] @ two[1]).real
    expected = np.square(one[0] - two[0]).sum() + np.trace(one[1] + two[1] - 2 * root)
    assert frechet(one, two) == pytest.approx(expected)
    assert frechet(two, one) == pytest.approx(expected)
    assert frechet(one, one) == pytest.approx(0, abs=1e-6)


def test_axes_that_do_not_vary_do_no_harm():
    flat = np.zeros(3), np.diag([1.0, 0.0, 0.0])
    assert frechet(flat, (np.ones(3), np.zeros((3, 3)))) == pytest.approx(3 + 1)


def test_moments_of_weights_are_those_of_repeated_rows():
    values = np.random.default_rng(0).normal(size=(6, 3))
    weight = np.array([1, 0, 2, 0, 3, 1])
    mean, covariance = moments(values, weight)
    rows = np.repeat(values, weight, axis=0)
    assert np.allclose(mean, rows.mean(axis=0))
    assert np.allclose(covariance, np.cov(rows.T, bias=True))


def test_spread_is_the_distance_of_two_rows():
    values = np.random.default_rng(0).normal(size=(40, 3))
    square = ((values[:, None] - values[None]) ** 2).sum(-1)
    assert spread(values) == pytest.approx(np.sqrt(square.mean()))


def test_nearest_rows():
    places, far = nearest(np.array([[0.0], [9.0]]), np.array([[8.0], [1.0], [2.0]]), 2)
    assert places.tolist() == [[1, 2], [0, 2]]
    assert np.allclose(far, [[1, 2], [1, 7]])


def test_drawn_gaussians_have_mean_and_covariance_of_the_pixels():
    pictures = 128 + 20 * np.random.default_rng(0).normal(size=(300, 2, 2, 1))
    pictures[:, 0, 1] = pictures[:, 0, 0]
    drawn = gaussian_pictures(pictures, 20_000, np.random.default_rng(1)).reshape(-1, 4).astype(float)
    rows = pictures.reshape(-1, 4)
    assert np.allclose(drawn.mean(axis=0), rows.mean(axis=0), atol=1)
    assert np.allclose(np.cov(drawn.T), np.cov(rows.T), atol=20)


@pytest.fixture(scope="module")
def look():
    return FixedFeatures(crosses(300)[0], 16)


def test_the_ruler_is_the_same_in_every_run(look):
    again = FixedFeatures(crosses(300)[0], 16)
    pictures = stripes(20)[0]
    assert np.array_equal(look(pictures), again(pictures))
    assert look(pictures).shape == (20, 16)


def test_other_pictures_are_far_and_the_same_kind_is_near(look):
    real, same, other = (look(made) for made in (crosses(200, seed=1)[0], crosses(200, seed=2)[0], stripes(200)[0]))
    near = frechet(moments(same), moments(real)) / look.variance
    far = frechet(moments(other), moments(real)) / look.variance
    assert near < 0.1
    assert far > 0.3


def test_faults_are_found_and_real_pictures_have_none(look):
    pictures = crosses(200, seed=1)[0]
    real, train = look(pictures), look(crosses(300)[0])
    assert faults(look(crosses(200, seed=2)[0]), real, train) == []
    rng = np.random.default_rng(0)
    noise = lambda rows: (rows + rng.normal(size=rows.shape)).clip(0, 255).astype(np.uint8)  # noqa: E731
    one = look(noise(np.repeat(pictures[:1], 200, axis=0)))
    few = look(noise(np.repeat(pictures[:5], 40, axis=0)))
    heart = look(crosses(300)[0][:200])
    assert [text.split(":")[0] for text in faults(one, real, train)] == ["The generator has collapsed"]
    assert any(text.startswith("The generator repeats itself") for text in faults(few, real, train))
    assert [text.split(":")[0] for text in faults(heart, real, train)] == [
        "The generator has learned pictures by heart"
    ]
