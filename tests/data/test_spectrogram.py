"""Log-mel spectrograms against what is known of sines, silence and rates."""

import numpy as np
import pytest
from conftest import make_tones

from graft.data import spectrogram
from graft.data.load import load
from graft.data.spectrogram import BANDS, PARTS, RATE, AudioVectors, Sound, as_picture, centres, log_mel, mel, mel_bank


def sine(pitch, rate=8000, seconds=0.5):
    return np.sin(2 * np.pi * pitch * np.arange(int(seconds * rate)) / rate).astype(np.float32)


@pytest.mark.parametrize("rate", [4000, 8000, 16_000])
@pytest.mark.parametrize("band", [20, 40, 60])
def test_a_sine_peaks_in_its_band_and_its_bands_add_up_to_no_decibels(rate, band):
    pitch = centres(rate)[1 + band]
    spectrum = log_mel(sine(pitch, rate), rate).mean(axis=0)
    assert spectrum.argmax() == band
    assert abs(10 * np.log10((10 ** (spectrum / 10)).sum())) < 0.1
    assert spectrum[(band + 32) % BANDS] < spectrum[band] - 40


def test_halving_the_amplitude_takes_six_decibels_and_silence_is_the_floor():
    loud = log_mel(sine(1000), 8000)
    quiet = log_mel(sine(1000) / 2, 8000)
    peak = loud.mean(axis=0).argmax()
    np.testing.assert_allclose((loud - quiet)[:, peak], 20 * np.log10(2), atol=0.01)
    np.testing.assert_allclose(log_mel(np.zeros(8000), 8000), 10 * np.log10(spectrogram.FLOOR))


def test_frames_are_counted_in_time():
    for seconds in (0.025, 0.1, 1.0):
        expected = 1 + int((seconds - spectrogram.WINDOW) / spectrogram.HOP + 1e-9)
        assert len(log_mel(sine(500, seconds=seconds), 8000)) == expected
    assert log_mel(np.ones(3), 8000).shape == (1, BANDS)


def test_the_bank_covers_all_frequencies_evenly_in_mel():
    for rate in (1000, 8000, RATE):
        bank, middles = mel_bank(rate), centres(rate)
        assert (bank.sum(axis=1) > 0).all()  # no band is empty
        inside = (np.fft.rfftfreq(1024, 1 / rate) >= middles[1]) & (np.fft.rfftfreq(1024, 1 / rate) <= middles[-2])
        np.testing.assert_allclose(bank.sum(axis=0)[inside], 1, atol=1e-5)  # neighbouring triangles add up to one
        np.testing.assert_allclose(np.diff(mel(middles)), mel(rate / 2) / (BANDS + 1), rtol=1e-6)
    assert mel(0) == 0
    assert abs(mel(1000) - 1000) < 1


def test_resampling_keeps_a_tone():
    low = spectrogram.resampled(Sound(sine(440, 44_100), 44_100), 8000)
    assert (low.dtype, len(low)) == (np.float32, 4000)
    np.testing.assert_allclose(low[200:-200], sine(440)[200:-200], atol=0.01)
    same = Sound(sine(440), 8000)
    assert spectrogram.resampled(same, 8000) is same.samples
    beyond = spectrogram.resampled(
        Sound(sine(7000, 44_100), 44_100), 8000
    )  # above half of the new rate: it must not fold back
    assert np.abs(beyond[200:-200]).max() < 0.01


def test_statistics_say_where_and_how_fast_a_sound_changes():
    rising = np.linspace(0, 79, 80)[:, None] * np.ones(2)
    numbers = spectrogram.statistics(rising).reshape(PARTS + 3, 2)
    np.testing.assert_allclose(numbers[:PARTS, 0], np.arange(PARTS) * 10 + 4.5)
    np.testing.assert_allclose(numbers[PARTS:, 0], [rising[:, 0].std(), 79 / 80, np.diff([0, *rising[:, 0]]).std()])
    assert spectrogram.statistics(rising[:1]).shape == ((PARTS + 3) * 2,)  # one frame is enough
    assert np.isfinite(spectrogram.statistics(rising[:3])).all()


def test_vectors_round_trip_and_row_order():
    data = load(make_tones(8))
    vectors = AudioVectors().fit(data)
    whole = vectors.transform(data)
    assert (whole.dtype, whole.shape, vectors.rate) == (np.float32, (8, (PARTS + 3) * BANDS), 8000)
    np.testing.assert_array_equal(AudioVectors.from_state(*vectors.state()).transform(data), whole)
    order = np.random.default_rng(0).permutation(8)
    np.testing.assert_array_equal(vectors.transform(data.select(order)), whole[order])
    assert vectors.transform(data.select(np.arange(0))).shape == (0, whole.shape[1])


def test_a_rate_of_its_own_changes_little():
    """The same tone at two rates has the same spectrum below half of the lower one."""
    vectors = AudioVectors()
    vectors.rate = 8000
    one, two = (vectors.transform(load([(sine(1000, rate), rate)], labelled=False))[0] for rate in (8000, 16_000))
    loud = one[: PARTS * BANDS] > -40
    np.testing.assert_allclose(one[: PARTS * BANDS][loud], two[: PARTS * BANDS][loud], atol=1.5)


def test_pictures_stand_upright():
    values = np.zeros((5, 3))
    values[4, 0] = 1  # the last frame, the lowest band
    picture = as_picture(values, 0, 1)
    assert (picture.shape, picture.dtype) == ((3, 5), np.uint8)
    assert picture[2, 4] == 255
    assert picture.sum() == 255
