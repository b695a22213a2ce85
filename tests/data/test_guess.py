import numpy as np
import pyarrow as pa
import pytest

from graft.core.errors import DataError, UsageError
from graft.data.formats import plain
from graft.data.guess import guess


def table(**columns):
    return plain(pa.table({name: [str(value) for value in values] for name, values in columns.items()}))


N = range(40)
SENTENCES = [f"this is sentence number {i}" for i in N]
NAMES = [f"Smith, Mr. John {i}" for i in N]
CLASSES = [("yes", "no")[i % 2] for i in N]


def test_text_by_name_and_by_look():
    assert guess(table(text=SENTENCES, label=CLASSES), where="f").inputs == ("text",)
    assert guess(table(foo=SENTENCES, bar=CLASSES), where="f").inputs == ("foo",)
    chinese = guess(table(标题=[f"第{i}个新闻" for i in N], 标签=CLASSES), where="f")
    assert (chinese.modality, chinese.inputs, chinese.label) == ("text", ("标题",), "标签")


def test_short_unique_words_alone_are_text():
    found = guess(table(name=[f"w{chr(97 + i % 26)}{i}x" for i in N], nation=CLASSES), where="f")
    assert (found.modality, found.inputs) == ("text", ("name",))


def test_pairs():
    found = guess(table(id=N, question1=SENTENCES, question2=NAMES, same=CLASSES), where="f", label="same")
    assert found.inputs == ("question1", "question2")


def test_tables_leave_identifiers_out_and_read_free_text():
    ages = [i % 30 for i in N]
    found = guess(
        table(PassengerId=N, name=NAMES, sex=CLASSES, age=ages, fare=[i / 3 for i in N], hole=[""] * 40, label=CLASSES),
        where="f",
    )
    assert found.modality == "table"
    assert found.kinds == {"name": "text", "sex": "category", "age": "number", "fare": "number"}
    assert any("PassengerId, hole" in note for note in found.notes)


def test_image_paths():
    found = guess(table(file=[f"a/{i}.JPG" for i in N], label=CLASSES), where="f")
    assert (found.modality, found.inputs) == ("image", ("file",))
    with pytest.raises(DataError, match="several columns of images"):
        guess(table(a=["1.jpg"] * 40, b=["2.png"] * 40, label=CLASSES), where="f")


def test_number_columns_tolerate_one_word_in_a_hundred():
    values = [str(i) for i in range(500)]
    values[499] = "broken"
    found = guess(pa.table({"a": values, "b": values, "label": ["x", "y"] * 250}), where="f")
    assert found.kinds["a"] == "number"
    assert any("1 cell(s) of 'a' are no numbers" in note for note in found.notes)
    values[:50] = ["word"] * 50
    found = guess(pa.table({"a": values, "label": ["x", "y"] * 250}), where="f", modality="table", inputs=("a",))
    assert found.kinds == {"a": "category"}


def test_last_column_is_the_label_only_if_it_repeats():
    assert guess(table(a=N, b=N, kind=CLASSES), where="f").label == "kind"
    with pytest.raises(DataError, match="no label column found"):
        guess(table(a=CLASSES, b=N, c=[i * 2 for i in N]), where="f")
    with pytest.raises(DataError, match=r"is it 'lable'\?"):
        guess(table(lable=N, text=SENTENCES), where="f")


def test_a_column_has_one_role():
    with pytest.raises(UsageError, match="both as label and as input"):
        guess(table(a=N, b=CLASSES), where="f", label="b", inputs=("b",))


def test_the_guess_does_not_depend_on_row_order():
    data = table(a=N, city=CLASSES, label=CLASSES)
    order = np.random.default_rng(0).permutation(40)
    assert guess(data, where="f") == guess(data.take(order), where="f")
