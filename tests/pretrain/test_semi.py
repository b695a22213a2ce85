"""Few labels and many rows without."""

import numpy as np
import pytest
import torch
from conftest import make_table, make_texts
from pretrain.picture_sets import stripes
from pretrain.resuming import same_bytes, straight_and_resumed
from torch.nn.functional import cross_entropy

from graft.core.errors import DataError, UsageError
from graft.core.runtime import silent
from graft.data.load import load
from graft.pretrain.semi import DROPPED, FixMatch, Semi, _thinned, part_of
from graft.sources.base import open_model

SMALL = {"size": "tiny", "unit": "word", "batch_size": 8, "lr": 3e-3, "threshold": 0.95}


def few(X, y, known):
    """The same rows, of which only the first ``known`` keep their label."""
    return X, [label if i < known else None for i, label in enumerate(y)]


def started(tmp_path, X, y, **more):
    made = Semi(**{**SMALL, **more})
    torch.manual_seed(0)
    _, objective, batches, per_epoch = made._start(load((X, y), partly=True), tmp_path, silent)
    return made, objective, list(batches(0)), per_epoch


@pytest.mark.parametrize("kind", ["text", "image"])
def test_scores_stand_beside_the_labelled_rows_alone(kind, tmp_path):
    X, y = make_texts(200) if kind == "text" else stripes(200, side=8)
    made = Semi(**SMALL, epochs=6).fit(*few(X, y, 40))
    score = made.record_["scores"][0]
    assert list(score["baselines"]) == ["labelled rows alone", "commonest class"]
    assert score["value"] > score["baselines"]["commonest class"]
    (note,) = made.record_["notes"]
    assert note.startswith("The rows without label ")
    assert "beside the same network in the same steps on the 32 labelled rows alone" in note
    facts = made.record_["data"]
    assert (facts["labelled_rows"], facts["held_out_rows"], facts["train_rows"]) == (32, 8, 192)
    opened = open_model(f"file:{made.save(tmp_path / 'source')}")
    assert opened.spec.objective.startswith("semi-supervised pretraining on")
    assert {"loss", "loss_alone", "used"} <= set(made.record_["curve"][-1])


def test_the_loss_is_that_of_the_paper(tmp_path):
    X, y = stripes(60, side=8)
    _, objective, batches, _ = started(tmp_path, *few(X, y, 20), threshold=0.5001, trust=2.0)
    objective.eval()
    batch = batches[0]
    assert isinstance(objective, FixMatch)

    def outputs(name):
        return objective.head(objective.backbone(part_of(batch, name)))

    with torch.no_grad():
        chances = torch.softmax(outputs("weak"), dim=1)
        terms = -torch.log_softmax(outputs("strong"), dim=1)[torch.arange(len(chances)), chances.argmax(1)]
        counted = chances.max(1).values >= 0.5001
        loss = objective.loss(batch, "model")
        torch.testing.assert_close(loss.per_example, cross_entropy(outputs("known"), batch["y"], reduction="none"))
        torch.testing.assert_close(loss.batch, 2.0 * (terms * counted).mean())
        assert loss.logs["used"] == pytest.approx(float(counted.float().mean()))


def test_nothing_is_learned_from_rows_of_which_it_is_not_sure(tmp_path):
    X, y = stripes(60, side=8)
    _, objective, batches, _ = started(tmp_path, *few(X, y, 20), threshold=1.0)
    loss = objective.loss(batches[0], "model")
    assert float(loss.batch.detach()) == 0
    assert loss.logs["used"] == 0


def test_the_twin_starts_equal_and_sees_the_same_labelled_rows(tmp_path):
    X, y = stripes(60, side=8)
    _, objective, batches, _ = started(tmp_path, *few(X, y, 20))
    pairs = zip(objective.backbone.body.parameters(), objective.twin.parameters(), strict=True)
    assert all(torch.equal(a, b) and a is not b for a, b in pairs)
    own, alone = (objective.loss(batches[0], player).per_example for player in ("model", "alone"))
    torch.testing.assert_close(own, alone)
    listed = [id(p) for groups in objective.players().values() for group in groups for p in group["params"]]
    assert sorted(listed) == sorted(id(p) for p in objective.parameters())


def test_a_step_holds_labelled_rows_and_as_many_others_as_asked(tmp_path):
    X, y = make_texts(100)
    made, _, batches, per_epoch = started(tmp_path, *few(X, y, 20), ratio=2)
    assert len(batches) == per_epoch == -(-96 // 16)
    assert all(len(batch["known.input_ids"]) == len(batch["y"]) == 8 for batch in batches)
    assert sum(len(batch["weak.input_ids"]) for batch in batches) == 96
    assert all((batch["strong.attention_mask"].sum(1) >= 1).all() for batch in batches)
    again = list(made._batches(0))
    assert all(torch.equal(a[key], b[key]) for a, b in zip(batches, again, strict=True) for key in a)


def test_a_fifth_of_the_tokens_is_dropped_and_one_stays():
    rng = np.random.default_rng(0)
    assert np.mean([len(_thinned(np.arange(100), rng)) for _ in range(200)]) == pytest.approx(
        100 * (1 - DROPPED), abs=2
    )
    assert all(len(_thinned(np.array([7]), rng)) == 1 for _ in range(30))


@pytest.mark.parametrize("kind", ["text", "image"])
def test_a_training_that_was_killed_ends_with_the_same_bytes(kind, tmp_path):
    X, y = make_texts(100) if kind == "text" else stripes(100, side=8)
    data = load(few(X, y, 30), partly=True)
    pair = straight_and_resumed(lambda: Semi(**SMALL, epochs=3), data, tmp_path)
    assert same_bytes(*pair, tmp_path)
    assert pair[0].record_["notes"] == pair[1].record_["notes"]


@pytest.mark.parametrize(
    ("make", "data", "error", "words"),
    [
        (Semi, make_texts(20), DataError, "all 20 rows of data have a label; leave the label of other rows empty"),
        (Semi, (["a b", "c d"], [None, None]), DataError, "empty"),
        (Semi, make_table(20), UsageError, "does not read table"),
        (lambda: Semi(threshold=1.5), few(*make_texts(20), 10), UsageError, "use a threshold between 0 and 1"),
        (Semi, (["a b", "c d"] * 20, [0.25 * i if i < 25 else None for i in range(40)]), UsageError, "learns classes"),
        (Semi, few(*make_texts(20), 2), DataError, r"only 2 row\(s\) have a label"),
    ],
)
def test_what_cannot_be_learned_is_said(make, data, error, words):
    with pytest.raises(error, match=words):
        make().fit(*data)
