"""How pictures become pixels: sizes, filters and channels in closed form."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image

from graft.core.errors import DataError
from graft.sources.pictures import PictureReader, around, center, keep_statistics


@pytest.mark.parametrize(("shape", "size"), [((40, 80, 3), (10, 20)), ((80, 40, 3), (20, 10)), ((31, 30, 3), (10, 10))])
def test_the_shorter_side_decides(shape, size):
    assert around(np.zeros(shape, np.uint8), 10) == size


def test_the_middle_is_kept_and_what_is_missing_is_black():
    picture = np.arange(1, 26, dtype=np.uint8).reshape(5, 5, 1)
    assert center(picture, 3, 1)[..., 0].tolist() == [[8], [13], [18]]
    padded = center(picture, 7, 5)
    assert padded.shape == (7, 5, 1)
    assert (padded[0].max(), padded[6].max(), padded[1, 0, 0]) == (0, 0, 1)


def test_a_picture_of_the_size_is_left_alone():
    picture = np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8)
    pixels = PictureReader(8, 6).collate(PictureReader(8, 6).encode([picture]))["pixel_values"]
    assert torch.equal(pixels[0], torch.from_numpy(picture).permute(2, 0, 1).float())


def test_the_crop_is_the_middle_of_a_larger_picture():
    picture = np.random.default_rng(0).integers(0, 256, (32, 64, 3), dtype=np.uint8)
    reader = PictureReader(8, 8, resample=3, crop=0.5)
    whole = np.asarray(Image.fromarray(picture).resize((32, 16), resample=3))
    assert np.array_equal(reader.encode([picture])[0], whole[4:12, 12:20])


def test_shades_of_grey_and_order_of_channels():
    picture = np.full((4, 4, 3), [10, 20, 30], dtype=np.uint8)
    grey = PictureReader(4, 4, channels=1).encode([picture])[0]
    assert grey.shape == (4, 4, 1)
    assert grey[0, 0, 0] == round(0.299 * 10 + 0.587 * 20 + 0.114 * 30)
    reader = PictureReader(4, 4, mean=(1.0, 2.0, 3.0), std=(2.0,), blue_first=True)
    assert reader.collate(reader.encode([picture]))["pixel_values"][0, :, 0, 0].tolist() == [14.5, 9.0, 3.5]


def test_it_goes_through_json():
    reader = PictureReader(4, 5, scale=1 / 255, mean=(0.1, 0.2, 0.3), crop=0.875)
    assert PictureReader.from_state(json.loads(json.dumps(dataclasses.asdict(reader)))) == reader


@pytest.mark.parametrize("bad", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8), "a"])
def test_what_is_no_picture(bad):
    with pytest.raises(DataError, match="a picture must be uint8"):
        PictureReader(4, 4).encode([bad])


def test_statistics_stay():
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2)).train()
    keep_statistics(network)
    assert [module.training for module in network] == [True, False]
