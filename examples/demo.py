"""The demo: four small transfers on real bundled input.  Run it with ``make demo``.

1. English support messages: MiniLM reads them, and the transfer helps.
2. Chinese support messages: MiniLM does not, graft says so and falls back on what it can trust.
3. Handwritten digits 0-4 train a small network; 4. ten examples each of 5-9 start from it.
"""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

HERE = Path(__file__).parent
RUNS = Path("runs") / "demo"


def graft(*arguments: str) -> None:
    print(f"\n$ graft {' '.join(arguments)}", flush=True)
    code = subprocess.run([sys.executable, "-m", "graft", *arguments], check=False).returncode
    if code:
        sys.exit(code)


def write_digits(folder: Path) -> None:
    """Scikit-learn's handwritten digits as a folder of pictures: all of 0-4, ten each of 5-9, the rest to test."""
    digits = load_digits()
    seen = dict.fromkeys(range(10), 0)
    for number, (picture, digit) in enumerate(zip(digits.images, digits.target, strict=True)):
        seen[digit] += 1
        part = "source" if digit < 5 else "few" if seen[digit] <= 10 else "test"
        path = folder / part / f"digit-{digit}" / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((picture * 255 / 16).round().astype(np.uint8)).save(path)


def main() -> None:
    started = time.monotonic()
    shutil.rmtree(RUNS, ignore_errors=True)
    data = RUNS / "digits"
    write_digits(data)
    graft("fit", str(HERE / "support" / "messages_en.csv"), "--budget", "60s", "--out", str(RUNS / "support-en"))
    graft("fit", str(HERE / "support" / "messages_zh.csv"), "--budget", "20s", "--out", str(RUNS / "support-zh"))
    graft(
        "fit",
        str(data / "source"),
        "--methods",
        "scratch",
        "--budget",
        "20s",
        "--out",
        str(RUNS / "digits-0-4"),
        "--quiet",
    )
    graft(
        "fit",
        str(data / "few"),
        "--models",
        str(RUNS / "digits-0-4"),
        "--budget",
        "20s",
        "--out",
        str(RUNS / "digits-5-9"),
    )
    graft("evaluate", str(RUNS / "digits-5-9"), str(data / "test"))
    print(
        f"\nDone in {time.monotonic() - started:.0f} s. Open the report in a browser: {RUNS / 'support-en' / 'report.html'}"
    )


if __name__ == "__main__":
    main()
