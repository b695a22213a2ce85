"""Files that people have: each gives one line and leaves nothing behind, or is treated and noted."""

import json

import pytest
from cli.conftest import QUICK, as_csv, files, sentences

GOOD = as_csv(sentences())


def fit(graft, data, *options):
    return graft("fit", data, "--out", "run", *QUICK, *options)


def notes(folder):
    return " ".join(json.loads((folder / "run" / "run.json").read_text())["data"]["notes"])


@pytest.mark.parametrize(
    ("content", "options", "parts"),
    [
        ("", (), ["the file is empty", "bad.csv"]),
        ("text,label\n", (), ["no rows, only a header", "bad.csv"]),
        (as_csv(sentences(classes=("bad",))), (), ["only one class in 'label' ('bad')", "two or more"]),
        (GOOD, ("--label", "labell"), ["no label column 'labell'", "did you mean 'label'?"]),
        (GOOD, ("--inputs", "txt"), ["no input column 'txt'", "did you mean 'text'?"]),
        (GOOD, ("--group", "user"), ["no group column 'user'", "columns: text, label"]),
        (GOOD.replace("n0", "n\0", 1), (), ["NUL byte", "line 2", "--bad-rows drop"]),
        (GOOD + "a,b,c,d\nalone\n", (), ["4 cells, the header has 2", "line 42", "also line 43", "--bad-rows drop"]),
        (GOOD + 'never "closed,good\nx,"bad\n', (), ["never closed", "line 43"]),
        (as_csv((f"{text} 你好世界", label) for text, label in sentences()).encode("gb18030"), (),
         ["is not utf-8", "line 2", "--encoding gb18030"]),
        (GOOD, ("--encoding", "klingon"), ["unknown encoding 'klingon'", "gb18030"]),
        (GOOD, ("--task", "regression"), ["label 'bad' is not a number", "line 2"]),
        (GOOD, ("--folds", "1000"), ["1000 folds", "use fewer folds"]),
    ],
)  # fmt: skip
def test_one_line_and_nothing_left_behind(graft, put, here, content, options, parts):
    put("bad.csv", content)
    code = 2 if "klingon" in options else 3
    fit(graft, "bad.csv", *options).fails(code, *parts)
    assert list(files(here)) == ["bad.csv"]
    assert sorted(path.name for path in here.iterdir()) == ["bad.csv"]  # no folder either


def test_a_parent_folder_made_for_a_failed_run_goes_too(graft, put, here):
    put("bad.csv", "")
    graft("fit", "bad.csv", *QUICK).fails(3)
    graft("fit", "bad.csv", "--out", "a/b/c", *QUICK).fails(3)
    assert sorted(path.name for path in here.iterdir()) == ["bad.csv"]


def test_missing_file_is_named_with_a_near_miss(graft, good):
    fit(graft, "god.csv").fails(3, "no such file 'god.csv'", "did you mean 'good.csv'?")


@pytest.mark.parametrize(
    ("content", "options", "noted"),
    [
        ("\ufeff" + GOOD, (), ""),
        (GOOD + "x" * 1_000_000 + ",good\n", (), ""),
        (GOOD + "no label here,\n", (), "1 row(s) without a label left out (line 42)"),
        (GOOD + GOOD.splitlines()[1] + "\n", (), "1 row(s) repeat an earlier row (line 42)"),
        (GOOD + GOOD.splitlines()[1].rsplit(",")[0] + ",good\n", (), "different labels (lines 2 and 42)"),
        (GOOD + "a,b,c,d\nalone\n", ("--bad-rows", "drop"), "2 unreadable row(s) left out: lines 42, 43"),
        (GOOD + "rare,once\n", (), "1 class(es) with one row can be trained on but not scored: once"),
        (GOOD + '"  ",good\n', (), "1 row(s) left out: empty text (line 42)"),
        (as_csv((f"{text} 你好世界", label) for text, label in sentences()).encode("gb18030"), ("--encoding", "gb18030"), ""),
        (as_csv((f"{text} 你好世界", label) for text, label in sentences()).encode("utf-16"), ("--encoding", "utf-16"), ""),
    ],
    ids=["bom", "megabyte", "no-label", "duplicate", "contradiction", "ragged", "single", "empty", "gb18030", "utf-16"],
)  # fmt: skip
def test_treated_and_noted(graft, put, here, content, options, noted):
    put("odd.csv", content)
    fit(graft, "odd.csv", *options).works("Answer")
    assert noted in notes(here)
    assert (here / "run" / "report.html").is_file()


def test_notes_are_shown_while_it_runs(graft, put):
    put("odd.csv", GOOD + "no label here,\n")
    shown = graft("fit", "odd.csv", "--methods", "classical", "--out", "run").works().out
    assert "1 row(s) without a label left out (line 42)" in shown
    assert shown.index("Data") < shown.index("Baselines") < shown.index("Answer")


@pytest.mark.parametrize("made", [(), ("notes.txt",), ("train/a/1.png", "test/a/1.png")])
def test_folders_that_are_no_data(graft, put, made, here):
    (here / "folder").mkdir()
    for name in made:
        put(f"folder/{name}", "x")
    said = fit(graft, "folder").fails(3, "[folder]").err
    assert ("one folder per class" in said) == (not made)
    assert ("'notes.txt'" in said) == (made == ("notes.txt",))
    assert ("splits" in said) == (len(made) == 2)
