"""The commands around a run: show, report, cache; and what --quiet leaves."""

import json
import re
import subprocess
import sys

from graft import __version__


def test_quiet_leaves_the_answer(graft, good):
    out = graft("fit", good, "--methods", "classical", "--out", "run", "--quiet").works().out
    assert out.splitlines()[:2] == ["", "Answer"]
    assert not re.search("Data|Baselines|Plan|Trials", out)


def test_show_prints_the_answer_and_the_trials(graft, run, here):
    shown = (
        graft("show", run)
        .works("Answer", "Trials", "majority class", "TF-IDF + linear SVM", "report    run/report.html")
        .out
    )
    assert graft("show", "run/run.json").works().out == shown
    graft("show", "nothing").fails(4, "nothing is not a graft run")
    (here / "run" / "run.json").write_text("[1]")
    graft("show", run).fails(4, "damaged")


def test_names_that_look_like_markup_are_shown_as_they_are(graft, put):
    put("odd.csv", "text,[bold]label\n" + "".join(f"{'yes' if i % 2 else 'no'} n{i},[red]{i % 2}\n" for i in range(40)))
    out = graft("fit", "odd.csv", "--label", "[bold]label", "--methods", "classical", "--out", "[dim]run").works().out
    assert "“[bold]label”" in out
    assert "[red]0 20, [red]1 20" in out
    assert "graft predict '[dim]run'" in out
    graft("show", "[dim]run").works("[dim]run/report.html")


def test_report_in_both_languages(graft, run, here):
    page = here / "run" / "report.html"
    english = page.read_text()
    page.unlink()
    assert graft("report", run).works().out.strip() == "run/report.html"
    assert page.read_text() == english
    graft("report", run, "--language", "zh", "--out", "zh").works()
    chinese = (here / "zh" / "report.html").read_text()
    assert 'lang="zh' in chinese
    assert re.search("[一-鿿]", chinese)
    assert chinese != english
    graft("report", "nothing").fails(4, "is not a graft run")
    (here / "file").write_text("")
    graft("report", run, "--out", "file/x").fails(6, "cannot write")


def test_cache_is_shown_verified_and_cleared(graft, good, here, tiny_bert, monkeypatch):
    monkeypatch.setenv("GRAFT_CACHE", str(here / "cache"))
    graft("cache").works("0 entries", str(here / "cache"))
    options = ("--methods", "probe", "--models", tiny_bert, "--quiet", "--budget", "1h")
    graft("fit", good, "--out", "none", *options, "--no-cache").works()
    assert "features" not in graft("cache").works().out
    graft("fit", good, "--out", "run", *options).works()
    graft("cache", "show").works("features")
    graft("cache", "verify").works("is sound")
    broken = max(here.glob("cache/entries/*/*.npy"), key=lambda path: path.stat().st_size)
    broken.write_bytes(broken.read_bytes()[:-1])
    graft("cache", "verify").works("dropped 1 damaged")
    graft("fit", good, "--out", "again", *options).works()
    graft("cache", "clear").works("freed")
    graft("cache").works("0 entries")
    first, second = (json.loads((here / name / "run.json").read_text())["answer"]["score"] for name in ("run", "again"))
    assert first == second


def test_the_module_is_the_command():
    said = [subprocess.run([sys.executable, "-m", "graft", word], capture_output=True, text=True, check=False)
            for word in ("--version", "nonsense")]  # fmt: skip
    assert said[0].stdout.strip() == __version__
    assert [done.returncode for done in said] == [0, 2]
