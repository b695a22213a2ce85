import pytest

from graft.core.errors import DataError, UsageError
from graft.zero_shot.wording import check_classes, read_classes, sentences

TWO = {"card_arrival": (), "refund": ("Money is given back.", "a refund")}


def test_names_become_words_and_descriptions_stay():
    said = sentences(TWO, None, modality="text", entailment=False)
    assert said[0][0] == "card arrival"
    assert said[1] == ["Money is given back.", "a refund"]
    hypotheses = sentences(TWO, None, modality="text", entailment=True)
    assert hypotheses == [
        ["This text is about card arrival."], ["Money is given back.", "This text is about a refund."]
    ]  # fmt: skip


def test_templates_follow_the_script():
    said = sentences({"体育": (), "财经": ()}, None, modality="text", entailment=False)
    assert said[0] == ["体育", "这段文字是关于体育的。"]
    assert sentences({"猫": (), "狗": ()}, None, modality="image", entailment=False)[0][0] == "一张猫的照片。"
    assert sentences(TWO, ["about {}!"], modality="text", entailment=False)[0] == ["about card arrival!"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("c.txt", "card_arrival\nrefund\tMoney is given back.\ta refund\n"),
        ("c.json", '{"card_arrival": [], "refund": ["Money is given back.", "a refund"]}'),
        ("c.toml", 'card_arrival = []\nrefund = ["Money is given back.", "a refund"]\n'),
    ],
)
def test_files_of_classes(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    assert read_classes(str(tmp_path / name)) == TWO


def test_lists_with_commas():
    assert list(read_classes("体育，财经、教育")) == ["体育", "财经", "教育"]


@pytest.mark.parametrize(
    ("classes", "line"),
    [
        (["a"], "only the class 'a' is given"),
        ([], "no class is given"),
        (["a", "b", "a"], "class 'a' stands twice"),
        (["a_b", "a b"], "classes 'a_b' and 'a b' have the same words"),
        ({"a": "x", "b": "x"}, "classes 'a' and 'b' have the same words"),
        ({"a": " ", "b": "x"}, "the description of class 'a' is empty"),
        ({"a": ["x", ""], "b": "x"}, "the description of class 'a' is empty"),
        (["a", "!"], "class '!' has no words"),
        ("a, b", "not str"),
    ],
)
def test_classes_that_cannot_be_told_apart(classes, line):
    with pytest.raises(UsageError, match=line):
        check_classes(classes)


def test_files_that_are_wrong(tmp_path):
    (tmp_path / "c.json").write_text('{"a": "x", "a": "y"}')
    with pytest.raises(UsageError, match="class 'a' stands twice"):
        read_classes(str(tmp_path / "c.json"))
    (tmp_path / "c.json").write_text("[")
    with pytest.raises(DataError, match="cannot be read"):
        read_classes(str(tmp_path / "c.json"))
    with pytest.raises(DataError, match="no classes in"):
        read_classes(str(tmp_path / "absent.txt"))
    with pytest.raises(UsageError, match=r"does not hold \{\} once"):
        sentences(TWO, ["about"], modality="text", entailment=False)
