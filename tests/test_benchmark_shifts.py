"""The benchmark of shifts: every shift is one, a case goes through the real code, and the sums are right."""

import argparse
import tomllib
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _path(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.fixture
def pictures():
    from benchmarks.drifts import Rows

    rng = np.random.default_rng(0)
    y = np.arange(300) % 3
    X = rng.random((300, 64)) + np.eye(3, 64)[y] * 2
    return Rows(X, y.astype(str), X, 8)


KINDS = ("covariate", "label", "subset", "none", "noise", "units", "missing", "blur", "moved", "faded")


@pytest.mark.parametrize("kind", KINDS)
def test_a_shift_divides_the_rows_and_keeps_the_classes(pictures, kind):
    from benchmarks.drifts import drifted

    source, target, test = drifted(pictures, kind, count=90, seed=0)
    assert len(source.y) == 75  # half of the target tests
    for side in (source, target, test):
        assert set(side.y) == {"0", "1", "2"}
        assert np.isfinite(side.X).all()
    again = drifted(pictures, kind, count=90, seed=0)[1]
    np.testing.assert_array_equal(target.X, again.X)
    if kind in ("noise", "units", "missing", "blur", "moved", "faded"):
        own = {row.tobytes() for row in pictures.X}
        assert not all(row.tobytes() in own for row in target.X)
        assert all(row.tobytes() in own for row in source.X)


def test_class_shares_differ_under_label_shift(pictures):
    from benchmarks.drifts import drifted

    source, target, _ = drifted(pictures, "label", count=140, seed=1)
    shares = [np.unique(side.y, return_counts=True)[1] / len(side.y) for side in (source, target)]
    assert np.abs(shares[0] - shares[1]).sum() > 0.1


def test_words_are_dropped_and_misspelt():
    from benchmarks.drifts import Rows, drifted

    texts = np.array([f"several common words number {i} here" for i in range(120)], dtype=object)
    rows = Rows(texts, np.array(["x", "y"] * 60), np.random.default_rng(0).random((120, 4)))
    for kind in ("dropped", "misspelt"):
        source, target, _ = drifted(rows, kind, count=40, seed=0)
        assert set(source.X) <= set(texts)
        assert not set(target.X) <= set(texts)


def test_a_case_goes_through_the_real_code_and_is_kept(monkeypatch, tmp_path):
    from benchmarks.shifts import CHOICE, shifts, summary

    monkeypatch.setattr("graft.auto.adapt.SHIFTS", 4)
    plan = {
        "pairs": [],
        "simulated": {"wine": ["units"]},
        "seeds": [0],
        "rows": 80,
        "budget": "1m",
        "methods": ["coral"],
    }
    folders = argparse.Namespace(data=str(tmp_path), sets=None, systems=None, kept={})
    rows = [row for some in shifts(plan, folders) for row in some]
    assert {row["system"] for row in rows} == {"source_only", "coral", "oracle", CHOICE}
    found = summary(rows)
    assert found["systems"][CHOICE]["cases"] == 1
    assert found["by kind"]["corruption"]["pairs"] == 1
    folders.kept = {(row["set"], row["system"]): row for row in rows}
    assert list(shifts(plan, folders)) == []


def test_harm_is_counted_beyond_noise():
    from benchmarks.shifts import CHOICE, summary

    rows = []
    for name, gains in {"a -> b": (0.1, -0.2), "wine, label": (0.0, -0.01)}.items():
        scores = {"source_only": 0.8, "x": 0.8 + gains[0], "y": 0.8 + gains[1]}
        scores |= {"oracle": max(scores.values()), CHOICE: scores["y"]}
        for system, score in scores.items():
            differ = abs(score - 0.8) + 0.02
            facts = {"differ": differ, "n": 400, "returned": "y" if system == CHOICE else "", "halved": 0.05}
            rows.append(
                {"set": name, "system": system, "seeds": [0], "scores": [score], "mean": score, "facts": [facts]}
            )
    found = summary(rows)["systems"]
    assert (found["x"]["harmful"], found["y"]["harmful"]) == (0.0, 0.5)
    assert found[CHOICE]["harmful of recommended"] == 0.5
    assert found[CHOICE]["kept by halves"] == pytest.approx((-0.2 - 0.01) / 0.1)
    assert found[CHOICE]["harmed"] == ["a -> b (seed 0)"]
    assert found["x"]["kept"] == pytest.approx(1.0)


def test_the_plan_has_sixty_shifts_and_more():
    plan = tomllib.loads((ROOT / "benchmarks" / "experiments" / "shifts.toml").read_text(encoding="utf-8"))
    from benchmarks.drifts import CORRUPTIONS, ODDS

    kinds = [kind for some in plan["simulated"].values() for kind in some]
    assert len(kinds) + len(plan["pairs"]) >= 60
    assert set(kinds) <= {*CORRUPTIONS, *ODDS, "none"}
    import benchmarks.__main__ as runner

    run, summary = runner._kind(plan["kind"])
    assert run.__name__ == "shifts"
    assert summary is not None
