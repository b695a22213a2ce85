"""Write the bundled example: 120 made-up recordings of a machine, 64 steps each, wide, and 60 of two sensors, long.

A worn bearing adds a short burst of a quick oscillation somewhere; a sound one hums.  Run it with
``python examples/series/make.py``.
"""

from pathlib import Path

import numpy as np

HERE = Path(__file__).parent


def recording(rng: np.random.Generator, steps: int, *, worn: bool) -> np.ndarray:
    """One recording (T,)."""
    time = np.arange(steps)
    values = np.sin(0.3 * time + rng.uniform(0, 6)) + rng.normal(scale=0.3, size=steps)
    if worn:
        burst = np.exp(-(((time - rng.uniform(10, steps - 10)) / 5) ** 2))
        values += 0.9 * burst * np.sin(2.2 * time)
    return values.round(3)


def main() -> None:
    """Write ``bearings.csv`` (a row each) and ``sensors.csv`` (a row per step, two values, lengths of 40 to 64)."""
    rng = np.random.default_rng(0)
    lines = [",".join([*(f"t{step}" for step in range(64)), "label"])]
    for number in range(120):
        worn = number % 2 == 1
        values = map(str, recording(rng, 64, worn=worn))
        lines.append(",".join([*values, "worn" if worn else "sound"]))
    (HERE / "bearings.csv").write_text("\n".join(lines) + "\n", encoding="ascii")
    lines = ["id,time,front,back,label"]
    for number in range(60):
        worn, steps = number % 2 == 1, int(rng.integers(40, 65))
        front, back = recording(rng, steps, worn=worn), recording(rng, steps, worn=False)
        label = "worn" if worn else "sound"
        lines += [
            f"m{number:02d},{step},{one},{other},{label}"
            for step, (one, other) in enumerate(zip(front, back, strict=True))
        ]
    (HERE / "sensors.csv").write_text("\n".join(lines) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
