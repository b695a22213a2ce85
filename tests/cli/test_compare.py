"""``graft compare`` end to end."""

import json

import numpy as np
import pytest
from adaptation.shifts import turned

from graft.cli import main


@pytest.fixture
def files(tmp_path):
    found = []
    for number, angle in enumerate((0.0, 0.4)):
        X, y = turned(angle, rows=120, seed=number)
        lines = [",".join([*(f"{v:.3f}" for v in row), f"class {c}"]) for row, c in zip(X, y, strict=True)]
        path = tmp_path / f"part{number}.csv"
        path.write_text("\n".join(["a,b,c,d,e,label", *lines]))
        found.append(str(path))
    return found


def test_a_table_and_a_sentence_in_both_languages(files, capsys):
    assert main(["compare", *files]) == 0
    said = capsys.readouterr().out
    assert "proxy A-distance" in said
    assert "predicted gain" in said
    assert "closely related: " in said or "related: " in said
    assert main(["compare", *files, "--language", "zh"]) == 0
    assert "代理 A 距离" in capsys.readouterr().out


def test_json_holds_every_number(files, capsys):
    assert main(["compare", *files, "--json", "--labels", "10"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["gain"]["labels"] == 10
    assert found["sentence"]
    assert np.isfinite(found["a_distance"]).all()


def test_what_does_not_go_together_is_one_line(files, tmp_path, capsys):
    other = tmp_path / "texts.csv"
    other.write_text("text\n" + "\n".join(f"a line of words number {i}" for i in range(40)))
    assert main(["compare", files[0], str(other)]) == 3
    said = capsys.readouterr().err
    assert "nothing can be compared" in said
    assert len(said.strip().splitlines()) == 1
