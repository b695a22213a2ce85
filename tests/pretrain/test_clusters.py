"""Deep clustering of pictures whose kinds are known."""

import numpy as np
import pytest
import torch
from pretrain.picture_sets import accuracy_of, score_of, stripes
from pretrain.resuming import same_bytes, straight_and_resumed

from graft.core.errors import DataError, UsageError
from graft.core.runtime import Clock, silent
from graft.data.load import load
from graft.pretrain.clusters import LEAVES, Clusters
from graft.pretrain.kmeans import agreement
from graft.sources.base import open_model

SMALL = {"size": "tiny", "side": 8, "clusters": 4, "batch_size": 32, "encoder": "vgg"}


def pictures(n=240, seed=0):
    """Stripes across or down at any phase, which k-means on pixels mixes up, and which kind."""
    return stripes(n, side=16, seed=seed)


@pytest.fixture(scope="module")
def made():
    data = load(pictures(600), partly=True)
    return Clusters(**{**SMALL, "side": 16, "clusters": 6, "lr": 3e-3}, epochs=6).fit(data)


def test_kinds_are_found_better_than_in_the_pixels(made):
    score = score_of(made, "agreement with the labels")
    assert score["value"] > score["baselines"]["k-means on pixels"]
    assert score["low"] <= score["value"] <= score["high"] <= 1


def test_scores_samples_and_the_tree(made):
    assert [score["name"] for score in made.record_["scores"]] == [
        "agreement with the labels", "silhouette", "agreement of the last two groupings",
    ]  # fmt: skip
    assert [sample["kind"] for sample in made.record_["samples"]] == ["clusters"]
    tree = made.record_["tree"]
    assert len(tree["leaves"]) == LEAVES
    assert sum(tree["leaves"]) == tree["rows"] == 570
    assert len(tree["x"]) == len(tree["y"]) == LEAVES - 1
    assert {"loss", "accuracy"} <= set(made.record_["curve"][-1])


def test_features_are_worth_more_than_chance(made):
    rows, y = pictures(200, seed=5)
    assert accuracy_of(made.backbone_, rows, y, labelled=60) > 0.9


def test_labels_are_compared_with_but_never_learned_from():
    rows, y = pictures(80)
    with_labels = Clusters(**SMALL, epochs=1).fit(rows, y)
    without = Clusters(**SMALL, epochs=1).fit(rows)
    pairs = zip(with_labels.backbone_.parameters(), without.backbone_.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert len(with_labels.record_["scores"]) == len(without.record_["scores"]) + 1


def started(tmp_path, **more):
    made = Clusters(**{**SMALL, **more})
    made.clock_ = Clock()
    torch.manual_seed(0)
    objective = made._start(load(pictures(100)[0], labelled=False), tmp_path, silent)[1]
    return made, objective


def test_clusters_are_found_anew_when_it_is_time(tmp_path):
    made, objective = started(tmp_path, reassign=2)
    since = []
    for epoch in range(4):
        next(iter(made._batches(epoch)))
        since.append(int(objective.since))
    assert since == [0, 0, 2, 2]
    made.clock_ = Clock(1e-9)
    next(iter(made._batches(4)))
    assert int(objective.since) == 2  # no time is left for it


def test_a_batch_holds_its_clusters(tmp_path):
    made, objective = started(tmp_path)
    batches = list(made._batches(0))
    assert sum(len(batch["y"]) for batch in batches) == len(made.pictures_.train)
    counts = np.bincount(np.concatenate([batch["y"].numpy() for batch in batches]), minlength=4)
    assert counts.max() - counts.min() <= 4
    assert set(objective.assigned.tolist()) == {0, 1, 2, 3}


def test_names_of_clusters_last_when_nothing_changes(tmp_path):
    made, objective = started(tmp_path)
    made._regroup(0)
    made._regroup(1)
    first = objective.assigned.clone().numpy()
    made._regroup(2)
    again = objective.assigned.numpy()
    share = agreement(first, again)(np.ones((1, len(first))))[0]
    assert (first == again).mean() >= 0.5 * share


def test_a_training_that_was_killed_ends_with_the_same_bytes(tmp_path):
    pair = straight_and_resumed(lambda: Clusters(**SMALL, epochs=4), pictures(120)[0], tmp_path, saved=6, killed=7)
    assert same_bytes(*pair, tmp_path)
    assert pair[0].record_["scores"] == pair[1].record_["scores"]
    assert open_model(f"file:{tmp_path / 'one'}").spec.objective.startswith("deep clustering on")


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Clusters(clusters=1), UsageError, "use two clusters or more"),
        (lambda: Clusters(reassign=0), UsageError, "one epoch or more"),
        (lambda: Clusters(clusters=20), DataError, "38 pictures are too few for 20 clusters; ask for fewer"),
        (lambda: Clusters(encoder="lstm"), UsageError, "does not train the encoder 'lstm'"),
    ],
)
def test_what_cannot_be_clustered_is_said(make, error, words):
    with pytest.raises(error, match=words):
        make().fit(pictures(40)[0])
