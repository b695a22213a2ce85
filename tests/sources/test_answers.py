"""Tables that share columns: a network and a run of another table are read by what they share, and say what that is."""

import numpy as np
import pytest

from graft.auto import AutoFit, Config
from graft.core.errors import SourceError
from graft.data.load import load
from graft.features import encode
from graft.pretrain.masked_table import MaskedTable
from graft.sources.base import describe_model, open_model
from graft.sources.columns import aligned, match
from graft.transfer.base import load_transfer
from graft.transfer.boosting import Boosting
from graft.transfer.classical import Classical


def people(rows, seed, names=("Age", "home_town", "b"), more=False):
    rng = np.random.default_rng(seed)
    a, b, town = rng.normal(size=rows), rng.normal(size=rows), np.array(["x", "y", "z"])[rng.integers(0, 3, rows)]
    label = np.where(a + b + (town == "y") > 0.3, "good", "bad")
    columns = dict(zip(names, (a, town.astype(object), b), strict=True))
    return load({**columns, **({"extra": rng.normal(size=rows)} if more else {}), "label": label.tolist()})


def saved(model, folder):
    model.save(folder)
    (folder / "run.json").write_text("{}", encoding="utf-8")
    return folder


@pytest.mark.parametrize("way", [Boosting, Classical])
def test_a_run_answers_rows_of_another_table(way, tmp_path):
    old = people(300, 0)
    model = way().fit(old)
    uri = f"file:{saved(model, tmp_path / 'old')}"
    spec = describe_model(uri)
    assert (spec.modality, spec.architecture, spec.hidden_size) == ("table", "answers", 2)
    source = open_model(uri)
    new = people(60, 1, names=("age", "Home-Town", "b"), more=True)
    said = encode(source, new.take()).layer(-1)
    same = people(60, 1)
    np.testing.assert_array_equal(said.argmax(axis=1), model.outputs(same).argmax(axis=1))
    assert source.coverage(new.take()).ok
    assert "3 of its 3 columns are in the data (Age, b, home_town)" in source.coverage(new.take()).reason
    assert "that it does not read (extra)" in source.coverage(new.take()).reason
    source.save(tmp_path / "copy")
    again = open_model(f"file:{tmp_path / 'copy'}")
    np.testing.assert_array_equal(encode(again, new.take()).layer(-1), said)


def test_what_is_missing_counts_as_missing_and_kinds_must_agree():
    columns = {"age": np.ones(2), "town": np.ones(2)}
    found = match({"Age": "number", "town": "category", "note": "text"}, columns)
    assert (found.shared, found.missing, found.other) == ({"Age": "age"}, ("town", "note"), ("town",))
    given = aligned({"Age": "number", "town": "category", "note": "text", "x": "number"}, columns)
    assert given["Age"].tolist() == [1, 1]
    assert given["town"].tolist() == [None, None]
    assert given["note"].tolist() == ["", ""]
    assert np.isnan(given["x"]).all()
    assert match({"a": "number"}, {"a": np.ones(1)}).sentence() == ""


def test_a_pretrained_network_reads_the_columns_it_shares(tmp_path):
    rows = people(60, 0)
    made = MaskedTable(size="tiny", epochs=1).fit(load({k: list(v) for k, v in rows.take().items()}, labelled=False))
    source = open_model(f"file:{made.save(tmp_path / 'source')}")
    new = people(20, 1, names=("age", "country", "b"))
    assert encode(source, new.take()).layer(-1).shape == (20, 64)
    assert (
        "2 of its 3 columns are in the data (Age, b); missing ones count as unknown (home_town)"
        in source.coverage(new.take()).reason
    )


def test_graft_fit_stacks_a_run_and_names_the_columns(tmp_path):
    uri = f"file:{saved(Boosting().fit(people(400, 0)), tmp_path / 'old')}"
    new = people(80, 1, more=True)
    model, run = AutoFit(new, Config(models=(uri,), methods=("stacked", "probe"), folds=2)).run()
    names = {trial["name"]: trial["state"] for trial in run.trials}
    assert names["boosted trees on columns and features of old"] == "done"
    assert any("3 of its 3 columns" in line for line in run.data["ranking_sentences"])
    again = load_transfer(model.save(tmp_path / "new"))
    np.testing.assert_allclose(again.outputs(new), model.outputs(new), atol=1e-6)
    other = load({"p": [1.0, 2.0, 3.0, 4.0] * 10, "q": [0.0, 1.0] * 20, "label": list("xy" * 20)})
    run = AutoFit(other, Config(models=(uri,), methods=("classical", "probe"), folds=2)).run()[1]
    assert any("was not considered: 0 of its 3 columns" in line for line in run.data["ranking_sentences"])


def test_a_damaged_run_is_said_in_one_line(tmp_path):
    folder = saved(Boosting().fit(people(60, 0)), tmp_path / "old")
    (folder / "model.safetensors").write_bytes(b"x" * 40)
    with pytest.raises(SourceError, match=r"damaged|header"):
        open_model(f"file:{folder}")
