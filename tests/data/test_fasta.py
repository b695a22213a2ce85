"""FASTA as people have it: classes in headers, files, folders and tables; and what is wrong with it."""

import gzip

import pytest

from graft.core.errors import DataError
from graft.data.fasta import read_headers
from graft.data.load import load
from graft.data.stream import stream

ONE, TWO = "ACGTACGTTGCATGCAAGCT", "GGCCGGTTAACCGGTTGGCC"


def records(*headers):
    return "".join(f">{header}\n{(ONE, TWO)[i % 2]}\n" for i, header in enumerate(headers))


@pytest.mark.parametrize(
    ("headers", "classes"),
    [
        (["s1|pos", "s2|neg", "s3|pos", "s4|neg"], ("neg", "pos")),
        (["s1|non promoter", "s2|promoter", "s3|non promoter", "s4|promoter"], ("non promoter", "promoter")),
        (["s1|1|training", "s2|0|testing", "s3|1|training", "s4|0|training"], ("0", "1")),
        (["s1 pos", "s2 neg", "s3 pos", "s4 neg"], ("neg", "pos")),
        (["s1\tin human", "s2\tin mouse", "s3\tin human", "s4\tin mouse"], ("in human", "in mouse")),
        (["s1 len=20 class=EI", "s2 len=20 class=IE", "s3 class=EI", "s4 label: IE"], ("EI", "IE")),
        (["helix_1", "helix_2", "sheet_1", "sheet_2"], ("helix", "sheet")),
        (["EI_1", "EI_2", "IE_1", "IE_2"], ("EI", "IE")),
    ],
)
def test_classes_are_found_in_headers(write, headers, classes):
    data = load(write("s.fasta", records(*headers)))
    assert data.task.modality == "sequence"
    assert data.task.classes == classes
    assert any("the class is" in note for note in data.notes)
    assert data.columns == ("sequence",)


@pytest.mark.parametrize(
    "headers",
    [
        ["sp|P12345|AATM_RABIT Aspartate OS=O. c.", "sp|P12346|TRFE_RAT Other OS=R. n.", "sp|P1|A_B x", "sp|P2|C_D y"],
        ["NM_000014.6 Homo sapiens alpha-2", "NM_000015.3 Homo sapiens acetyl", "NR_1 Homo sapiens", "NR_2 Homo s"],
        ["chr1_100", "chr1_200", "chr2_100", "chr2_200"],
        ["AB123456", "AB123457", "CD123456", "CD123457"],
        ["seq_1", "seq_2", "read_1", "read_2"],
        ["NM_1", "NM_2", "XR_1", "XR_2"],
        ["a", "b", "c", "d"],
    ],
)
def test_headers_of_databases_name_no_class(write, headers):
    path = write("s.fa", records(*headers))
    assert read_headers(path).find is None
    with pytest.raises(DataError, match=r"the headers of the FASTA file name no class .*; write >id\|class"):
        load(path)
    assert len(load(path, labelled=False)) == 4


def test_values_in_headers_are_a_regression(write):
    text = "".join(f">p{i} target={i / 7}\n{(ONE, TWO)[i % 2]}A\n" for i in range(8))
    assert load(write("s.fasta", text)).task.kind == "regression"


def test_a_record_without_a_class_is_left_out(write):
    data = load(write("s.fasta", records(*(f"s{i}|{'ab'[i % 2]}" for i in range(9)), "lost")))
    assert len(data) == 9
    assert any("1 row(s) without a label left out (line 19)" in note for note in data.notes)


def test_line_ends_case_comments_gaps_and_gz(write, tmp_path):
    text = f"; a comment\r\n>a|x\r\n{ONE.lower()[:10]}\r\n{ONE[10:]}\r\n\r\n>b|y\r\nAC-GT.NRRU\r\n>c|x\r\nACGT\r\n>d|y\r\nTTGG\r\n"
    data = load(write("s.fasta", text))
    assert data.take() == [ONE, "AC-GT-NRRT", "ACGT", "TTGG"]
    assert data.line_of.tolist() == [2, 6, 8, 10]
    (tmp_path / "s.fa.gz").write_bytes(gzip.compress(text.encode()))
    assert load(tmp_path / "s.fa.gz").take() == data.take()


def test_empty_records_and_strange_letters_are_left_out_and_named(write):
    text = records(*(f"s{i}|{'ab'[i % 2]}" for i in range(8))) + f">e|a\n>n|a\nNNNN\n>p|b\n{ONE}E\n"
    data = load(write("s.fasta", text))
    assert len(data) == 8
    assert any("3 row(s) left out: empty sequence (lines 17, 18, 20)" in note for note in data.notes)


def test_ids_that_occur_twice_are_named(write):
    data = load(write("s.fasta", records("s1|a", "s1|b", "s2|a", "s3|b")))
    assert any("1 id(s) occur more than once in s.fasta: s1" in note for note in data.notes)


def test_no_fasta(write):
    with pytest.raises(DataError, match=r"no FASTA: the first line does not begin with '>' .*line 1\]; convert it"):
        load(write("s.fa", "@read1\nACGT\n+\nIIII\n"))
    with pytest.raises(DataError, match=r"every record begins with a line >id"):
        load(write("t.fa", "ACGT\n"))
    with pytest.raises(DataError, match="the file is empty"):
        load(write("u.fa", ""))


def test_one_file_per_class(write):
    write("set/promoter.fasta", records("a", "b"))
    folder = write("set/other.fa", records("c", "d", "e")).parent
    data = load(folder)
    assert data.task.classes == ("other", "promoter")
    assert len(data) == 5
    assert any("the class is the name of the file" in note for note in data.notes)


def test_one_folder_per_class(write):
    write("set/good/1.fasta", records("a", "b"))
    folder = write("set/bad/1.fasta", records("c", "d")).parents[1]
    assert load(folder).task.classes == ("bad", "good")


def test_a_table_of_ids_beside_the_file(write):
    folder = write("set/s.fasta", records("a", "b", "c", "d", "e", "lost")).parent
    write("set/labels.csv", "id,label\na,x\nb,y\nc,x\nd,y\ne,x\ngone,x\n")
    data = load(folder)
    assert data.labels.tolist() == ["x", "y", "x", "y", "x"]
    assert any("1 id(s) of labels.csv have no sequence" in note for note in data.notes)
    assert any("1 row(s) without a label left out" in note for note in data.notes)
    write("set/labels.csv", "id,label\na,x\na,y\n")
    with pytest.raises(DataError, match=r"id 'a' has two labels: 'x' and 'y' .*line 3"):
        load(folder)
    write("set/labels.csv", "id,label\nq,x\n")
    with pytest.raises(DataError, match=r"no id of labels\.csv is in s\.fasta .*the file has 'a', the table 'q'"):
        load(folder)
    write("set/more.csv", "id,label\n")
    with pytest.raises(DataError, match=r"several tables beside the FASTA file: labels\.csv, more\.csv"):
        load(folder)


def test_a_model_of_a_file_reads_tables_and_files(write):
    train = load(write("s.fasta", records("s1|a", "s2|b", "s3|a", "s4|b")))
    new = write("new.fasta", f">q\n{ONE}\n>r\n\n>s\nACGE\n")
    chunk = next(stream(new, train))
    assert chunk.data.take() == [ONE]
    assert chunk.bad == [(1, "empty sequence"), (2, "letter 'E' at place 4 is none of DNA")]
    assert next(stream(write("new.csv", f"sequence\n{TWO}\n"), train)).data.take() == [TWO]
    text = load((["a b", "c d", "e f"], ["x", "y", "x"]))
    with pytest.raises(DataError, match="sequences cannot be read by a model of text"):
        next(stream(new, text))
