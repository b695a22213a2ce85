"""One question at a time."""

import pytest

from graft.active.asking import Asking


def asked(typed, count=3, classes=("card", "parcel"), **options):
    """What was answered and said, and how often it was saved."""
    said, saved = [], []
    lines = [{"row": str(i + 1), "text": f"row {i}", "suggestion": "", "label": ""} for i in range(count)]
    asking = Asking(lines, "label", list(classes), save=lambda done: saved.append([dict(one) for one in done]),
                    say=said.append, **options)  # fmt: skip
    asking.run(iter(typed))
    return asking, "\n".join(said), saved


@pytest.mark.parametrize("word", ["1", "card", " Card "])
def test_a_class_by_number_or_name(word):
    asking, _, saved = asked([word, "parcel", "2"])
    assert [line["label"] for line in asking.answered] == ["card", "parcel", "parcel"]
    assert [len(one) for one in saved] == [1, 2, 3]  # each answer is kept at once


def test_undo_takes_back_answers_and_skips():
    asking, said, saved = asked(["u", "1", "s", "u", "u", "2", "1", "1"])
    assert "nothing to undo" in said
    assert [line["label"] for line in asking.answered] == ["parcel", "card", "card"]
    assert asking.skipped == 0
    assert [len(one) for one in saved] == [1, 0, 1, 2, 3]


@pytest.mark.parametrize("end", [["q"], []])
def test_quitting_keeps_what_is_answered(end):
    asking, _, saved = asked(["1", "s", *end])
    assert [line["row"] for line in asking.answered] == ["1"]
    assert asking.skipped == 1
    assert saved[-1] == asking.answered


def test_a_slip_of_the_pen_is_no_class_and_a_new_one_is_made_on_purpose():
    asking, said, _ = asked(["parcl", "3", "+order", "3", "+ "], count=2)
    assert "did you mean 'parcel'?" in said
    assert "no class '3'" in said
    assert [line["label"] for line in asking.answered] == ["order", "order"]
    assert asking.classes == ["card", "parcel", "order"]


def test_classes_that_look_like_commands_or_numbers():
    asking, _, _ = asked(["2", "u", "q"], classes=("2", "q", "u"))
    assert [line["label"] for line in asking.answered] == ["2", "u", "q"]


def test_values():
    asking, said, _ = asked(["much", "1.5", "s", "-2"], classes=(), values=True)
    assert [line["label"] for line in asking.answered] == ["1.5", "-2.0"]
    assert "'much' is not a number" in said


def test_what_is_shown():
    lines = [{"row": "7", "text": "where is it", "suggestion": "parcel", "probability": "0.71", "reason": "typical",
              "key": "k1", "label": ""}]  # fmt: skip
    said = []
    Asking(lines, "label", [], save=print, say=said.append).run(iter(["q"]))
    assert "  where is it" in said
    assert "  the model would say parcel (0.71)" in said
    assert not any("k1" in line for line in said)
