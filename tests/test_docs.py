"""Every Python block and every command in README and docs works as written, and so does every docstring's example."""

import contextlib
import doctest
import importlib
import io
import pkgutil
import re
import shlex
import warnings
from pathlib import Path

import pytest
from cyclopts import CycloptsError, MissingArgumentError

import graft
from graft.cli import app
from graft.core.registry import MODALITIES, OBJECTIVES, SCORES, SOURCES, TRANSFERS

ROOT = Path(__file__).parents[1]
PAGES = sorted(page for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")] if page.name != "CHANGELOG.md")
FENCE = re.compile(
    r"^(?:<!-- not run: (?P<reason>.+?) -->\n+)?```(?P<kind>\w+)\n(?P<code>.*?)^```", re.MULTILINE | re.DOTALL
)
SPAN = re.compile(r"(?<!`)`(graft [^`\n]+)`(?!`)")
SHELLS = {"bash", "sh", "shell", "console"}


def name(page):
    return str(page.relative_to(ROOT))


def blocks(page, kinds):
    """(line, code) of the fenced blocks of these kinds that are not marked as not run."""
    text = page.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        if match["kind"] in kinds and not match["reason"]:
            yield text[: match.start("code")].count("\n") + 1, match["code"]


def test_blocks_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# a\n```python\nx = 1\n```\n\n<!-- not run: needs a GPU -->\n```python\nboom\n```\n```bash\ngraft fit a\n```\n"
    )
    assert list(blocks(page, {"python"})) == [(3, "x = 1\n")]
    assert list(blocks(page, {"bash"})) == [(11, "graft fit a\n")]


# -- Python ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def _same_registries(monkeypatch):
    """A page that shows how to add a plug-in adds it for the length of its test."""
    for registry in (MODALITIES, OBJECTIVES, SCORES, SOURCES, TRANSFERS):
        len(registry)  # scanned before it is copied
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))


@pytest.mark.usefixtures("_same_registries")
@pytest.mark.parametrize("page", [page for page in PAGES if any(blocks(page, {"python"}))], ids=name)
def test_python_blocks_run(page, monkeypatch):
    """The blocks of one page share their names; paths are relative to the repository, as for a reader."""
    monkeypatch.chdir(ROOT)
    before = set(ROOT.iterdir())
    names = {"__name__": "__docs__"}
    for line, code in blocks(page, {"python"}):
        padded = "\n" * (line - 1) + code  # so that a traceback names the line of the page
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(padded, str(page), "exec"), names)
    assert set(ROOT.iterdir()) == before, "the page leaves files behind"


# -- commands ----------------------------------------------------------------------------------------------------------


def commands(code):
    """The graft commands of a shell block, continued lines joined, pipes and redirections cut off."""
    for line in code.replace("\\\n", " ").splitlines():
        words = shlex.split(line.removeprefix("$ ").strip(), comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]  # an environment variable in front
        if words and words[0] == "graft":
            end = next((i for i, word in enumerate(words) if word in ("|", ">", ">>", "&&", ";", "2>")), len(words))
            yield words[1:end]


def test_commands_are_found():
    code = "pip install x\n$ graft fit a \\\n  --budget 2m  # quick\nHF_HUB_OFFLINE=1 graft predict r d > out.csv\n"
    assert list(commands(code)) == [["fit", "a", "--budget", "2m"], ["predict", "r", "d"]]


def check(words, *, whole=True):
    """Raise if the command line would refuse these words; in running text the data may be left out."""
    if not words or set(words) & {"--help", "-h", "--version"}:
        return
    if "--config" in words:
        place = words.index("--config")
        words = words[:place] + words[place + 2 :]
    assert words[0] in app, f"no command {words[0]!r}"
    try:
        app.parse_args(words, exit_on_error=False, print_error=False)
    except MissingArgumentError:
        if whole:
            raise


@pytest.mark.parametrize(
    "words", [["fitt", "a"], ["fit", "a", "--bugdet", "2m"], ["cache", "shine"], ["fit"], ["fit", "a", "--folds", "x"]]
)
def test_wrong_commands_are_noticed(words):
    with pytest.raises((AssertionError, CycloptsError)):
        check(words)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_exist(page):
    found = [(line, words, True) for line, code in blocks(page, SHELLS) for words in commands(code)]
    text = page.read_text(encoding="utf-8")
    found += [
        (text[: match.start()].count("\n") + 1, shlex.split(match[1])[1:], False)
        for match in SPAN.finditer(text)
        if "…" not in match[1] and "..." not in match[1] and "--" in match[1]
    ]
    for line, words, whole in found:
        try:
            check(words, whole=whole)
        except (AssertionError, CycloptsError) as error:
            pytest.fail(f"{name(page)}:{line}: graft {shlex.join(words)}: {error}")


MAKE = re.compile(r"^([a-z][a-z-]*):.*## ", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_make_targets_exist(page):
    targets = set(MAKE.findall((ROOT / "Makefile").read_text(encoding="utf-8")))
    text = page.read_text(encoding="utf-8")
    used = re.findall(r"(?:`|^)make ([a-z-]+)", text, re.MULTILINE)
    assert set(used) <= targets, set(used) - targets


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"", text):
        path = (target[0] or target[1]).partition("#")[0]
        if path and not re.match(r"[a-z]+:", path):
            assert (page.parent / path).exists(), f"{name(page)} links to {path}"


# -- docstrings --------------------------------------------------------------------------------------------------------

MODULES = sorted(info.name for info in pkgutil.walk_packages([str(Path(graft.__file__).parent)], "graft."))


@pytest.mark.parametrize("module", ["graft", *MODULES])
def test_docstring_examples(module, tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    found = importlib.import_module(module)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL)
    report = io.StringIO()
    for example in doctest.DocTestFinder(exclude_empty=True).find(found):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            runner.run(example, out=report.write)
    assert not runner.summarize(verbose=False).failed, report.getvalue()
    assert not list(here.iterdir()), "an example leaves files behind"
