"""Sentences with tags from every form that is read, and what is wrong with some."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from graft.core.errors import DataError
from graft.core.ragged import flat, lengths
from graft.data.conll import layout_of, looks_like_columns
from graft.data.load import load, recipe
from graft.data.sentences import Sentence, by_words
from graft.data.stream import stream

WORDS = ["Ada", "Byron", "met", "Emmy", "in", "New", "York", "."]
BIO = ["B-PER", "I-PER", "O", "B-PER", "O", "B-LOC", "I-LOC", "O"]
FORMS = {
    "IOB1": ["I-PER", "I-PER", "O", "I-PER", "O", "I-LOC", "I-LOC", "O"],
    "BIOES": ["B-PER", "E-PER", "O", "S-PER", "O", "B-LOC", "E-LOC", "O"],
    "BILOU": ["B-PER", "L-PER", "O", "U-PER", "O", "B-LOC", "L-LOC", "O"],
    "BMES": ["B-PER", "E-PER", "O", "S-PER", "O", "B-LOC", "E-LOC", "O"],
    "IO": ["PER", "PER", "O", "PER", "O", "LOC", "LOC", "O"],
    "BIO": BIO,
}


def columns(path, sentences, *, separator=" ", between="\n"):
    blocks = ["".join(separator.join(cells) + "\n" for cells in sentence) for sentence in sentences]
    path.write_text(between.join(blocks), encoding="utf-8")
    return path


@pytest.mark.parametrize("scheme", FORMS)
def test_every_scheme_becomes_bio(tmp_path, scheme):
    path = columns(tmp_path / "a.conll", [list(zip(WORDS, FORMS[scheme], strict=True))] * 2)
    data = load(path)
    assert data.task.kind == "tagging"
    assert data.task.metric == "entity_f1"
    assert data.task.classes == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
    assert data.labels[0] == BIO
    assert data.take()[0].words == WORDS
    assert any("converted to BIO" in note for note in data.notes) == (scheme != "BIO")


def test_touching_spans_of_one_type_stay_two_in_iob1(tmp_path):
    tags = ["I-PER", "B-PER", "O", "I-LOC"]
    data = load(columns(tmp_path / "a.bio", [list(zip("abcd", tags, strict=True))]))
    assert data.labels[0] == ["B-PER", "B-PER", "O", "B-LOC"]


@pytest.mark.parametrize("name", ["a.txt", "a.conll", "a.tsv"])
def test_four_columns_comments_and_documents_are_found_without_options(tmp_path, name):
    separator = "\t" if name.endswith("tsv") else " "
    rows = [[word, "NN", "B-NP", tag] for word, tag in zip(WORDS, BIO, strict=True)]
    text = "# written by hand\n-DOCSTART- -X- O O\n\n"
    for _ in range(12):
        text += (
            "\n\n".join("\n".join(separator.join(row) for row in rows) for _ in range(2)) + "\n\n-DOCSTART- -X- O O\n\n"
        )
    (tmp_path / name).write_text(text)
    data = load(tmp_path / name)
    assert len(data) == 24
    assert data.labels[3] == BIO
    assert len(np.unique(data.groups)) == 12
    assert any("12 documents" in note for note in data.notes)
    assert data.line_of[:2].tolist() == [4, 13]


def test_a_hash_may_be_a_word_and_numbers_may_come_first(tmp_path):
    path = columns(tmp_path / "a.ner", [[("1", "#", "O"), ("2", "Rome", "B-LOC")], [("1", "Oslo", "B-LOC")]])
    data = load(path)
    assert [sentence.words for sentence in data.take()] == [["#", "Rome"], ["Oslo"]]


def test_ordinary_text_files_are_no_columns(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("a plain line\nanother one\n")
    assert not looks_like_columns(path, "utf-8")
    assert load(path, labelled=False).take() == ["a plain line", "another one"]
    table = tmp_path / "b.tsv"
    table.write_text("text\tlabel\n" + "".join(f"row {n}\t{'O' if n % 2 else 'B'}\n" for n in range(8)))
    assert load(table).task.kind == "classification"


def test_json_lines_with_words_or_with_spans(tmp_path):
    one = tmp_path / "a.jsonl"
    one.write_text("\n".join(json.dumps({"tokens": WORDS, "ner_tags": BIO}) for _ in range(2)))
    assert load(one).labels[0] == BIO
    two = tmp_path / "b.jsonl"
    rows = [
        {"text": "Ada Byron met Emmy.", "entities": [{"start": 0, "end": 9, "label": "PER"}, [14, 18, "PER"]]},
        {"text": "李明在北京。", "entities": [{"start_offset": 0, "end_offset": 2, "type": "PER"}, [3, 5, "LOC"]]},
        {"text": "nothing", "entities": []},
        {"text": " ", "entities": []},
    ]
    two.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    data = load(two)
    assert [sentence.words for sentence in data.take()[:2]] == [["Ada", "Byron", "met", "Emmy", "."], [*"李明在北京。"]]
    assert data.labels[1] == ["B-PER", "I-PER", "O", "B-LOC", "I-LOC", "O"]
    assert len(data) == 3
    assert any("without a word left out: line 4" in note for note in data.notes)


def test_spans_that_overlap_or_cut_words(tmp_path):
    path = tmp_path / "a.jsonl"
    spans = [
        {"start": 0, "end": 11, "label": "ORG"},
        {"start": 8, "end": 11, "label": "LOC"},
        {"start": 12, "end": 16, "label": "X"},
    ]
    path.write_text(json.dumps({"text": "Bank of Ely overdrawn", "spans": spans}))
    data = load(path)
    assert data.take()[0].words == ["Bank", "of", "Ely", "over", "drawn"]
    assert data.labels[0] == ["B-ORG", "I-ORG", "I-ORG", "B-X", "O"]
    assert sum("longest is kept" in note or "inside of a word" in note for note in data.notes) == 2


def test_hugging_face_data_on_disk_parquet_and_arrays(tmp_path):
    names = ["O", "B-LOC", "I-LOC"]
    feature = {"ner_tags": {"feature": {"names": names, "_type": "ClassLabel"}, "_type": "Sequence"}}
    schema = pa.schema(
        [("tokens", pa.list_(pa.string())), ("ner_tags", pa.list_(pa.int64()))],
        metadata={"huggingface": json.dumps({"info": {"features": feature}})},
    )
    table = pa.table({"tokens": [["in", "New", "York"], ["no"]], "ner_tags": [[0, 1, 2], [0]]}, schema=schema)
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "dataset_info.json").write_text("{}")
    with pa.ipc.new_stream(str(folder / "data-00000-of-00001.arrow"), schema) as sink:
        sink.write_table(table)
    pq.write_table(table, tmp_path / "a.parquet")
    arrays = ([["in", "New", "York"], ["no"]], [["O", "B-LOC", "I-LOC"], ["O"]])
    for source in (folder, tmp_path / "a.parquet", table, arrays):
        data = load(source)
        assert data.labels[0] == ["O", "B-LOC", "I-LOC"]
        assert data.take()[0].words == ["in", "New", "York"]
    (folder / "dataset_dict.json").write_text("{}")
    with pytest.raises(DataError, match="holds splits"):
        load(folder)


MANY = "Rome B-LOC\nis O\n\n" * 60


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (MANY + "Rome B-LOC\nis O x\n", r"3 columns, the other lines have 2 \[a.conll, line 182\]"),
        (MANY + "Rome\n", r"1 column, the other lines have 2 \[a.conll, line 181\]"),
        (MANY + "by O\nRome B-\n", r"'B-' is no tag.*line 182"),
        ("a O\nb O\n", "no span in 'tags'"),
        ("a\nb\n", "one column, a word and its tag are needed"),
        ("a b\nc d\n", "no column of tags"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path, text, line):
    path = tmp_path / "a.conll"
    path.write_text(text)
    with pytest.raises(DataError, match=line) as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_bad_sentences_can_be_dropped(tmp_path):
    path = tmp_path / "a.conll"
    path.write_text(MANY + "Rome B-LOC\nis O x\n")
    data = load(path, bad_rows="drop")
    assert len(data) == 60
    assert any("1 unreadable sentence(s) left out: line 182" in note for note in data.notes)


@pytest.mark.parametrize(
    ("record", "line"),
    [
        ({"text": "abc", "spans": [{"start": 2, "end": 9, "label": "X"}]}, "the span 2 to 9 is not within"),
        ({"text": "abc", "spans": [{"start": 2, "end": 2, "label": "X"}]}, "the span 2 to 2 is not within"),
        ({"text": "abc", "spans": [{"start": 0, "end": 2}]}, "is no span: start, end and label"),
        ({"tokens": ["a", "b"], "tags": ["O"]}, "2 words but 1 tags"),
        ({"tokens": ["a", " "], "tags": ["O", "O"]}, "word 2 is empty"),
        ({"tokens": ["a"], "tags": [1]}, "nothing says their names"),
    ],
)
def test_bad_records_are_named(tmp_path, record, line):
    path = tmp_path / "a.jsonl"
    good = (
        {"text": "in Rome", "spans": [{"start": 3, "end": 7, "label": "LOC"}]}
        if "text" in record
        else {"tokens": ["Rome"], "tags": ["B-LOC"]}
    )
    path.write_text(json.dumps(good) + "\n" + json.dumps(record))
    with pytest.raises(DataError, match=line) as caught:
        load(path)
    assert "a.jsonl, line 2" in str(caught.value)


def test_a_sequence_that_is_not_valid_is_read_as_conll_reads_it(tmp_path):
    path = columns(
        tmp_path / "a.conll",
        [[("Rome", "B-LOC"), ("is", "O")]] * 3 + [[("by", "O"), ("Rome", "I-LOC"), ("x", "I-PER")]],
    )
    data = load(path)
    assert data.labels[3] == ["O", "B-LOC", "B-PER"]
    assert any(
        "1 sentence(s) hold tags that do not follow each other" in note and "line 11" in note for note in data.notes
    )


def test_a_type_unseen_in_training_is_named(tmp_path):
    train = load(columns(tmp_path / "a.conll", [[("Rome", "B-LOC"), ("is", "O")]] * 3))
    test = columns(tmp_path / "b.conll", [[("Rome", "B-LOC")], [("by", "O"), ("Ada", "B-PER")]])
    with pytest.raises(DataError, match=r"'PER' is no type of span that the model knows \[b.conll, line 4\]"):
        load(test, like=train)


def test_tagging_can_be_asked_for_and_text_stays_text(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,label\ngood,1\nbad,0\n")
    with pytest.raises(DataError, match=r"a.csv is in no form of sentences with tags"):
        load(path, task="tagging")
    with pytest.raises(DataError, match="X must be lists of words"):
        load((["a", "b"], ["x", "y"]), task="tagging")
    assert load(path).task.kind == "classification"


def test_new_sentences_keep_their_places(tmp_path):
    train = load(([["in", "Rome"], ["no"]], [["O", "B-LOC"], ["O"]]))
    how = recipe(train)
    raw = tmp_path / "new.txt"
    raw.write_text("He is in Rome.\n\nIn U.S. dollars\n")
    chunks = list(stream(str(raw), how, chunk=2))
    assert [sentence.words for chunk in chunks for sentence in chunk.data.take()] == [
        ["He", "is", "in", "Rome", "."], ["In", "U.S.", "dollars"],
    ]  # fmt: skip
    assert [chunk.bad for chunk in chunks] == [[(1, "empty text")], []]
    assert chunks[1].row_numbers.tolist() == [2]
    bare = tmp_path / "new.conll"
    bare.write_text("He\nis\n\nin\n")
    assert [s.words for c in stream(str(bare), how) for s in c.data.take()] == [["He", "is"], ["in"]]
    assert load(["in Rome"], labelled=False, like=how).take()[0].words == ["in", "Rome"]


def test_words_as_rows():
    data = load(([["in", "Rome"], ["no"]], [["O", "B-LOC"], ["O"]]))
    words = by_words(data, np.array([1, 0]))
    assert words.take() == ["no", "in", "Rome"]
    assert words.y.tolist() == [0, 0, 1]
    assert words.groups.tolist() == [0, 1, 1]
    assert words.task.kind == "classification"


def test_rows_go_by_sentence():
    data = load(([["in", "Rome"], ["no"]], [["O", "B-LOC"], ["O"]]))
    assert lengths(data.select(np.array([1])).y).tolist() == [1]
    assert flat(data.y).tolist() == [0, 1, 0]
    assert data.fingerprint() != data.select(np.array([1, 0])).fingerprint()
    again = load(([["in", "Rome"], ["no"]], [["O", "B-LOC"], ["O"]]))
    assert again.fingerprint() == data.fingerprint()


def test_text_of_words_and_places_of_words():
    one = Sentence.of(["He", "said", "：", "“", "你", "好", "”"])
    assert one.words == ["He", "said", "：", "“", "你", "好", "”"]
    assert Sentence.cut("don't O'Brien's 3,000 e-mail a_b", "words").words == [
        "don",
        "'t",
        "O'Brien",
        "'s",
        "3,000",
        "e-mail",
        "a_b",
    ]
    assert layout_of(["a\tB-X", "b\tO", "c\tO"]).tag == 1
