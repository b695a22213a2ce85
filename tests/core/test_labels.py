"""Rows with several labels: the task, its targets, its decisions and its loss."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from graft.core import labels
from graft.core.errors import DataError
from graft.core.task import Task

ROWS = [("a", "b"), (), ("b",), ("c", "a")]


def test_a_task_of_labels_is_read_encoded_and_decoded():
    task = Task.infer(ROWS, modality="text", kind="multilabel", target="tags")
    assert (task.kind, task.classes, task.metric, task.outputs) == ("multilabel", ("a", "b", "c"), "micro_f1", 3)
    assert task.rates == (0.5, 0.5, 0.25)
    y = task.encode([*ROWS, None])
    assert y[:4].tolist() == [[1, 1, 0], [0, 0, 0], [0, 1, 0], [1, 0, 1]]
    assert task.known(y).tolist() == [True] * 4 + [False]
    assert task.decode(y[:4]).tolist() == [("a", "b"), (), ("b",), ("a", "c")]
    assert dataclasses.replace(task, thresholds=(0.9, 0.1, 0.5)).decode(np.full((1, 3), 0.4)).tolist() == [("b",)]
    assert Task(**json.loads(json.dumps(dataclasses.asdict(task)))) == task
    assert task.sample_weights(y[:4]) is None
    assert Task.infer([("a",)] * 30 + [("b",)] * 2, modality="text", kind="multilabel").metric == "macro_f1"


@pytest.mark.parametrize(
    ("rows", "what"),
    [([(), ()], "only one label"), ([("a",), ()], "only one label"), ([("a", "b")] * 3, "every label")],
)
def test_labels_that_cannot_be_learned_are_an_error(rows, what):
    with pytest.raises(DataError, match=what):
        Task.infer(rows, modality="text", kind="multilabel")


def test_a_label_that_is_none_of_the_task_is_named():
    task = Task.infer(ROWS, modality="text", kind="multilabel")
    with pytest.raises(DataError, match=r"'z' is not a label of the model.*labelled row 2"):
        task.encode([("a",), ("z",)])


def test_the_loss_is_cross_entropy_per_label_and_rare_labels_weigh_more():
    logits, y = torch.tensor([[0.0, 2.0]]), torch.tensor([[1.0, 0.0]])
    task = Task("multilabel", "text", ("a", "b"), "micro_f1", rates=(0.1, 0.5))
    expected = (np.log(2) + np.log1p(np.exp(2))) / 2
    torch.testing.assert_close(task.loss(logits, y), torch.tensor([expected], dtype=torch.float32))
    heavy = dataclasses.replace(task, metric="macro_f1").loss(logits, y)  # √(0.9 / 0.1) = 3
    torch.testing.assert_close(heavy, torch.tensor([expected + np.log(2)], dtype=torch.float32))
    assert labels.weights((0.5, 0.1, 0.0001)).tolist() == pytest.approx([1.0, 3.0, 10.0])
