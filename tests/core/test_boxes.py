"""Geometry of boxes, and their way to arrays and back."""

import numpy as np
import pytest

from graft.core import boxes
from graft.core.errors import DataError
from graft.core.ragged import ragged
from graft.core.task import Task


def test_corners_centres_and_back():
    box = np.array([[2.0, 3, 8, 5]])
    assert boxes.to_corner(box).tolist() == [[2, 3, 6, 2]]
    assert boxes.to_centre(box).tolist() == [[5, 4, 6, 2]]
    assert np.array_equal(boxes.from_corner(boxes.to_corner(box)), box)
    assert np.array_equal(boxes.from_centre(boxes.to_centre(box)), box)


def test_overlap_of_nothing_is_nothing():
    some = np.array([[0.0, 0, 2, 2], [5, 5, 5, 5]])
    assert boxes.iou(some, some).tolist() == [[1, 0], [0, 0]]
    assert boxes.iou(np.zeros((0, 4)), some).shape == (0, 2)


def test_suppression_is_by_class_and_keeps_the_best():
    found = np.array([[0, 0, 4, 4, 0, 0.2], [0, 0, 4, 4, 1, 0.3], [0, 0, 4, 3.9, 0, 0.8]])
    assert boxes.suppressed(found, 0.5, 10)[:, boxes.SCORE].tolist() == [0.8, 0.3]
    assert len(boxes.suppressed(found, 0.5, 1)) == 1


def test_a_task_of_boxes():
    y = [[{"label": "b", "box": [0, 0, 1, 2]}, {"label": "a", "box": [1, 1, 2, 2]}], []]
    task = Task.infer(ragged(y), modality="image", kind="detection")
    assert (task.classes, task.metric, task.outputs) == (("a", "b"), "map", 2)
    encoded = task.encode(y)
    assert [len(row) for row in encoded] == [2, 0]
    assert encoded[0][:, boxes.CLASS].tolist() == [1, 0]
    assert task.known(encoded).all()
    found = ragged([np.array([[0, 0, 1, 1, 1, 0.29], [0, 0, 2, 2, 0, 0.5]]), np.zeros((0, 6))])
    assert [[one["label"] for one in row] for row in task.decode(found)] == [["a"], []]
    with pytest.raises(DataError, match="'c' is not a class"):
        task.encode([[{"label": "c", "box": [0, 0, 1, 1]}]])
    with pytest.raises(DataError, match="no box"):
        Task.infer(ragged([[], []]), modality="image", kind="detection")
