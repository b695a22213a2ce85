"""Small files of every kind."""

import numpy as np
import pytest
from PIL import Image

ROWS = [(f"some short text number {i} here", "ab"[i % 2]) for i in range(6)]


@pytest.fixture
def write(tmp_path):
    """Write a file, return its path."""

    def put(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return put


@pytest.fixture
def good():
    """A small correct CSV."""
    return "text,label\n" + "".join(f"{text},{label}\n" for text, label in ROWS)


@pytest.fixture
def picture():
    """An RGB picture from a seed."""

    def make(seed=0, size=(12, 10)):
        values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        return Image.fromarray(values)

    return make


@pytest.fixture
def folder(tmp_path, picture):
    """Two classes of four pictures."""
    for i in range(8):
        path = tmp_path / "pictures" / ("cat" if i < 4 else "dog") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(i).save(path)
    return tmp_path / "pictures"
