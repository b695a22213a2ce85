"""Sounds that people have: every format, several rates and channels, and whatever can be wrong with a recording."""

import io

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from conftest import make_tones, save_tones

from graft.core import runtime
from graft.core.errors import DataError, MissingExtraError
from graft.core.registry import MODALITIES
from graft.core.types import Rows
from graft.data.audio import LONGEST, decode, examine, starts_like_sound
from graft.data.load import load, recipe, stream
from graft.data.recordings import AudioRows
from graft.data.spectrogram import RATE, Sound


def tone(pitch=440, rate=8000, seconds=0.3, level=0.3):
    return (level * np.sin(2 * np.pi * pitch * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def encoded(samples, rate=8000, form="WAV", **options):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=form, **options)
    return buffer.getvalue()


# -- decoding ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("form", "error"), [("WAV", 1e-4), ("FLAC", 1e-4), ("OGG", 0.05), ("MP3", 0.2)])
def test_every_format_is_read(form, error):
    samples = tone(rate=16_000, seconds=0.5)
    sound = decode(encoded(samples, 16_000, form))
    assert (sound.rate, sound.samples.dtype) == (16_000, np.float32)
    middle = slice(3000, 5000)
    if form != "MP3":  # which begins with a delay of its own
        np.testing.assert_allclose(sound.samples[middle], samples[middle], atol=error)
    assert abs(np.abs(sound.samples[middle]).max() - 0.3) < error
    assert examine(encoded(samples, 16_000, form)).form.startswith(form)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ALAW", "ULAW"])
def test_every_sample_format_of_wav_is_read(subtype):
    np.testing.assert_allclose(decode(encoded(tone(), subtype=subtype)).samples, tone(), atol=0.02)


def test_channels_are_averaged_and_high_rates_brought_down(tmp_path):
    both = np.stack([tone(440, 44_100), tone(880, 44_100)], axis=1)
    soundfile.write(tmp_path / "stereo.wav", both, 44_100)
    sound = decode(tmp_path / "stereo.wav")
    assert sound.rate == RATE
    expected = (tone(440, RATE) + tone(880, RATE)) / 2
    np.testing.assert_allclose(sound.samples[200:-200], expected[200 : len(sound.samples) - 200], atol=0.01)
    fact = examine(tmp_path / "stereo.wav")
    assert (fact.rate, fact.channels, round(fact.seconds, 2)) == (44_100, 2, 0.3)


def test_arrays_of_every_kind():
    samples = tone()
    for given in (samples, samples.astype(np.float64), samples[:, None], np.stack([samples, samples])):
        np.testing.assert_allclose(decode((given, 8000)).samples, samples, atol=1e-6)
    np.testing.assert_allclose(decode(((samples * 32768).astype(np.int16), 8000)).samples, samples, atol=1e-4)
    np.testing.assert_allclose(decode(((samples * 127 + 128).astype(np.uint8), 8000)).samples, samples, atol=0.02)
    np.testing.assert_array_equal(decode(Sound(samples, 8000)).samples, samples)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (None, "no sound"),
        (b"", "empty file"),
        (b"this is no sound at all, it is a text\n" * 20, "not a sound"),
        (encoded(tone())[:30], "not a sound"),
        (encoded(np.zeros(8000)), "silent: every sample is zero"),
        (encoded(np.stack([tone(), -tone()], axis=1), subtype="FLOAT"), "its channels cancel each other out"),
        (encoded(tone(seconds=0.01)), "too short: 0.010 s, one frame has 0.025 s"),
        (encoded(np.zeros(0)), "too short"),
        (encoded(tone()[1:2]), "too short: 0.000 s, one frame has 0.025 s"),
        ((tone()[1:2], 8000), "too short: 0.000 s"),
        (encoded(np.array([np.nan] * 8000), subtype="FLOAT"), "not finite"),
        ((np.zeros((4, 5, 6)), 8000), "an array of shape"),
        ((np.array(["a"]), 8000), "an array of shape"),
        ((tone(), 0), "0 is no rate"),
        (np.ones(8000), "without a rate"),
    ],
)
def test_what_cannot_be_used_says_why(source, reason):
    assert reason in examine(source).fault
    with pytest.raises(DataError, match=reason):
        decode(source)


def test_missing_and_damaged_files(tmp_path):
    assert examine(tmp_path / "no.wav").fault == "no such file"
    noise = np.random.default_rng(0).normal(scale=0.1, size=80_000)
    (tmp_path / "cut.flac").write_bytes(encoded(noise, form="FLAC")[:40_000])
    fact = examine(tmp_path / "cut.flac")  # either what is left is read, or the reason is given: never a crash
    assert fact.fault or 0 < fact.seconds < 10
    (tmp_path / "cut.wav").write_bytes(encoded(noise)[:40_000])
    assert 2 < examine(tmp_path / "cut.wav").seconds < 3


def test_files_need_soundfile_and_arrays_do_not(monkeypatch):
    def absent(module):
        raise ImportError(module)

    monkeypatch.setattr(runtime.importlib, "import_module", absent)
    with pytest.raises(MissingExtraError, match=r"soundfile.*graft-learn\[audio\]"):
        examine(b"RIFF")
    assert len(decode((tone(), 8000)).samples) == 2400


def test_a_recording_is_known_by_what_is_heard():
    samples = np.round(tone() * 32767) / 32768
    keys = [examine(encoded(samples, form=form)).key for form in ("WAV", "FLAC")]
    assert keys[0] == keys[1]
    assert examine(encoded(samples, 16_000)).key != keys[0]
    assert examine(encoded(samples[:-1])).key != keys[0]


def test_first_bytes_tell_sounds():
    assert all(starts_like_sound(encoded(tone(), 16_000, form)) for form in ("WAV", "FLAC", "OGG", "MP3"))
    assert not any(starts_like_sound(head) for head in (b"", b"\x89PNG\r\n", b"\xff\xd8\xff", b"text", b"RIFF1234WEBP"))


# -- storage and loading -----------------------------------------------------------------------------------------------


def test_storage_is_rows_and_decodes_one_at_a_time(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(), 8000)
    data = (tmp_path / "a.wav").read_bytes()
    binary = AudioRows(pa.chunked_array([pa.array([data], pa.large_binary())]))
    record = AudioRows(pa.chunked_array([pa.array([{"bytes": None, "path": "a.wav"}])]), tmp_path)
    assert isinstance(binary, Rows)
    assert binary.digest() == record.digest()
    some = record.take(np.array([0, 0, 0]))
    assert (len(some), len(some[1:]), len(list(some))) == (3, 2, 3)
    np.testing.assert_array_equal(some[-1].samples, binary.take(np.array([0]))[0].samples)
    with pytest.raises(IndexError):
        some[3]
    (tmp_path / "a.wav").unlink()
    with pytest.raises(DataError, match=r"unusable sound: no such file \[a\.wav\]"):
        some[0]


def test_a_folder_a_column_and_arrays_give_the_same_sounds(tmp_path):
    folder = save_tones(tmp_path / "sounds", 6)
    by_folder = load(folder)
    assert (by_folder.task.modality, by_folder.task.classes) == ("audio", ("high", "low"))
    paths = sorted(folder.rglob("*.wav"))
    rows = [f"{path.relative_to(tmp_path)},{path.parent.name}" for path in paths]
    (tmp_path / "list.csv").write_text("\n".join(["file,kind", *rows]))
    by_column = load(tmp_path / "list.csv", label="kind")
    assert by_column.columns == ("file",)
    assert "sounds are read from column 'file'" in by_column.notes
    arrays = load(([soundfile.read(path) for path in paths], [path.parent.name for path in paths]))
    for data in (by_column, arrays):
        assert data.task.modality == "audio"
        assert data.X.digest() == by_folder.X.digest()
        assert data.labels.tolist() == by_folder.labels.tolist()
    flat = load(folder / "low", labelled=False)
    assert (flat.task.modality, len(flat)) == ("audio", 3)


def test_encoded_sounds_of_a_table_and_of_datasets(tmp_path):
    records = [{"bytes": encoded(samples), "path": None} for samples, _ in make_tones(4)[0]]
    data = load(pa.table({"audio": records, "label": list("abab")}))
    assert (data.task.modality, data.columns) == ("audio", ("audio",))
    datasets = pytest.importorskip("datasets")
    paths = sorted(map(str, save_tones(tmp_path / "s", 4).rglob("*.wav")))
    frame = datasets.Dataset.from_dict({"audio": paths, "label": list("aabb")})
    made = load(frame.cast_column("audio", datasets.Audio()))
    assert (made.task.modality, len(made)) == ("audio", 4)


def spoil(folder):
    """Odd sounds of every kind; the names of those that cannot be used."""
    (folder / "zero.wav").write_bytes(b"")
    (folder / "text.wav").write_text("this is no sound")
    soundfile.write(folder / "silent.flac", np.zeros(4000), 8000)
    soundfile.write(folder / "short.wav", tone(seconds=0.01), 8000)
    soundfile.write(folder / "clipped.wav", np.clip(4 * tone(level=1), -1, 1), 8000)
    soundfile.write(folder / "other.ogg", tone(rate=22_050), 22_050)
    soundfile.write(folder / "long.wav", tone(seconds=LONGEST + 1), 8000)
    return {"zero.wav", "text.wav", "silent.flac", "short.wav"}


def test_odd_sounds_are_left_out_or_noted_by_name(tmp_path):
    folder = save_tones(tmp_path / "sounds", 10)
    unusable = spoil(folder / "low")
    data = load(folder)
    assert len(data) == 10 + 3
    notes = "\n".join(data.notes)
    assert "4 sound(s) left out: unusable sound (" in notes
    assert "several sampling rates, 8000 Hz (12), 22050 Hz (1): all are resampled to 8000 Hz" in notes
    assert notes.count("sampling rates") == 1
    assert "1 sound(s) longer than 30 s are cut there: long.wav" in notes
    assert "1 sound(s) are clipped, more than 0.1% of their samples are at full scale: clipped.wav" in notes
    long = next(sound for sound in data.take() if len(sound.samples) > 16_000)
    assert len(long.samples) == LONGEST * 8000
    chunks = list(stream(folder, recipe(data)))
    assert {reason.partition("(")[2].partition(":")[0] for chunk in chunks for _, reason in chunk.bad} == unusable
    assert sum(len(chunk.data) + len(chunk.bad) for chunk in chunks) == 17


def test_mostly_unusable_is_an_error(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for i in range(4):
        (tmp_path / "ab"[i % 2] / f"{i}.wav").write_text("no sound")
    with pytest.raises(DataError, match=r"4 of 4 rows cannot be used .*0\.wav: not a sound"):
        load(tmp_path)


def test_sounds_without_labels_and_for_other_models(tmp_path):
    folder = save_tones(tmp_path / "sounds", 4)
    with pytest.raises(DataError, match="the sounds have no labels"):
        load(folder / "low")
    texts = load((["a b", "c d"], ["x", "y"]))
    with pytest.raises(DataError, match="sounds cannot be read by a model of text"):
        list(stream(folder, texts))
    with pytest.raises(DataError, match="sounds cannot be read by a model of text"):
        load(folder, like=texts)
    pictures = load((np.zeros((4, 8, 8), np.uint8), list("abab")))
    with pytest.raises(DataError, match="sounds cannot be read by a model of image"):
        load(make_tones(4)[0], like=pictures, labelled=False)


def test_repeated_recordings_are_noted(tmp_path):
    folder = save_tones(tmp_path / "sounds", 6)
    samples, rate = soundfile.read(folder / "low" / "00.wav", dtype="int16")
    soundfile.write(folder / "high" / "again.flac", samples, rate)
    notes = "\n".join(load(folder).notes)
    assert "1 row(s) repeat an earlier row" in notes
    assert "different labels" in notes


# -- facts and one example ---------------------------------------------------------------------------------------------


def test_describe_and_walk(tmp_path):
    data = load(save_tones(tmp_path / "sounds", 6))
    facts = MODALITIES["audio"].describe(data)
    assert facts["seconds"] == {"min": 0.2, "median": 0.2, "max": 0.2, "total": 1.2}
    assert (facts["rates"], facts["channels"], facts["formats"]) == ({"8000 Hz": 6}, {"mono": 6}, {"WAV": 6})
    assert (facts["duplicates"], facts["clipped"], facts["rows"]) == (0, 0, 6)
    steps = dict(MODALITIES["audio"].walk(data, 0))
    assert steps["raw"] == "01.wav: 0.20 s, 8000 Hz, mono, WAV"
    assert steps["log-mel"].startswith("18 frames x 64 bands")
    assert steps["label"] == "high"
    assert 900 < float(steps["log-mel"].split()[-2]) < 1500  # a high tone
    assert list(steps)[-1] == "vector"
