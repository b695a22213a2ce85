import json
import subprocess
import sys

import numpy as np
import pytest
from conftest import make_table
from safetensors.numpy import load_file, save_file
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from graft.core.errors import DataError, SourceError, UsageError
from graft.core.registry import TRANSFERS
from graft.data.load import load
from graft.sources.base import open_model
from graft.testing import SAFE, toy_data
from graft.transfer.base import load_transfer
from graft.transfer.classical import Classical
from graft.transfer.finetune import Finetune
from graft.transfer.majority import Majority
from graft.transfer.probe import Probe


@pytest.fixture
def saved(tiny_bert, texts, tmp_path):
    """A probe, its outputs, and the folder it was saved to."""
    probe = Probe(f"hf:{tiny_bert}").fit(*texts)
    return probe, probe.predict_proba(texts[0]), probe.save(tmp_path / "run")


def test_the_folder_holds_weights_facts_and_a_tokenizer_only(saved):
    files = {str(path.relative_to(saved[2])) for path in saved[2].rglob("*") if path.is_file()}
    assert {"model.json", "model.safetensors", "source/config.json", "source/model.safetensors"} <= files
    assert {name.rpartition(".")[2] for name in files} <= {suffix.lstrip(".") for suffix in SAFE}
    facts = json.loads((saved[2] / "model.json").read_text())
    assert facts["transfer"] == "probe"
    assert facts["format"] == 1


def test_a_fresh_process_without_the_source_predicts_the_same(saved, texts, tmp_path):
    rows, out = tmp_path / "rows.json", tmp_path / "out.json"
    rows.write_text(json.dumps(texts[0]))
    code = (
        "import json, sys, torch; torch.set_num_threads(1)\n"
        "from graft.transfer.base import load_transfer\n"
        "run, rows, out = sys.argv[1:]\n"
        "json.dump(load_transfer(run).predict_proba(json.load(open(rows))).tolist(), open(out, 'w'))\n"
    )
    moved = saved[2].rename(tmp_path / "elsewhere")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, moved, rows, out], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert np.array_equal(np.asarray(json.loads(out.read_text())), saved[1])


def edit(change):
    def damage(folder):
        facts = json.loads((folder / "model.json").read_text())
        change(facts)
        (folder / "model.json").write_text(json.dumps(facts))

    return damage


def lose_arrays(folder):
    arrays = load_file(folder / "model.safetensors")
    save_file({"layers": arrays["layers"]}, folder / "model.safetensors")


DAMAGE = {
    "model.json cut": lambda f: (f / "model.json").write_text((f / "model.json").read_text()[:-40]),
    "model.json empty": lambda f: (f / "model.json").write_text(""),
    "model.json a list": lambda f: (f / "model.json").write_text("[]"),
    "model.json bytes": lambda f: (f / "model.json").write_bytes(b"\xff\xfe\x00"),
    "model.json gone": lambda f: (f / "model.json").unlink(),
    "key gone": edit(lambda facts: facts.pop("task")),
    "task damaged": edit(lambda facts: facts["task"].pop("classes")),
    "another setting": edit(lambda facts: facts["settings"].update(nonsense=1)),
    "another format": edit(lambda facts: facts.update(format=2)),
    "unknown transfer": edit(lambda facts: facts.update(transfer="prob")),
    "weights cut": lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-16]),
    "weights gone": lambda f: (f / "model.safetensors").unlink(),
    "weights of something else": lose_arrays,
    "source cut": lambda f: (f / "source/model.safetensors").write_bytes(b"1234567890"),
    "source gone": lambda f: __import__("shutil").rmtree(f / "source"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_run_is_one_line(saved, damage):
    damage(saved[2])
    with pytest.raises(SourceError) as caught:
        load_transfer(saved[2])
    assert "\n" not in str(caught.value)
    assert ";" in str(caught.value)  # with what to do


def test_no_run_is_one_line(tmp_path):
    with pytest.raises(SourceError, match="is not a graft run"):
        load_transfer(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError):
        load_transfer(tmp_path / "file")


def test_an_unknown_transfer_names_the_nearest(saved):
    edit(lambda facts: facts.update(transfer="prob"))(saved[2])
    with pytest.raises(SourceError, match="did you mean 'probe'"):
        load_transfer(saved[2])


def test_settings_come_back(texts, tmp_path):
    Classical(C=0.25, seed=3).fit(*texts).save(tmp_path)
    assert load_transfer(tmp_path).get_params() == {"C": 0.25, "max_rows": 100_000, "seed": 3}


def test_an_opened_source_is_named_in_the_settings(tiny_bert, texts, tmp_path):
    backbone = open_model(f"hf:{tiny_bert}")
    Probe(backbone).fit(*texts).save(tmp_path)
    assert load_transfer(tmp_path).source == backbone.spec.uri


def test_before_fit_nothing_can_be_asked():
    for transfer in (Majority(), Classical(), Probe("hf:x"), Finetune("hf:x")):
        for question in (transfer.predict, transfer.predict_proba, transfer.outputs):
            with pytest.raises(NotFittedError):
                question(["text"])


def test_data_without_labels_are_refused():
    with pytest.raises(DataError, match="no labels to learn from"):
        Majority().fit(load(["a", "b"], labelled=False))


@pytest.mark.parametrize("name", TRANSFERS)
def test_clone_and_parameters(name):
    transfer = TRANSFERS[name]()
    copy = clone(transfer)
    assert copy.get_params() == transfer.get_params()
    for key, value in transfer.get_params().items():
        assert copy.set_params(**{key: value}) is copy


def test_blocks_of_rows_give_the_same_as_all_at_once(texts, monkeypatch):
    data = load(texts)
    model = Classical().fit(data)
    whole = model.outputs(data)
    monkeypatch.setattr("graft.transfer.base.BLOCK", 7)
    assert np.array_equal(model.outputs(data), whole)


def test_calibration_moves_no_class_and_improves_the_loss():
    data = toy_data("text")
    model = Majority().fit(data)
    rng = np.random.default_rng(0)
    sure = np.eye(2)[np.where(rng.random(len(data)) < 0.8, data.y, 1 - data.y)] * 0.998 + 0.001
    model.calibrate(sure, data.y)
    assert model.temperature_ > 1.5  # right in 80 % and sure of 99.9 %: the temperature must rise
    softer = model._tempered(sure)
    assert np.array_equal(softer.argmax(1), sure.argmax(1))
    assert np.allclose(softer.sum(1), 1)

    def loss(outputs):
        return -np.log(outputs[np.arange(len(data)), data.y]).mean()

    assert loss(softer) < loss(sure)


def test_a_temperature_survives_the_disk(texts, tmp_path):
    data = load(texts)
    model = Classical().fit(data)
    model.temperature_ = 2.5
    model.save(tmp_path)
    assert np.array_equal(load_transfer(tmp_path).outputs(data), model.outputs(data))


def held_out(data, rng):
    """Outputs of rows held out that are right in about four of five."""
    right = np.where(rng.random(len(data)) < 0.8, data.y, 1 - data.y)
    sure = rng.uniform(0.5, 0.99, len(data))
    return np.where(np.eye(2)[right] == 1, sure[:, None], 1 - sure[:, None])


def test_sets_hold_the_truth_of_new_rows_and_survive_the_disk(tmp_path):
    rng = np.random.default_rng(0)
    data = toy_data("text")
    model = Majority().fit(data)
    many = data.select(rng.integers(0, len(data), 2_000))
    model.calibrate(held_out(many, rng), many.y)
    new = data.select(rng.integers(0, len(data), 4_000))
    sets = model.region(model._tempered(held_out(new, rng)), 0.9)
    assert sets[np.arange(len(new)), new.y].mean() == pytest.approx(0.9, abs=0.03)
    model.save(tmp_path)
    opened = load_transfer(tmp_path)
    assert np.array_equal(opened.predict_set(data, coverage=0.7), model.predict_set(data, coverage=0.7))


def test_intervals_are_in_the_unit_of_the_target():
    data = load(make_table(80, kind="regression"))
    model = Classical().fit(data)
    rng = np.random.default_rng(1)
    model.calibrate(data.y + rng.uniform(-0.5, 0.5, len(data)), data.y)
    low, high = model.predict_interval(data, coverage=0.5).T
    assert np.allclose((low + high) / 2, model.predict(data))
    assert high - low == pytest.approx(0.5 * data.task.scale, rel=0.3)


def test_without_held_out_rows_nothing_is_promised(texts):
    model = Classical().fit(load(texts))
    with pytest.raises(UsageError, match="never saw how far it errs"):
        model.predict_set(texts[0])
    with pytest.raises(UsageError, match="no intervals of values"):
        model.predict_interval(texts[0])
