"""Write the bundled example: 240 made-up windows of DNA, 60 letters each, half of them promoters.

A promoter holds the two boxes of bacteria, TTGACA and 16 to 18 letters later TATAAT, each letter kept with probability
0.85; everything else is chance.  Run it with ``python examples/sequences/make.py``.
"""

from pathlib import Path

import numpy as np

BOXES = ("TTGACA", "TATAAT")
KEPT, ROWS, LETTERS = 0.85, 240, 60


def window(rng: np.random.Generator, *, promoter: bool) -> str:
    """One window."""
    letters = rng.choice(list("ACGT"), LETTERS)
    place, gap = int(rng.integers(8, 14)), int(rng.integers(16, 19))
    for box, start in zip(BOXES, (place, place + len(BOXES[0]) + gap), strict=True) if promoter else ():
        kept = rng.random(len(box)) < KEPT
        letters[start : start + len(box)] = np.where(kept, list(box), letters[start : start + len(box)])
    return "".join(letters)


def main() -> None:
    """Write ``promoters.fasta``."""
    rng = np.random.default_rng(0)
    records = []
    for number in range(ROWS):
        promoter = number % 2 == 1
        records.append(f">window{number:03d}|{'promoter' if promoter else 'other'}\n{window(rng, promoter=promoter)}\n")
    (Path(__file__).parent / "promoters.fasta").write_text("".join(records), encoding="ascii")


if __name__ == "__main__":
    main()
