import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from graft.core.errors import DataError, UsageError
from graft.core.registry import MODALITIES
from graft.data.load import load
from graft.pretrain.masked_table import MaskedTable, columns_of
from graft.sources.base import open_model


def rows(n=240, seed=0, missing=False):
    """A number that is twice another, and a colour that follows its sign."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=n)
    b = 2 * a + rng.normal(size=n) * 0.1
    if missing:
        b[::10] = np.nan
    colour = np.where(a > 0, "red", "blue").tolist()
    return load(
        {"a": a.tolist(), "b": b.tolist(), "noise": rng.normal(size=n).tolist(), "colour": colour}, labelled=False
    )


def made(data=None, **options):
    return MaskedTable(**{"size": "tiny", "epochs": 40, "batch_size": 32, "lr": 5e-3} | options).fit(data or rows())


@pytest.fixture(scope="module")
def trained():
    return made()


def test_related_columns_are_filled_in_and_scores_stand_beside_simple_guesses(trained):
    numbers, categories = trained.record_["scores"]
    assert numbers["low"] < numbers["value"] < numbers["high"]
    assert numbers["value"] < 0.75 * numbers["baselines"]["column mean"]  # noise cannot be known, its third stays
    assert categories["value"] > 0.8
    assert categories["baselines"]["commonest level"] < 0.7


def test_columns_know_their_places():
    vectors = MODALITIES["table"].vectors().fit(rows(missing=True))
    found = {column.name: column for column in columns_of(vectors)}
    assert [found[name].places for name in ("a", "b", "noise")] == [slice(0, 1), slice(1, 2), slice(2, 3)]
    assert (found["a"].flag, found["b"].flag) == (-1, 3)
    assert found["colour"].places == slice(4, 6)
    assert found["colour"].levels == ("blue", "red")


def test_what_is_hidden_cannot_be_seen(tmp_path):
    trained = MaskedTable(size="tiny")
    objective = trained._start(rows(), tmp_path, print)[1].eval()
    values = trained.held_out_[:3].copy()
    hidden = np.zeros((3, 4), dtype=bool)
    hidden[:, 1] = True
    before = objective.predicted(trained._cover(values, hidden))
    values[:, 1] = 99.0
    assert torch.equal(before, objective.predicted(trained._cover(values, hidden)))


def test_errors_follow_their_formulas(tmp_path):
    trained = MaskedTable(size="tiny")
    objective = trained._start(rows(), tmp_path, print)[1].eval()
    hidden = np.ones((5, 4), dtype=bool)
    hidden[:, 0] = False
    batch = trained._cover(trained.held_out_[:5], hidden)
    errors, counted = objective.errors(batch)
    out, truth = objective.predicted(batch), batch["values"]
    assert counted.tolist() == hidden.tolist()
    assert torch.allclose(errors[:, 1], (out[:, 1] - truth[:, 1]) ** 2)
    wanted = -torch.log_softmax(out[:, 3:5], 1)[torch.arange(5), truth[:, 3:5].argmax(1)]
    assert torch.allclose(errors[:, 3], wanted)
    loss = objective.loss(batch, "model").per_example
    assert torch.allclose(loss, errors[:, 1:].mean(dim=1))


def test_missing_values_are_not_predicted(tmp_path):
    made = MaskedTable(size="tiny")
    data = rows(missing=True)
    network = made._start(data, tmp_path, print)[1].eval()
    vectors = made.vectors_.transform(data)[:20]
    counted = network.errors(made._cover(vectors, np.ones((20, 4), dtype=bool)))[1]
    assert counted[:, 1].tolist() == [row % 10 != 0 for row in range(20)]


def test_a_source_that_opens_and_reads_rows(trained, tmp_path):
    backbone = open_model(f"file:{trained.save(tmp_path / 'source')}")
    record = json.loads((tmp_path / "source" / "pretrain.json").read_text(encoding="utf-8"))
    assert record["training"]["rows_per_second"] > 0
    assert {sample["kind"] for sample in record["samples"]} == {"filled"}
    batch = backbone.collate(backbone.preprocess(rows().take(np.arange(3))))
    assert backbone(batch).shape == (3, 64)


def test_equal_seeds_give_equal_bytes(tmp_path):
    one, two = (made(epochs=2).save(tmp_path / name) for name in ("one", "two"))
    first, second = (load_file(folder / "model.safetensors") for folder in (one, two))
    assert all(np.array_equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(
    ("data", "options", "error", "text"),
    [
        ({"a": [1.0], "b": [2.0]}, {}, DataError, "1 row"),
        ({"a": [1.0, 2.0, 3.0], "c": ["x", "x", "x"]}, {}, DataError, "fewer than two columns"),
        ({"a": [1.0] * 9, "b": [2.0] * 9}, {}, DataError, "equal"),
        ({"a": [1.0, 2.0, 3.0], "b": [2.0, 1.0, 5.0]}, {"hidden": 1.5}, UsageError, "1.5"),
        ({"a": [1.0, 2.0, 3.0], "b": [2.0, 1.0, 5.0]}, {"encoder": "resnet"}, UsageError, "resnet"),
    ],
)
def test_bad_input_is_said_in_one_line(data, options, error, text):
    with pytest.raises(error, match=text):
        MaskedTable(size="tiny", epochs=1, **options).fit(load(data, labelled=False))
