"""graft: automatic transfer learning.

Importing graft imports no torch, reads no file and changes nothing; names are resolved when they are used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from graft.active.labeller import Labeller
    from graft.core.task import Task
    from graft.core.types import Dataset, Features, ModelSpec, Ranking, Run
    from graft.data.load import load as load_data
    from graft.estimators import AutoTransferClassifier, AutoTransferMultilabel, AutoTransferRegressor
    from graft.features import extract
    from graft.ranking.rank import rank
    from graft.relatedness.compare import compare
    from graft.similarity import search
    from graft.sources.base import list_models, open_model
    from graft.transfer.base import load_transfer
    from graft.zero_shot.classifier import ZeroShot

_WHERE = {
    "AutoTransferClassifier": "graft.estimators",
    "AutoTransferMultilabel": "graft.estimators",
    "AutoTransferRegressor": "graft.estimators",
    "Dataset": "graft.core.types",
    "Features": "graft.core.types",
    "Labeller": "graft.active.labeller",
    "ModelSpec": "graft.core.types",
    "Ranking": "graft.core.types",
    "Run": "graft.core.types",
    "Task": "graft.core.task",
    "ZeroShot": "graft.zero_shot.classifier",
    "compare": "graft.relatedness.compare",
    "extract": "graft.features",
    "list_models": "graft.sources.base",
    "load_data": "graft.data.load",
    "load_transfer": "graft.transfer.base",
    "open_model": "graft.sources.base",
    "rank": "graft.ranking.rank",
    "search": "graft.similarity",
}

__all__ = [
    "AutoTransferClassifier",
    "AutoTransferMultilabel",
    "AutoTransferRegressor",
    "Dataset",
    "Features",
    "Labeller",
    "ModelSpec",
    "Ranking",
    "Run",
    "Task",
    "ZeroShot",
    "compare",
    "extract",
    "list_models",
    "load_data",
    "load_transfer",
    "open_model",
    "rank",
    "search",
]


def __getattr__(name: str) -> Any:
    """Import a public name from where it lives (PEP 562)."""
    if name in _WHERE:
        found = getattr(importlib.import_module(_WHERE[name]), "load" if name == "load_data" else name)
        globals()[name] = found
        return found
    raise AttributeError(f"module 'graft' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
