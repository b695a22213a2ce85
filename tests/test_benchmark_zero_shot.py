"""The benchmarks of zero-shot classification: toy rows go through the same code, and choices are made on other rows."""

import argparse
import csv
import gzip
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
NAMES = {"sports": "体育", "finance": "财经"}
ROWS = {"sports": ["体育比赛", "体育新闻", "运动比赛体"], "finance": ["财经新闻", "财务经营", "经营新闻财"]}


@pytest.fixture(autouse=True)
def _path(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


def experiment(name):
    return tomllib.loads((ROOT / "benchmarks" / "experiments" / f"{name}.toml").read_text(encoding="utf-8"))


@pytest.fixture
def folders(tmp_path):
    folder = tmp_path / "data" / "text" / "thucnews"
    folder.mkdir(parents=True)
    for part in ("train", "test"):
        with (folder / f"{part}.csv").open("w", encoding="utf-8", newline="") as file:
            rows = [(text, name) for name, texts in ROWS.items() for text in texts * 4]
            csv.writer(file).writerows([("text", "label"), *rows])
    sport, other = "体育运动", "财经务营"
    letters = [*sport, *other, *"比赛新闻关于主题类别：这是。段文字的"]
    rng = np.random.default_rng(0)
    with gzip.open(folder / "tencent_char_200d.w2v.txt.gz", "wt", encoding="utf-8") as file:
        file.write(f"{len(letters)} 4\n")
        for letter in letters:
            vector = 0.1 * rng.normal(size=4) + [letter in sport, letter in other, 0, 0]
            file.write(f"{letter} {' '.join(f'{x:.4f}' for x in vector)}\n")
    return argparse.Namespace(data=str(tmp_path / "data"), models=str(tmp_path), sets=None, systems=None, kept={})


def test_wordings_are_compared_on_training_rows(folders, tmp_path):
    from benchmarks.wordings import summary, wordings

    (tmp_path / "data" / "text" / "thucnews" / "test.csv").unlink()  # is not opened
    plan = experiment("wordings")
    plan["halves"] = {}
    folders.sets, folders.systems = ["thucnews", "support_zh"], ["tencent"]
    plan["words"]["thucnews"] = NAMES
    plan["wordings"]["zh"] = {name: plan["wordings"]["zh"][name] for name in ("name", "about")}
    plan["sources"]["tencent"]["sets"] = ["thucnews"]
    rows = [row for some in wordings(plan, folders) for row in some]
    assert [(row["set"], row["classes"], row["n_test"]) for row in rows] == [("thucnews", 2, 24)]
    assert set(rows[0]["scores"]) == {
        f"{form} | {how}" for form in ("name", "about") for how in ("none", "context", "mean", "match")
    }
    assert rows[0]["scores"]["name | none"] == 1
    folders.kept = {(row["set"], row["system"]): row for row in rows}
    assert list(wordings(plan, folders)) == []
    assert summary(rows)["tencent"]["left_out"] == {}


def test_what_is_left_out_has_no_say():
    from benchmarks.wordings import summary

    def row(name, family, plain, other):
        scores = {"name | none": plain, "about | mean": other}
        return {"set": name, "of": name.split(",")[0], "family": family, "system": "s", "scores": scores}

    rows = [row("a", "a", 0.2, 0.9), row("b", "b", 0.5, 0.4), row("c", "c", 0.6, 0.5), row("c, half 1a", "c", 0.6, 0.7)]
    found = summary(rows)["s"]
    assert found["best"] == "about | mean"
    assert found["score"] == pytest.approx((0.9 + 0.4 + 0.6) / 3)
    assert found["left_out"]["a"]["chosen"] == "name | none"  # by b and c, which count alike
    assert found["left_out"]["a"]["score"] == 0.2
    assert found["left_out"]["b"]["chosen"] == "about | mean"
    assert found["left_out_score"] == pytest.approx((0.2 + 0.4 + 0.6) / 3)


def test_halves_share_no_class_and_hold_them_all(tmp_path):
    from benchmarks.wordings import tasks

    found = dict(tasks("support", {"rows": 100, "halves": {"support": 1}}, tmp_path))
    whole, one, two = found.values()
    assert list(found)[1] == "support, half 1a"
    assert set(one.task.classes) | set(two.task.classes) == set(whole.task.classes)
    assert not set(one.task.classes) & set(two.task.classes)
    assert len(whole) == 100


def test_the_test_file_is_classified_as_the_package_does_it(folders):
    from benchmarks.zero_shot import summary, zero_shot

    plan = experiment("zero_shot")
    plan |= {"sets": ["thucnews"], "words": {"thucnews": NAMES}}
    rows = next(zero_shot(plan, folders))
    found = {row["system"]: row for row in rows}
    assert found["plain names"]["mean"] == 1
    assert found["plain names"]["difference"][0] == 0
    assert found["plain names"]["interval"][0] < 1
    assert found["plain names"]["said"] == ["体育"] or found["plain names"]["said"] == ["财经"]
    assert found["default"]["calibration"] == "mean"
    assert summary(rows)["default"]["worst"] == found["default"]["difference"][0]
    folders.kept = {(row["set"], row["system"]): row for row in rows}
    assert list(zero_shot(plan, folders)) == []


@pytest.fixture
def pictures(tmp_path, folders):
    """Ten classes of four by four pixels: each a pattern of what the table says."""
    from benchmarks.sets import IMAGES

    from graft.zero_shot.attributes import read_attributes

    table = read_attributes(ROOT / "benchmarks" / "attributes" / "cifar10.csv")
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(35, 64))
    for part in IMAGES["cifar10"]:
        for name, row in table.items():
            folder = tmp_path / "data" / "image" / "cifar10" / part / name
            folder.mkdir(parents=True)
            for number in range(8):
                pattern = (np.asarray(row) @ mixing + rng.normal(size=64)).reshape(8, 8)
                shade = (128 + 12 * pattern).clip(0, 255).astype(np.uint8)
                Image.fromarray(shade).save(folder / f"{number}.png")
    return folders


def test_unseen_classes_are_scored_and_the_choice_sees_none_of_them(pictures):
    from benchmarks.unseen import summary, unseen

    plan = experiment("unseen")
    plan |= {"sets": ["cifar10"], "seeds": [0, 1], "rows": 6, "methods": ["eszsl"]}
    plan["source"]["cifar10"] = {"pixels": "none"}
    *_, rows = unseen(plan, pictures)
    found = {row["system"]: row for row in rows}
    assert set(found) == {"eszsl, pixels", "eszsl, pixels, nothing taken off", "chosen"}
    assert found["chosen"]["seeds"] == [0, 1]
    assert found["chosen"]["harmonic"] == found["eszsl, pixels"]["harmonic"]
    assert [len(one["seen"]) for one in found["chosen"]["choices"]] == [7, 7]
    assert found["eszsl, pixels"]["n_test"] == 60
    assert summary(rows)["cifar10"]["chosen"]["harmonic"][0] == pytest.approx(found["chosen"]["mean"])
    pictures.kept = {(row["set"], row["system"]): row for row in rows}
    assert list(unseen(plan, pictures)) == []


@pytest.mark.parametrize("name", ["wordings", "zero_shot", "unseen"])
def test_the_runner_finds_the_kind_and_its_summary(name):
    import benchmarks.__main__ as runner

    run, summary = runner._kind(experiment(name)["kind"])
    assert run.__name__ == name
    assert summary([]) == {}


def test_the_plans_say_what_they_need():
    from graft.zero_shot.attributes import read_attributes

    words = experiment("wordings")
    used = {name for plan in words["sources"].values() for name in plan["sets"]}
    assert used == set(words["families"])
    assert all(form.count("{}") == 1 for forms in words["wordings"].values() for one in forms.values() for form in one)
    unseen = experiment("unseen")
    for name in unseen["sets"]:
        assert len(read_attributes(ROOT / "benchmarks" / "attributes" / unseen["table"][name])) == 10
    zero_shot = experiment("zero_shot")
    assert set(zero_shot["source"]) == set(zero_shot["sets"])
    assert next(iter(zero_shot["ways"])) == "plain names"
