"""Spans and tags against cases worked by hand."""

import numpy as np
import pytest

from graft.core.errors import DataError
from graft.core.ragged import ragged
from graft.core.spans import best_tags, read_tags, span_counts, split_tag, to_spans, to_tags, transitions, viterbi
from graft.core.task import Task
from graft.evaluate.metrics import evaluate, per_class, score
from graft.trust.guard import guard

TASK = Task("tagging", "text", ("O", "B-LOC", "I-LOC", "B-PER", "I-PER"), "entity_f1")


def sure(*sentences):
    return ragged(np.eye(5)[list(tags)] * 0.9 + 0.02 for tags in sentences)


def test_strict_counts_by_hand():
    y = ragged([np.array([1, 2, 0, 3]), np.array([3, 4, 4]), np.array([0, 0])])
    # the first LOC is cut short, PER right; the second PER begins late; the third sentence has one made up
    said = sure((1, 0, 0, 3), (0, 3, 4), (1, 2))
    assert span_counts(y, best_tags(said)).tolist() == [[1, 2, 2], [0, 1, 1], [0, 0, 1]]
    found = {row["class"]: row for row in per_class(TASK, y, said)}
    assert found["LOC"] == {"class": "LOC", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1, "predicted": 2}
    assert found["PER"]["precision"] == found["PER"]["recall"] == 0.5
    metrics = evaluate(TASK, y, said)
    assert metrics["entity_f1"][0] == pytest.approx(2 * 1 / (3 + 4))
    assert metrics["entity_precision"][0] == pytest.approx(1 / 4)
    assert metrics["entity_recall"][0] == pytest.approx(1 / 3)
    assert metrics["word_accuracy"][0] == pytest.approx(4 / 9)


def test_touching_spans_and_types_count():
    y = ragged([np.array([1, 1, 2]), np.array([3, 4])])
    assert span_counts(y, ragged([np.array([1, 2, 2]), np.array([1, 2])])).tolist() == [[0, 2, 1], [0, 1, 1]]
    assert span_counts(y, y).tolist() == [[2, 2, 2], [1, 1, 1]]
    assert span_counts(ragged([np.zeros(0, int)]), ragged([np.zeros(0, int)])).tolist() == [[0, 0, 0]]


def test_no_span_at_all_is_zero_and_not_a_number():
    y = ragged([np.array([0, 0])])
    assert score(TASK, y, sure((0, 0))) == 0.0


def test_decoding_gives_the_best_valid_sequence():
    rng = np.random.default_rng(0)
    outputs = ragged(rng.dirichlet(np.ones(5), size=4) for _ in range(40))
    allowed = transitions(5)
    grid = np.stack(np.meshgrid(*[np.arange(5)] * 4, indexing="ij"), -1).reshape(-1, 4)
    valid = allowed[0, grid[:, 0]] & np.logical_and.reduce([allowed[grid[:, t], grid[:, t + 1]] for t in range(3)])
    for row, found in zip(outputs, best_tags(outputs), strict=True):
        likelihood = np.prod([row[t, grid[:, t]] for t in range(4)], axis=0) * valid
        assert found.tolist() == grid[likelihood.argmax()].tolist()


def test_viterbi_reads_sentences_of_all_lengths_together():
    emissions = ragged([np.zeros((0, 3)), np.array([[0.0, 1, 0]]), np.array([[0.0, 1, 0], [0, 0, 5], [2, 0, 0]])])
    found = viterbi(emissions, np.zeros((3, 3)), np.zeros(3))
    assert [tags.tolist() for tags in found] == [[], [1], [1, 2, 0]]


def test_tags_and_spans_are_inverse():
    spans = [(0, 2, "A"), (2, 3, "A"), (4, 5, "B")]
    assert to_spans(to_tags(spans, 6)) == spans
    read = read_tags([[("B", "A"), ("I", "B")]])
    assert read.spans == [[(0, 1, "A"), (1, 2, "B")]]
    assert read.repaired.tolist() == [1]
    assert split_tag("geo-loc") == ("", "geo-loc")


def test_bootstrap_draws_sentences_and_the_guard_works():
    rng = np.random.default_rng(0)
    y = ragged(np.array([1, 2, 0, 3]) for _ in range(60))
    good = sure(*[(1, 2, 0, 3) if rng.random() < 0.9 else (0, 0, 0, 0) for _ in y])
    poor = sure(*[(1, 2, 0, 0) if rng.random() < 0.5 else (0, 0, 0, 0) for _ in y])
    verdict = guard(TASK, y, good, [("poor", poor)], chosen_name="good")
    assert verdict.decision == "transfer"
    low, high = evaluate(TASK, y, good)["entity_f1"][1:]
    assert low < score(TASK, y, good) < high
    assert evaluate(TASK, y, good, groups=np.arange(60) // 20)["entity_f1"][1] <= low + 0.1


@pytest.mark.parametrize(
    ("outputs", "line"),
    [
        (ragged([np.ones((2, 5))]), "2 words have outputs, 1 have tags"),
        (ragged([np.ones((1, 3))]), "per word, the task needs"),
        (ragged([np.full((1, 5), np.nan)]), "not finite"),
        (np.ones((1, 5)), "an array of tags"),
    ],
)
def test_outputs_that_do_not_fit_are_refused(outputs, line):
    with pytest.raises(DataError, match=line):
        score(TASK, ragged([np.array([1])]), outputs)


def test_the_task_encodes_and_decodes():
    tags = [["O", "B-LOC"], ["B-PER", "I-PER"]]
    y = TASK.encode(tags)
    assert [row.tolist() for row in y] == [[0, 1], [3, 4]]
    assert TASK.decode(sure(*(row.tolist() for row in y))).tolist() == tags
    with pytest.raises(DataError, match=r"'B-GPE' is not a tag of the model \[sentence 2\]"):
        TASK.encode([["O"], ["B-GPE"]])
    with pytest.raises(DataError, match="no span"):
        Task.infer(ragged([["O", "O"]]), modality="text", kind="tagging")
