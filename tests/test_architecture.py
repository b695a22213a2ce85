"""The house rules, read off the source: who imports whom, sizes, names, docstrings, and what must never be called."""

import ast
import functools
import graphlib
import importlib
import inspect
import os
import pkgutil
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import graft
from graft.core.registry import ADAPTATIONS, CRITERIA, MODALITIES, OBJECTIVES, SCORES, SOURCES, TRANSFERS, ZERO_SHOTS

ROOT = Path(graft.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
EVERYTHING_LOWER = {
    "core", "nn", "engine", "data", "sources", "reshape", "features", "ranking", "transfer", "evaluate", "trust",
    "history", "adaptation", "unlabelled", "zero_shot", "relatedness", "word_features",
}  # fmt: skip

# Who may import whom, imports inside functions too.  DESIGN.md draws it; where this differs, the reason stands here.
MAY = {
    "graft": set(),  # __init__ resolves names when they are used
    "core": set(),
    "nn": {"core"},
    "engine": {"core"},
    "data": {"core"},
    "sources": {"core", "nn", "data"},  # native.py reads rows with the modality's own vectors
    "reshape": {"core", "nn", "data", "sources"},
    "features": {"core", "data", "sources"},
    "word_features": {"core", "data", "sources", "features"},
    "ranking": {"core", "data", "nn", "sources", "features", "word_features"},  # nn: ridge and bootstrap
    "transfer": {"core", "data", "nn", "engine", "sources", "reshape", "features", "word_features"},
    "pretrain": {"core", "data", "nn", "engine", "sources"},
    "evaluate": {"core", "data", "nn", "sources", "features", "transfer"},  # nn: bootstrap
    "trust": {"core", "data", "nn", "sources", "features", "transfer", "evaluate"},
    "history": {"core", "data", "nn", "sources", "features", "transfer", "evaluate"},
    "adaptation": {"core", "data", "nn", "engine", "sources", "features", "transfer", "evaluate"},
    "zero_shot": {"core", "data", "nn", "sources", "features", "transfer"},
    "relatedness": {"core", "data", "nn", "sources", "features", "ranking", "unlabelled"},
    "unlabelled": {"core", "nn"},  # arrays alone: no model, no data set, and no label of the target
    "record": EVERYTHING_LOWER,
    "predict": EVERYTHING_LOWER,
    "similarity": EVERYTHING_LOWER | {"predict"},  # a file that appears when it is whole
    "auto": EVERYTHING_LOWER | {"record"},
    "active": EVERYTHING_LOWER
    | {"pretrain", "predict"},  # pretrain: k-means; predict: a file that appears when it is whole
    "estimators": {"core", "data", "auto"},
    "charts": {"core"},
    "report": {"core", "charts"},  # a page can be drawn from run.json years later, without torch
    "screen": {"core"},
    "testing": EVERYTHING_LOWER | {"record", "auto", "estimators", "predict", "report"},
    "cli": EVERYTHING_LOWER | {"pretrain", "record", "auto", "active", "predict", "similarity", "report", "screen"},
    "__main__": {"cli"},
}
VERSION_ONLY = {"graft"}  # ``from graft import __version__`` costs nothing and ties nothing

# Files that a plug-in folder shares; the other files of the folder are plug-ins, imported by name by nobody.
SHARED = {
    "data": {
        "assemble", "bands", "blocks", "columns", "dates", "delimited", "table_codes", "table_kinds", "text_columns", "formats", "forms", "guess", "inputs", "joined", "lines", "load", "modality", "pixels",
        "recordings", "rows", "several", "sparse", "spectrogram", "splits", "stratify", "biological", "fasta", "kmers", "letters", "long_texts", "overlap", "rocket",
        "series_files", "series_rows", "series_tables", "stream", "svmlight",
        "annotated_pictures", "boxes_written", "coco", "crops", "detection", "picture_sizes", "voc", "yolo",
        "annotated", "conll", "sentences", "tagged_sources", "tagging", "word_shapes", "written",
    },
    "sources": {
        "answers", "bands", "columns", "audio", "base", "folder", "hub", "image", "keras_files", "keras_graph", "keras_network", "layers", "loading", "native",
        "letters", "pictures", "plain", "prefix", "readers", "series",
        "scripts", "sounds", "students", "text", "timm_network", "vector_files", "words",
        "aligned", "sentences", "sides", "windows",
    },
    "ranking": {"compare", "rank"},
    "transfer": {
        "activations", "base", "batches", "chain", "cost", "cells", "focus", "hand_features", "injection", "maps", "regularization", "semi", "spread", "teacher",
    },
    "adaptation": {
        "adversary", "base", "deep", "discrepancy", "domains", "information", "kernels", "linear", "lowrank", "networks",
        "paired", "shallow", "weights",
    },
    "zero_shot": {"classifier", "comparison", "generalised", "wording"},  # classifier: ``graft.ZeroShot``
    "unlabelled": {"distance", "learning", "observed", "ratio", "shares", "simulate", "veto", "words"},
    "pretrain": {
        "base", "fidelity", "kmeans", "labelled", "language", "ngrams", "pairs", "pictures", "series", "sounds",
        "tables", "tokens", "words",
    },
}  # fmt: skip
ALLOWED_PAIRS = {
    ("transfer.detector_scratch", "transfer.detector"),  # a detector whose network has no past
    ("transfer.consistency", "transfer.finetune"),  # fine-tuning with rows without a label beside the labelled ones
    ("transfer.adapters", "transfer.finetune"),  # fine-tuning of few weights beside frozen ones
    ("transfer.bias", "transfer.finetune"),  # and of few among them
    ("transfer.reuse", "transfer.finetune"),  # so is training one whose structure was changed
    ("transfer.scratch", "transfer.finetune"),  # training from scratch is fine-tuning of a network without a past
    ("transfer.distill", "transfer.finetune"),  # so is training one with a teacher's answers beside the labels
    ("transfer.stacked", "transfer.boosting"),  # boosting that reads features beside the columns
    ("transfer.soup", "transfer.finetune"),  # it averages several of them
    ("transfer.word_vectors", "transfer.finetune"),  # so is training one whose words alone have a past
}


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def package(module):
    return module.split(".")[0] or "graft"


class Imports(ast.NodeVisitor):
    """Modules of graft that a file imports: (module, line, only for types)."""

    def __init__(self):
        self.found, self.typing = [], False

    def visit_If(self, node):
        was = self.typing
        self.typing = was or ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for child in node.body:
            self.visit(child)
        self.typing = was
        for child in node.orelse:
            self.visit(child)

    def visit_Import(self, node):
        self.found += [(a.name, node.lineno, self.typing) for a in node.names if a.name.split(".")[0] == "graft"]

    def visit_ImportFrom(self, node):
        assert not node.level, f"line {node.lineno}: relative import"
        if node.module and node.module.split(".")[0] == "graft":
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                self.found.append((inner if is_module(inner) else node.module, node.lineno, self.typing))

    def visit_Call(self, node):
        if ast.unparse(node.func) == "importlib.import_module" and isinstance(node.args[0], ast.Constant):
            self.found.append((node.args[0].value, node.lineno, self.typing))
        self.generic_visit(node)


def is_module(name):
    path = ROOT.parent / Path(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


@functools.cache
def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def imports(path):
    visitor = Imports()
    visitor.visit(tree(path))
    return [(name.removeprefix("graft").removeprefix("."), line, typing) for name, line, typing in visitor.found]


def test_the_reader_of_imports_sees_lazy_typed_and_plain_ones():
    visitor = Imports()
    visitor.visit(
        ast.parse(
            "from typing import TYPE_CHECKING\nimport graft.auto\n"
            "if TYPE_CHECKING:\n    from graft.cli import main\n"
            "def f():\n    from graft.core import runtime\n    importlib.import_module('graft.report')\n"
        )
    )
    assert visitor.found == [
        ("graft.auto", 2, False),
        ("graft.cli", 4, True),
        ("graft.core.runtime", 6, False),
        ("graft.report", 7, False),
    ]


def test_every_package_has_a_place_in_the_table():
    assert {package(module_name(path)) for path in FILES} <= set(MAY)


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_keep_to_the_layers(path):
    own = package(module_name(path))
    broken = [
        f"{path}:{line} imports graft.{name}"
        for name, line, typing in imports(path)
        if package(name) not in {own, *MAY[own], *VERSION_ONLY} and not typing
    ]
    assert not broken, "\n".join(broken)


def test_the_table_itself_has_no_cycle():
    assert tuple(graphlib.TopologicalSorter(MAY).static_order())


def test_modules_import_each_other_in_no_cycle():
    """Lazy imports count; imports for types only do not."""
    graph = {module_name(path): {name for name, _, typing in imports(path) if not typing and name} for path in FILES}
    assert tuple(graphlib.TopologicalSorter(graph).static_order())


def test_types_only_imports_point_down_too():
    """A signature may name what stands above only where the code is handed it: screen, record and the lazy root."""
    up = [
        (module_name(path), name)
        for path in FILES
        for name, _, typing in imports(path)
        if typing and package(name) not in {package(module_name(path)), *MAY[package(module_name(path))]}
    ]
    assert {module for module, _ in up} <= {"", "screen", "record"}, up


# -- plug-ins ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_plug_ins_are_imported_by_name_by_nobody(path):
    module = module_name(path)
    for name, line, _ in imports(path):
        folder, _, file = name.partition(".")
        if folder in SHARED and file and file not in SHARED[folder]:
            inside = module.startswith(f"{folder}.")
            assert inside or folder == "ranking", f"{path}:{line} imports the plug-in graft.{name}"
            if inside and folder == "transfer":
                assert (module, name) in ALLOWED_PAIRS, f"{path}:{line} imports the plug-in graft.{name}"


@pytest.mark.parametrize(
    ("registry", "folder"),
    [
        (MODALITIES, "data"),
        (SOURCES, "sources"),
        (SCORES, "ranking"),
        (TRANSFERS, "transfer"),
        (OBJECTIVES, "pretrain"),
        (ADAPTATIONS, "adaptation"),
        (ZERO_SHOTS, "zero_shot"),
        (CRITERIA, "unlabelled"),
    ],
    ids=["data", "sources", "ranking", "transfer", "pretrain", "adaptation", "zero_shot", "unlabelled"],
)
def test_each_registry_finds_what_its_folder_registers(registry, folder):
    written = set()
    for path in sorted((ROOT / folder).glob("*.py")):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".register") and node.args:
                written.add(ast.literal_eval(node.args[0]))
    assert written
    assert written == set(registry)


def test_transfers_say_what_they_are():
    for name, transfer in TRANSFERS.items():
        assert transfer.name == name
        assert transfer.label, name
        assert transfer.__doc__, name
        assert ("source" in inspect.signature(transfer).parameters) == transfer.needs_source, name


# -- importing costs little --------------------------------------------------------------------------------------------

HEAVY = (
    "torch",
    "transformers",
    "sklearn",
    "scipy",
    "pandas",
    "pyarrow",
    "datasets",
    "tokenizers",
    "numpy",
    "jinja2",
    "PIL",
    "gensim",
    "jieba",
    "soundfile",
)


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "code",
    ["import graft; dir(graft)", "import graft.cli", "import graft.cli; graft.cli.app.meta(['--help'])",
     "import graft.cli; graft.cli.app.meta(['fit', '--help'])", "import graft.cli; graft.cli.main(['--version'])"],
)  # fmt: skip
def test_import_and_help_load_nothing_heavy(code):
    wrapped = f"try:\n    {code}\nexcept SystemExit:\n    pass"
    out = run(f"import sys\n{wrapped}\nprint('LOADED', [m for m in {HEAVY} if m in sys.modules])")
    assert out.endswith("LOADED []\n"), out[-300:]


def test_importing_graft_changes_nothing():
    code = (
        "import os, sys, logging, warnings, random\n"
        "before = dict(os.environ), list(warnings.filters), random.getstate(), logging.root.level, list(sys.path)\n"
        "import graft, graft.auto, graft.cli\n"
        "after = dict(os.environ), list(warnings.filters), random.getstate(), logging.root.level, list(sys.path)\n"
        "print([i for i, (a, b) in enumerate(zip(before, after)) if a != b])"
    )
    changed = run(code).strip()
    # torch, transformers and scikit-learn change warning filters and environment themselves
    assert changed in ("[]", "[1]", "[0]", "[0, 1]")
    light = code.replace("import graft, graft.auto, graft.cli", "import graft, graft.cli, graft.core.errors")
    assert run(light).strip() == "[]"


def test_help_is_there_in_half_a_second():
    def used():
        spent = resource.getrusage(resource.RUSAGE_CHILDREN)
        return spent.ru_utime + spent.ru_stime

    def seconds():  # of processor time: what else runs on the machine does not count
        before = used()
        subprocess.run(
            [sys.executable, "-m", "graft", "--help"],
            capture_output=True,
            check=True,
            env=os.environ | {"TERM": "dumb"},
        )
        return used() - before

    assert any(seconds() < 0.5 for _ in range(6))


def test_public_names_exist():
    for name in graft.__all__:
        assert getattr(graft, name) is not None
    assert set(graft._WHERE) == set(graft.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        graft.nothing  # noqa: B018


# -- what is never called ----------------------------------------------------------------------------------------------

NEVER = {
    "eval",
    "exec",
    "torch.load",
    "pickle.load",
    "pickle.loads",
    "joblib.load",
    "os.system",
    "compile",
    "__import__",
}


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_nothing_unpickles_or_executes(path):
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            assert not {"pickle", "joblib", "dill", "cloudpickle", "shelve", "marshal"} & set(names), node.lineno
        if not isinstance(node, ast.Call):
            continue
        function = ast.unparse(node.func)
        keywords = {word.arg: ast.unparse(word.value) for word in node.keywords}
        where = f"{path}:{node.lineno} {function}"
        assert function not in NEVER, where
        assert keywords.get("trust_remote_code", "False") == "False", where
        assert keywords.get("shell", "False") == "False", where
        if function in ("np.load", "numpy.load", "np.save", "numpy.save"):
            assert keywords.get("allow_pickle") == "False", where


# -- sizes, names, docstrings ------------------------------------------------------------------------------------------

FUNCTION_LINES, FILE_LINES = 80, 400
LONGER_FILES = {
    "charts": 440,  # all charts in one place
    "transfer/base": 500,  # what all ways share
    "features": 420,
    "testing": 440,  # toys of every kind beside the contracts
}
LONGER_FUNCTIONS = {
    ("data/load", "load"): 100,  # the options of everything that is read
    ("cli/adapt", "adapt"): 125,
    ("cli/distill", "distill"): 140,
    ("cli/zero_shot", "zero_shot"): 140,
    ("cli/fit", "fit"): 155,
    ("cli/label", "label"): 130,
    ("cli/pretrain", "pretrain"): 180,
    ("cli/reshape", "reshape"): 110,
}  # its docstring is the help of every option
BANNED = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "handler"}


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_files_and_functions_stay_short(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    name = str(path.relative_to(ROOT).with_suffix(""))
    assert lines <= LONGER_FILES.get(name, FILE_LINES), f"{path} has {lines} lines"
    long = [
        f"{path}:{node.lineno} {node.name} has {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.lineno + 1 > LONGER_FUNCTIONS.get((name, node.name), FUNCTION_LINES)
    ]
    assert not long, "\n".join(long)


def test_files_are_named_after_the_field():
    assert not [path for path in FILES if set(path.stem.lower().split("_")) & BANNED]


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_every_public_thing_says_what_it_is(path):
    if path.name == "__init__.py" and not path.read_text(encoding="utf-8").strip():
        return
    module = tree(path)
    assert ast.get_docstring(module), f"{path} has no docstring"
    missing = []
    for node in module.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node):
            missing.append(f"{path}:{node.lineno} {node.name}")
        if isinstance(node, ast.ClassDef) and not node.bases:  # a subclass inherits the words of its base
            missing += [
                f"{path}:{item.lineno} {node.name}.{item.name}"
                for item in node.body
                if isinstance(item, ast.FunctionDef) and not item.name.startswith("_") and not ast.get_docstring(item)
            ]
    assert not missing, "\n".join(missing)


def test_every_module_can_be_imported_alone():
    for info in pkgutil.walk_packages([str(ROOT)], "graft."):
        importlib.import_module(info.name)
