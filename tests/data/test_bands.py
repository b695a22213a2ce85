"""Pictures of any number of channels: arrays, files of arrays, TIFF of several pages."""

import dataclasses
import io
import json

import numpy as np
import pytest
from PIL import Image

from graft.core.errors import DataError
from graft.core.registry import MODALITIES
from graft.data.bands import Bands, bands_of, channels_last, resized, shown, values_of
from graft.data.image import decode
from graft.data.load import load, recipe
from graft.data.pixels import ImageVectors
from graft.data.stream import stream

RNG = np.random.default_rng(0)


def stack(count=6, channels=5, dtype=np.uint16, top=4000):
    return RNG.integers(0, top, (count, 20, 24, channels)).astype(dtype)


def npy(values):
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue()


def tiff(*pages, **options):
    buffer = io.BytesIO()
    first, *rest = [page if isinstance(page, Image.Image) else Image.fromarray(page) for page in pages]
    first.save(buffer, "TIFF", save_all=bool(rest), append_images=rest, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ((7, 9), (7, 9, 1)),
        ((20, 24, 5), (20, 24, 5)),
        ((5, 20, 24), (20, 24, 5)),
        ((9, 9, 103), (9, 9, 103)),
        ((103, 9, 9), (9, 9, 103)),
        ((4, 4, 4), (4, 4, 4)),
    ],
)
def test_the_axis_of_channels_is_found(shape, wanted):
    assert channels_last(np.zeros(shape)).shape == wanted


@pytest.mark.parametrize("values", [np.zeros(3), np.zeros((2, 2, 2, 2)), np.zeros((0, 3, 3)), np.array([["a"]])])
def test_what_is_no_picture_is_refused(values):
    with pytest.raises(DataError, match="is no picture"):
        channels_last(values)


def test_usual_pictures_have_no_bands():
    rgb = RNG.integers(0, 256, (8, 9, 3), np.uint8)
    for usual in (
        rgb,
        rgb[..., 0],
        rgb / 255,
        np.dstack([rgb, rgb[..., :1]]),
        tiff(rgb),
        tiff(rgb, rgb),
        None,
        b"",
        npy(rgb),
    ):
        assert bands_of(usual) is None
    np.testing.assert_array_equal(decode(npy(rgb)), rgb)
    assert load([rgb, rgb[:, :5]], labelled=False).X.kinds == {}


def test_grey_pages_are_channels_and_what_pillow_cannot_read_is_named():
    pages = RNG.integers(0, 4000, (3, 8, 9)).astype(np.uint16)
    np.testing.assert_array_equal(bands_of(tiff(*pages)), pages.transpose(1, 2, 0))
    np.testing.assert_array_equal(decode(tiff(pages[0])), decode(Image.fromarray(pages[0])))  # one page: as ever
    assert bands_of(tiff(pages[0], pages[1, :4])) is None  # a small copy behind the picture
    whole = bytearray(tiff(np.zeros((4, 4, 3), np.uint8)))
    where = whole.find(b"\x15\x01\x03\x00")  # the tag of samples per pixel
    whole[where + 8] = 7
    with pytest.raises(DataError, match=r"a TIFF with 7 samples of 8 bits, which Pillow cannot read: save it as \.npy"):
        bands_of(bytes(whole))


def test_ranges_hold_all_but_the_rarest_values_and_travel_with_the_recipe():
    X = stack()
    X[0, 0, 0] = 65535  # a hot pixel
    bands = Bands.of(X)
    assert bands.channels == 5
    assert 3900 < min(bands.high) <= max(bands.high) <= 4000
    read = bands.read(X[1])
    expected = (X[1] - np.float32(bands.low)) / (np.float32(bands.high) - np.float32(bands.low)) * 255
    np.testing.assert_allclose(read, expected.clip(0, 255), atol=0.51)
    assert Bands.from_kinds(json.loads(json.dumps(bands.kinds()))) == bands
    gaps = X[1].astype(np.float32)
    gaps[0, 0] = np.nan
    gaps[0, 1] = np.inf
    assert bands.read(gaps)[0, :2].tolist() == [[0] * 5, [255] * 5]
    assert Bands.of(X.astype(np.uint8)).high == (255.0,) * 5  # 8 bits have a range of their own


@pytest.mark.parametrize("form", ["last", "first", "files", "npz", "tiff"])
def test_every_form_is_loaded_alike(tmp_path, form):
    X, y = stack(), np.array(["a", "b"] * 3)
    for name in "ab":
        (tmp_path / name).mkdir()
    for place, (picture, label) in enumerate(zip(X, y, strict=True)):
        path = tmp_path / label / f"{place}"
        if form == "files":
            path.with_suffix(".npy").write_bytes(npy(picture.transpose(2, 0, 1)))
        elif form == "npz":
            np.savez_compressed(path.with_suffix(".npz"), picture)
        elif form == "tiff":
            path.with_suffix(".tif").write_bytes(tiff(*picture.transpose(2, 0, 1)))
    source = {"last": (X, y), "first": (X.transpose(0, 3, 1, 2), y)}.get(form, tmp_path)
    data = load(source)
    order = np.argsort(y, kind="stable") if isinstance(source, type(tmp_path)) else np.arange(6)
    bands = Bands.of(X[order])
    assert data.X.channels == 5
    for row, picture in zip(data.take(), X[order], strict=True):
        np.testing.assert_array_equal(row, bands.read(picture))
    assert any("5 channel(s)" in note for note in data.notes)
    facts = MODALITIES["image"].describe(data)
    assert facts["modes"] == {"5 channels, uint16": 6}
    assert "20 px" in dict(MODALITIES["image"].walk(data, 0))["raw"].replace("24 x 20", "20")
    assert load(source, like=data).X.digest() == data.X.digest()
    with_other = dataclasses.replace(data.X.bands, high=(9.0,) * 5)
    assert with_other.kinds() != data.X.kinds


def test_another_number_of_channels_is_one_line():
    X = [*stack(5), *stack(1, 2)]
    y = list("ababab")
    with pytest.raises(DataError, match=r"2 channels, 5 are read.*row 6.*equally many"):
        load((X, y))
    kept = load((X, y), bad_rows="drop")
    assert len(kept) == 5
    with pytest.raises(DataError, match="7 channels, 5 are read"):
        load(stack(1, 7), labelled=False, like=recipe(kept))
    (chunk,) = stream([stack(1)[0], stack(1, 3, np.uint8, 255)[0]], kept)
    assert (len(chunk.data), chunk.bad) == (1, [(1, "unreadable image (3 channels, 5 are read)")])
    rgb = load((stack(4, 3, np.uint8, 255), list("abab")))
    (chunk,) = stream(list(stack(1)), rgb)
    assert "5 channels, 1 or 3 are read" in chunk.bad[0][1]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\x93NUMPY nothing", "not a whole array file"),
        (npy(np.zeros((2, 2)))[:-8], "not a whole array file"),
        (b"PK\x03\x04", "not a whole"),
    ],
)
def test_damaged_files_say_why(tmp_path, content, reason):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(DataError, match=reason):
        values_of(tmp_path / "a.npy")
    np.savez(tmp_path / "b.npz", np.zeros((2, 2)), np.zeros((2, 2)))
    with pytest.raises(DataError, match="it holds 2 arrays"):
        values_of(tmp_path / "b.npz")
    with pytest.raises(DataError, match="no such file"):
        values_of(tmp_path / "c.npy")


def test_the_classical_vector_has_every_channel():
    data = load((stack(8, 2), list("abababab")))
    vectors = ImageVectors().fit(data)
    values = vectors.transform(data)
    assert values.shape == (8, len(vectors.names()))
    assert values.shape[1] == vectors._width()
    state, arrays = vectors.state()
    again = ImageVectors.from_state(json.loads(json.dumps(state)), arrays)
    np.testing.assert_array_equal(again.transform(data), values)
    assert "2 channels" in vectors.words()
    shares = values[:, -16:] ** 2
    np.testing.assert_allclose(shares.reshape(8, 2, 8).sum(2), 1, rtol=1e-5)
    wide = ImageVectors().fit(load((stack(4, 100), list("abab"))))
    assert wide._width() < 10_000


def test_channels_are_resized_one_by_one_and_three_are_shown():
    picture = RNG.integers(0, 256, (8, 10, 5), np.uint8)
    small = resized(picture, (5, 4), Image.Resampling.BILINEAR)
    colours = np.asarray(Image.fromarray(picture[..., :3].copy()).resize((5, 4), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(small[..., :3], colours)
    np.testing.assert_array_equal(shown(picture), picture[..., :3])
    assert (shown(picture[..., :2]) == picture[..., :1]).all()
