import io
import warnings

import numpy as np
import pytest
from PIL import Image

from graft.core.errors import DataError
from graft.core.registry import MODALITIES
from graft.data.image import SHORTEST, decode, fault
from graft.data.load import load
from graft.data.pixels import SIDE, ImageVectors, colours, gradients, small


def encoded(image, form="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def grey(level, mode="L", size=(4, 3)):
    return Image.new(mode, size, level)


@pytest.mark.parametrize(
    ("image", "form", "expected"),
    [
        (grey(100), "PNG", (100, 100, 100)),
        (grey(1, "1"), "PNG", (255, 255, 255)),
        (grey(30_000, "I;16"), "PNG", (117, 117, 117)),
        (grey((10, 20, 30)[0], "L").convert("P"), "GIF", (10, 10, 10)),
        (grey((10, 20, 30, 255), "RGBA"), "PNG", (10, 20, 30)),
        (grey((10, 20, 30, 0), "RGBA"), "PNG", (255, 255, 255)),
        (grey((100, 0), "LA"), "PNG", (255, 255, 255)),
        (grey((0, 0, 0, 0), "CMYK"), "TIFF", (255, 255, 255)),
        (grey(0.5, "F"), "TIFF", (128, 128, 128)),
        (grey((10, 20, 30), "RGB", (1, 1)), "BMP", (10, 20, 30)),
    ],
)
def test_every_mode_becomes_rgb(image, form, expected):
    data = encoded(image, form)
    pixels = decode(data)
    assert (pixels.dtype, pixels.shape) == (np.uint8, (image.height, image.width, 3))
    assert tuple(pixels[0, 0].tolist()) == expected
    assert fault(data) == ""


def test_palette_with_transparency_lies_on_white():
    image = Image.new("P", (2, 1), 0)
    image.putpalette([9, 9, 9, 200, 0, 0])
    image.putpixel((1, 0), 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels = decode(encoded(image, "PNG", transparency=0))
    assert pixels[0].tolist() == [[255, 255, 255], [200, 0, 0]]


def test_the_first_frame_of_an_animation_counts():
    frames = [Image.new("RGB", (5, 5), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(data)[0, 0].tolist() == [255, 0, 0]


def test_exif_rotation_is_applied():
    image = Image.new("RGB", (4, 2), "white")
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(encoded(image, "PNG", exif=exif)).shape == (4, 2, 3)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_twenty_megapixels_are_reduced(form):
    pixels = decode(encoded(Image.new("RGB", (5472, 3648), (10, 200, 30)), form))
    assert SHORTEST <= min(pixels.shape[:2]) < 2 * SHORTEST
    np.testing.assert_allclose(pixels[100, 100], (10, 200, 30), atol=4)


@pytest.mark.parametrize(
    ("data", "reason"), [(b"", "empty file"), (b"hello", "not an image"), ("cut", "truncated"), (None, "no image")]
)
def test_broken_images_say_why(data, reason, picture):
    data = encoded(picture(size=(60, 60)), "JPEG")[:900] if data == "cut" else data
    assert reason in fault(data)
    assert fault(data)
    with pytest.raises(DataError, match=reason):
        decode(data)


def test_a_missing_file_is_said(tmp_path):
    assert fault(tmp_path / "no.png") == "no such file"


def test_arrays_of_every_layout():
    values = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    np.testing.assert_array_equal(decode(values), values)
    np.testing.assert_array_equal(decode(values / 255), values)
    wide = np.arange(90, dtype=np.uint8).reshape(5, 6, 3)
    np.testing.assert_array_equal(decode(wide.transpose(2, 0, 1)), wide)
    with pytest.raises(DataError, match="no image"):
        decode(np.zeros((2, 3, 7, 7)))


def test_vectors_see_edges_and_colours():
    image = np.zeros((1, 32, 32), np.float32)
    image[:, :, 16:] = 1
    turned = image.transpose(0, 2, 1)
    assert not np.allclose(gradients(image), gradients(turned))
    np.testing.assert_allclose(gradients(image * 0), 0)
    shares = colours(np.stack([np.zeros((4, 4, 3)), np.ones((4, 4, 3))]).astype(np.float32))
    assert (shares[0, 0], shares[1, -1]) == (1, 1)
    np.testing.assert_allclose((shares**2).sum(1), 1)
    assert small(np.full((50, 70, 3), 255, np.uint8), 32).min() == 1


def test_vector_state_round_trip_and_row_order(folder):
    data = load(folder)
    vectors = MODALITIES["image"].vectors().fit(data)
    whole = vectors.transform(data)
    again = ImageVectors.from_state(*vectors.state())
    np.testing.assert_array_equal(again.transform(data), whole)
    order = np.random.default_rng(0).permutation(len(data))
    np.testing.assert_array_equal(vectors.transform(data.select(order)), whole[order])
    assert vectors.transform(data.select(np.arange(0))).shape == (0, whole.shape[1])
    assert vectors.side == 16 < SIDE


def test_describe_and_walk(folder):
    data = load(folder)
    facts = MODALITIES["image"].describe(data)
    assert (facts["rows"], facts["shorter"]["median"], facts["longer"]["max"]) == (8, 10, 12)
    assert (facts["modes"], facts["formats"], facts["duplicates"]) == ({"RGB": 8}, {"PNG": 8}, 0)
    steps = dict(MODALITIES["image"].walk(data, 0))
    assert "0.png: 12 x 10 px, RGB, PNG" in steps["raw"]
    assert steps["label"] == "cat"
