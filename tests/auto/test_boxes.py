"""Pictures with boxes through every command."""

import json

import numpy as np
import pytest

from graft.auto import AutoFit, Config
from graft.core.errors import UsageError
from graft.predict import evaluate_model, predict_file
from graft.ranking.rank import rank
from graft.report import render_html, write_report
from graft.sources.native import build_backbone
from graft.testing import toy_boxes


@pytest.fixture(scope="module")
def data():
    return toy_boxes(12)


@pytest.fixture(scope="module")
def folder(data, tmp_path_factory):
    from PIL import Image

    folder = tmp_path_factory.mktemp("boxes")
    images, annotations = [], []
    for place, (picture, row) in enumerate(zip(data.take(), data.labels, strict=True), 1):
        Image.fromarray(picture).save(folder / f"{place}.png")
        images.append({"id": 10 * place, "file_name": f"{place}.png"})
        for one in row:
            left, top, right, bottom = one["box"]
            kind = {"bar": 4, "square": 8}[one["label"]]
            box = [left, top, right - left, bottom - top]
            annotations.append({"id": len(annotations), "image_id": 10 * place, "category_id": kind, "bbox": box})
    categories = [{"id": 4, "name": "bar"}, {"id": 8, "name": "square"}]
    whole = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "set.json").write_text(json.dumps(whole))
    return folder


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """A run with one source, nothing trained for long."""
    source = build_backbone(data)
    place = tmp_path_factory.mktemp("source") / "net"
    source.save(place)
    config = Config("60s", models=(f"file:{place}",), folds=2, methods=("hand_boxes", "box_probe", "mean_boxes"))
    model, run = AutoFit(data, config).run()
    out = tmp_path_factory.mktemp("run")
    model.save(out)
    write_report(run, out)
    return out, run


def test_a_run_says_what_came_of_it(run):
    out, record = run
    assert record.task["kind"] == "detection"
    assert [trial["transfer"] for trial in record.trials][:2] == ["mean_boxes", "hand_boxes"]
    assert {trial["state"] for trial in record.trials} <= {"done", "stopped"}, [one["reason"] for one in record.trials]
    assert record.answer["metric"] == "map"
    assert "mAP" in record.answer["sentence"]
    assert any("cut out" in one for one in record.data["ranking_sentences"])
    assert {"ap", "ap50", "f1"} <= set(record.metrics["per_class"][0])
    assert record.metrics["hardest"][0]["thumbnail"].startswith("data:image/jpeg")
    assert record.audit["sentences"][0].endswith("boxes hold none")
    for lang, word in (("en", "Objects"), ("zh", "目标数")):
        page = render_html(record, lang=lang)
        assert "mAP" in page
        assert word in page
    assert "object-detection" in (out / "MODEL_CARD.md").read_text()


def test_predictions_in_every_form(run, folder, tmp_path):
    out, _ = run
    for name in ("a.csv", "a.jsonl", "a.json"):
        assert predict_file(out, str(folder / "set.json"), tmp_path / name) == []
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert lines[0] == "picture,file,label,score,x1,y1,x2,y2"
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [row["picture"] for row in rows] == list(range(1, 13))
    assert sum(len(row["boxes"]) for row in rows) == len(lines) - 1 > 0
    found = json.loads((tmp_path / "a.json").read_text())
    assert {one["category_id"] for one in found} <= {4, 8}
    assert {one["image_id"] for one in found} <= set(range(10, 130, 10))
    assert len(found) >= len(lines) - 1
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "good.png").write_bytes((folder / "1.png").read_bytes())
    (tmp_path / "some" / "bad.png").write_bytes(b"no picture")
    bad = predict_file(out, str(tmp_path / "some"), tmp_path / "b.jsonl")
    assert len(bad) == 1
    with pytest.raises(UsageError, match="boxes are not written as conll"):
        predict_file(out, str(folder / "set.json"), None, form="conll")
    with pytest.raises(UsageError, match="no sets"):
        predict_file(out, str(folder / "set.json"), None, coverage=0.9)


def test_evaluation(run, folder):
    out, _ = run
    found = evaluate_model(str(out), str(folder / "set.json"))
    assert next(iter(found["metrics"])) == "map"
    assert found["metrics"]["map50"][0] > 0.3
    assert {row["class"] for row in found["per_class"]} == {"bar", "square"}


def test_sources_are_ranked_on_objects_cut_out(data, tmp_path):
    source = build_backbone(data)
    source.save(tmp_path / "net")
    found = rank([f"file:{tmp_path / 'net'}"], data)
    assert not found.rows[0].failure
    assert np.isfinite(found.rows[0].scores["probe"][0])


def test_ways_for_other_tasks_are_refused_in_one_line(data):
    with pytest.raises(UsageError, match=r"not (for )?detection"):
        AutoFit(data, Config("30s", methods=("probe",))).run()
