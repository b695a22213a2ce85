"""Draw the pictures of this folder: red and green fruit on a table, with their boxes as COCO JSON.

python examples/detection/make.py FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIZE = (96, 72)
KINDS = {"apple": (190, 40, 40), "pear": (110, 150, 40)}


def picture(rng: np.random.Generator) -> tuple[Image.Image, list[tuple[str, list[int]]]]:
    """A picture, and its fruit: name, and x, y, width and height."""
    ground = rng.integers(150, 200)
    pixels = ground + rng.integers(-4, 4, (SIZE[1], SIZE[0], 3))
    image = Image.fromarray(pixels.astype(np.uint8))
    pen = ImageDraw.Draw(image)
    found = []
    for third in range(3):
        if rng.random() < 0.3:
            continue
        name = ("apple", "pear")[int(rng.integers(2))]
        wide, high = (18, 18) if name == "apple" else (14, 22)
        x, y = 32 * third + int(rng.integers(0, 32 - wide)), int(rng.integers(0, SIZE[1] - high))
        pen.ellipse((x, y, x + wide - 1, y + high - 1), fill=KINDS[name])
        found.append((name, [x, y, wide, high]))
    return image, found


def main(folder: Path, train: int = 30, test: int = 10) -> None:
    """Write ``images/`` and one COCO file for training and one for testing."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    categories = [{"id": number, "name": name} for number, name in enumerate(KINDS, 1)]
    for split, count in (("train", train), ("test", test)):
        images, annotations = [], []
        for place in range(1, count + 1):
            image, fruit = picture(rng)
            name = f"{split}_{place:02}.jpg"
            image.save(folder / "images" / name, quality=60)
            images.append({"id": place, "file_name": name, "width": SIZE[0], "height": SIZE[1]})
            for kind, box in fruit:
                number = list(KINDS).index(kind) + 1
                annotations.append({"id": len(annotations) + 1, "image_id": place, "category_id": number, "bbox": box})
        whole = {"images": images, "annotations": annotations, "categories": categories}
        (folder / f"instances_{split}.json").write_text(json.dumps(whole), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
