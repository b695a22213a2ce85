"""Predictions for files and scores of runs and sources; what the command line shows is in tests/cli."""

import csv

import numpy as np
import pytest
from conftest import make_pictures, make_table, make_texts

from graft import predict as module
from graft.core.errors import DataError, OutputError, SourceError
from graft.data.load import load
from graft.evaluate.metrics import evaluate
from graft.predict import evaluate_model, predict_file
from graft.transfer.classical import Classical


def write(path, texts, labels=None):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"] if labels else ["text"])
        writer.writerows(zip(texts, labels, strict=True) if labels else ([text] for text in texts))
    return str(path)


@pytest.fixture
def run(tmp_path):
    """A saved classical run on texts, with its model."""
    model = Classical().fit(load(make_texts(60)))
    return model.save(tmp_path / "run"), model


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_file_holds_what_the_model_says(run, tmp_path):
    texts, _ = make_texts(40, seed=3)
    assert predict_file(run[0], write(tmp_path / "new.csv", texts), tmp_path / "out.csv") == []
    rows = read(tmp_path / "out.csv")
    assert [row["prediction"] for row in rows] == run[1].predict(texts).tolist()
    shown = np.array([[float(row["p_bad"]), float(row["p_good"])] for row in rows])
    np.testing.assert_allclose(shown, run[1].predict_proba(texts), atol=1e-6)


def test_chunks_give_the_same_file(run, tmp_path, monkeypatch):
    texts, _ = make_texts(40, seed=3)
    texts[11] = " "
    data = write(tmp_path / "new.csv", texts)
    whole = predict_file(run[0], data, tmp_path / "whole.csv")
    monkeypatch.setattr(module, "BLOCK", 7)
    assert predict_file(run[0], data, tmp_path / "parts.csv") == whole
    assert [row for row, _ in whole] == [11]
    assert (tmp_path / "whole.csv").read_bytes() == (tmp_path / "parts.csv").read_bytes()
    assert list(read(tmp_path / "whole.csv")[11].values()) == ["", "", ""]


def test_values_are_written_in_their_own_unit(tmp_path):
    X, y = make_table(60, kind="regression")
    model = Classical().fit(load((X, 1000 + y)))
    model.save(tmp_path / "run")
    with (tmp_path / "new.csv").open("w") as file:
        file.write(",".join(model.recipe_["inputs"]) + "\n")
        file.writelines(",".join(map(repr, map(float, row))) + "\n" for row in X[:5])
    predict_file(tmp_path / "run", str(tmp_path / "new.csv"), tmp_path / "out.csv")
    found = [float(row["prediction"]) for row in read(tmp_path / "out.csv")]
    np.testing.assert_allclose(found, model.predict(X[:5]), rtol=1e-6)
    assert list(read(tmp_path / "out.csv")[0]) == ["prediction"]
    data = load((X, 1000 + y))
    model.calibrate(data.y + np.linspace(-1, 1, len(data)), data.y)
    model.save(tmp_path / "run")
    predict_file(tmp_path / "run", str(tmp_path / "new.csv"), tmp_path / "wide.csv", coverage=0.8)
    wide = read(tmp_path / "wide.csv")
    assert list(wide[0]) == ["prediction", "low", "high"]
    ends = np.array([[float(row["low"]), float(row["high"])] for row in wide])
    np.testing.assert_allclose(ends, model.predict_interval(X[:5], coverage=0.8), rtol=1e-6)


def test_nothing_is_written_where_something_is_wrong(run, tmp_path):
    texts, _ = make_texts(10)
    data = write(tmp_path / "new.csv", texts)
    out = tmp_path / "out.csv"
    out.write_text("precious")
    with pytest.raises(OutputError, match="exists; choose another --out, or pass --overwrite"):
        predict_file(run[0], data, out)
    assert out.read_text() == "precious"
    with pytest.raises(DataError):
        predict_file(run[0], str(tmp_path / "absent.csv"), out, overwrite=True)
    with pytest.raises(SourceError, match="is not a graft run"):
        predict_file(tmp_path, data, out, overwrite=True)
    (tmp_path / "other.csv").write_text("words\na\n")
    with pytest.raises(DataError):
        predict_file(run[0], str(tmp_path / "other.csv"), out, overwrite=True)
    assert out.read_text() == "precious"
    assert not list(tmp_path.glob(".out.csv*"))
    predict_file(run[0], data, out, overwrite=True)
    assert len(read(out)) == 10


def test_a_crash_half_way_leaves_no_file(run, tmp_path, monkeypatch):
    data = write(tmp_path / "new.csv", make_texts(30)[0])
    monkeypatch.setattr(module, "BLOCK", 10)
    calls = []

    def cells(model, chunk, coverage):
        del model, coverage
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return [["bad", "1", "0"]] * len(chunk)

    monkeypatch.setattr(module, "_cells", cells)
    with pytest.raises(KeyboardInterrupt):
        predict_file(run[0], data, tmp_path / "out.csv")
    assert sorted(path.name for path in tmp_path.iterdir() if "out" in path.name) == []


# -- scores ------------------------------------------------------------------------------------------------------------


def test_a_run_is_scored_on_labelled_rows(run, tmp_path):
    texts, y = make_texts(50, seed=9)
    y[0] = "good" if y[0] == "bad" else "bad"
    facts = evaluate_model(str(run[0]), write(tmp_path / "test.csv", texts, y))
    data = load((texts, y), like=run[1].recipe_)
    assert facts["rows"] == 50
    assert facts["metrics"] == evaluate(run[1].task_, data.y, run[1].outputs(texts))
    assert facts["metrics"]["accuracy"][0] == np.mean(run[1].predict(texts) == np.asarray(y))


def test_a_source_is_scored_over_all_of_its_own_classes(tmp_path):
    from sources import tiny_models

    folder = tiny_models.image(tmp_path / "vit", "vit", classes=["tabby cat", "dog", "bird"])
    pictures, y = make_pictures(12)
    from PIL import Image

    for i, (picture, label) in enumerate(zip(pictures, y, strict=True)):
        path = tmp_path / "test" / {"left": "Tabby_Cat", "right": "hound"}[label] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    uri, data = f"hf:{folder}", str(tmp_path / "test")
    with pytest.raises(DataError, match="has no class 'hound'; say which class it is with --rename hound=CLASS"):
        evaluate_model(uri, data)
    facts = evaluate_model(uri, data, rename={"hound": "dog"})
    assert facts["rows"] == 12
    assert "scored over all 3 classes of the source" in facts["notes"]
    from graft.features import encode
    from graft.sources.base import open_model

    table = load(data)
    chances = encode(open_model(uri), table.take()).probabilities
    wanted = np.mean(chances.argmax(1) == np.array([0, 1])[table.y])
    assert facts["metrics"]["accuracy"][0] == pytest.approx(wanted)


def test_a_source_without_classes_cannot_be_scored(tiny_vit, tiny_bert, tmp_path):
    texts, y = make_texts(10)
    with pytest.raises(SourceError, match="has no classes of its own; train a head with graft fit first"):
        evaluate_model(f"hf:{tiny_bert}", write(tmp_path / "test.csv", texts, y))
