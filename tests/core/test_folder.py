import json

import pytest

from graft.core.errors import OutputError, UsageError
from graft.core.folder import RunFolder, free_name

FACTS = {"data": "rows.csv", "seed": 0}


def finished(out, text="new", **options):
    folder = RunFolder(out, FACTS, **options)
    (folder.result / "model.json").write_text(text)
    return folder.finish()


def test_the_folder_appears_when_it_is_complete(tmp_path):
    out = tmp_path / "runs" / "x"
    folder = RunFolder(out, FACTS)
    (folder.result / "model.json").write_text("{}")
    folder.work.mkdir()
    assert not out.exists()
    assert folder.finish() == out
    assert [path.name for path in out.parent.iterdir()] == ["x"]
    assert (out / "model.json").read_text() == "{}"


def test_an_existing_folder_is_kept_unless_it_is_a_run_to_be_replaced(tmp_path):
    out = finished(tmp_path / "x", "old")
    with pytest.raises(OutputError, match="exists; choose another --out, or pass --overwrite"):
        RunFolder(out, FACTS)
    folder = RunFolder(out, FACTS, overwrite=True)
    (folder.result / "model.json").write_text("new")
    assert (out / "model.json").read_text() == "old"  # until the end
    folder.finish()
    assert (out / "model.json").read_text() == "new"
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "chapter.txt").write_text("years of work")
    with pytest.raises(OutputError, match="is not a graft run"):
        RunFolder(other, FACTS, overwrite=True)
    assert (other / "chapter.txt").exists()


def test_a_folder_that_appears_meanwhile_is_not_touched(tmp_path):
    out = tmp_path / "x"
    folder = RunFolder(out, FACTS)
    (folder.result / "model.json").write_text("mine")
    out.mkdir()
    (out / "model.json").write_text("theirs")
    with pytest.raises(OutputError, match="appeared while this run was working; the result is in"):
        folder.finish()
    assert (out / "model.json").read_text() == "theirs"
    assert (folder.result / "model.json").read_text() == "mine"


def test_an_interrupted_run_goes_on(tmp_path):
    first = RunFolder(tmp_path / "x", FACTS)
    first.work.mkdir()
    (first.work / "fold").write_text("done")
    first.leave(KeyboardInterrupt(), 12.5)
    second = RunFolder(tmp_path / "x", FACTS, resume=True)
    assert second.resumed
    assert second.spent == 12.5
    assert (second.work / "fold").read_text() == "done"
    second.leave(KeyboardInterrupt(), 13.0)
    third = RunFolder(tmp_path / "x", FACTS)  # without resume: from the beginning
    assert (third.resumed, third.spent, third.work.exists()) == (False, 0.0, False)


def test_another_run_is_not_taken_up(tmp_path):
    first = RunFolder(tmp_path / "x", FACTS)
    first.work.mkdir()
    (first.work / "fold").write_text("done")
    first.leave(KeyboardInterrupt(), 5)
    with pytest.raises(UsageError, match="had another seed"):
        RunFolder(tmp_path / "x", FACTS | {"seed": 1}, resume=True)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"facts": 1}', json.dumps({"spent": 3})])
def test_a_damaged_note_starts_anew(tmp_path, text):
    first = RunFolder(tmp_path / "x", FACTS)
    first.work.mkdir()
    (first.work / "fold").write_text("done")
    first.leave(KeyboardInterrupt(), 5)
    (first.partial / "started.json").write_text(text)
    again = RunFolder(tmp_path / "x", FACTS, resume=True)
    assert (again.resumed, again.spent, again.work.exists()) == (False, 0.0, False)


def test_two_runs_do_not_write_one_folder(tmp_path):
    first = RunFolder(tmp_path / "x", FACTS)
    with pytest.raises(OutputError, match="another graft fit is writing"):
        RunFolder(tmp_path / "x", FACTS)
    first.leave(ValueError(), 0.0)
    RunFolder(tmp_path / "x", FACTS)


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot write .*; choose another --out"):
        RunFolder(tmp_path / "file" / "x", FACTS)


def test_free_names(tmp_path):
    assert free_name(tmp_path / "x") == tmp_path / "x"
    for expected in ("x", "x-2", "x-3"):
        path = free_name(tmp_path / "x")
        assert path.name == expected
        path.mkdir()
