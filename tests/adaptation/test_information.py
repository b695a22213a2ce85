"""Entropies, confusion, and labels from predictions, by closed forms."""

import math

import pytest
import torch

from graft.adaptation.information import (
    centroid_labels,
    class_confusion,
    diversity,
    entropy,
    mutual_information,
    surest_labels,
)


def test_entropy_lies_between_nothing_and_log_c():
    logits = torch.cat([torch.zeros(1, 4), torch.tensor([[100.0, 0, 0, 0]])])
    assert entropy(logits).tolist() == pytest.approx([math.log(4), 0.0], abs=1e-6)
    assert float(diversity(logits[1:])) == pytest.approx(0.0, abs=1e-6)


def test_the_gradient_of_the_entropy_is_minus_p_times_log_p_plus_h():
    logits = torch.tensor([[1.0, -0.5, 0.3]], requires_grad=True)
    entropy(logits).sum().backward()
    p, h = logits.softmax(1), entropy(logits)
    assert torch.allclose(logits.grad, -p * (p.log() + h), atol=1e-6)


def test_mutual_information_is_largest_for_sure_rows_of_all_classes():
    sure = 100 * torch.eye(3)
    assert float(mutual_information(sure)) == pytest.approx(math.log(3), abs=1e-5)
    assert float(mutual_information(sure[[0, 0, 0]])) == pytest.approx(0.0, abs=1e-5)
    assert float(mutual_information(torch.zeros(3, 3))) == pytest.approx(0.0, abs=1e-5)


def test_confusion_of_two_classes_is_theirs_alone():
    apart = 100 * torch.eye(4)
    mixed = apart.clone()
    mixed[:2, :2] = 50.0  # rows of the first two classes, between both
    assert float(class_confusion(apart, 1.0)) == pytest.approx(0.0, abs=1e-5)
    assert float(class_confusion(mixed, 1.0)) == pytest.approx(0.25, abs=1e-4)  # half of two of four classes


def test_each_class_has_its_own_threshold():
    logits = torch.tensor([[5.0, 0], [4.0, 0], [3.0, 0], [2.0, 0], [0, 0.4], [0, 0.3], [0, 0.2], [0, 0.1]])
    assert surest_labels(logits, 0.5).tolist() == [0, 0, -1, -1, 1, 1, -1, -1]
    assert (surest_labels(logits, 1.0) == logits.argmax(1)).all()
    assert (surest_labels(logits, 0.01) >= 0).sum() == 2  # one of each at least


def test_centres_correct_rows_that_lie_with_another_class():
    features = torch.tensor([[10.0, 0], [9.0, 1], [8.0, 0], [0, 10.0], [1, 9.0], [0, 8.0]])
    logits = torch.tensor([[4.0, 0], [4.0, 0], [-0.1, 0], [0, 4.0], [0, 4.0], [0, 4.0]])  # the third is called 1
    assert centroid_labels(features, logits).tolist() == [0, 0, 0, 1, 1, 1]


def test_a_class_that_is_never_predicted_labels_nothing():
    logits = torch.tensor([[4.0, 0, -50], [0, 4.0, -50]])
    assert centroid_labels(torch.eye(2), logits).tolist() == [0, 1]
