"""What a run of ``graft fit`` on one table says of the rows of another, as features: its scores, one per class or value.

Runs whose model is boosted trees or a linear model on columns keep no network, yet what they have learned can be asked of
any table that shares columns with theirs.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn

from graft.core.errors import SourceError
from graft.core.registry import MODALITIES
from graft.core.types import ModelSpec
from graft.data.table_codes import TableCodes
from graft.nn.trees import Forest
from graft.sources import columns
from graft.sources.base import Backbone, Batch, Coverage
from graft.sources.readers import Columns

ANSWERS = "answers"  # the architecture of such a source, and the name of its file
READ = ("boosting", "classical")  # ways whose models can be asked


class AnswersBackbone(Backbone):
    """A table model that is asked as it is; there is nothing in it to train.

    Args:
        facts: Way, state and task, as ``model.json`` holds them.
        arrays: Those of the model.
        spec: What is known of it.
    """

    def __init__(self, facts: dict[str, Any], arrays: dict[str, np.ndarray], spec: ModelSpec) -> None:
        super().__init__()
        self.facts, self.arrays, self.spec = facts, arrays, spec
        self.register_parameter("unused", nn.Parameter(torch.zeros(1)))
        self.block = nn.Identity()
        own: dict[str, dict[str, np.ndarray]] = {"": {}}
        for key, value in arrays.items():
            part, dot, name = key.partition(".")
            own.setdefault(part if dot else "", {})[name if dot else part] = value
        self.vectors: Any
        if facts["transfer"] == "boosting":
            self.vectors = TableCodes.from_state(facts["state"]["codes"], own.get("codes", {}))
            self.forest: Forest | None = Forest.from_arrays(own["forest"])
        else:
            self.vectors = MODALITIES["table"].vectors().from_state(facts["state"]["vectors"], own["vectors"])
            self.forest = None
        self.columns = self.vectors.kinds

    def preprocess(self, examples: Any) -> list[Any]:
        X = self.vectors.transform(Columns(columns.aligned(self.columns, examples)))
        if self.forest is not None:
            return list(self.forest.scores(X).astype(np.float32))
        return list((X @ self.arrays["coef"] + self.arrays["intercept"]).astype(np.float32))

    def length(self, encoded: Any) -> int:
        del encoded
        return 1

    def collate(self, encoded: list[Any]) -> Batch:
        return {"values": torch.from_numpy(np.stack(encoded))}

    def forward_features(self, batch: Batch) -> list[Tensor]:
        return [self.block(batch["values"])]

    def pool(self, hidden: Tensor, batch: Batch) -> Tensor:
        del batch
        return hidden

    def stem(self) -> list[nn.Module]:
        return []

    def blocks(self) -> list[nn.Module]:
        return [self.block]

    def coverage(self, examples: Any) -> Coverage:
        return columns.coverage(self.columns, examples)

    def preprocessing(self) -> dict[str, Any]:
        return {"weights": self.spec.weights_sha256, "facts": self.facts}

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(
            {key: np.ascontiguousarray(value) for key, value in self.arrays.items()}, folder / "model.safetensors"
        )
        text = json.dumps({"format": 1, **self.facts}, ensure_ascii=False)
        (folder / f"{ANSWERS}.json").write_text(text, encoding="utf-8")


def has_answers(folder: Path) -> bool:
    """Whether a folder holds such a source, or the run of a table that can be one."""
    facts = _facts(folder)
    return facts is not None and facts.get("transfer") in READ and facts["task"].get("modality") == "table"


def describe_answers(folder: Path, uri: str) -> ModelSpec:
    """What is known of it."""
    facts = _facts(folder) or {}
    task = facts["task"]
    said = f"{task['kind']} of {task['target']!r}"
    size = (folder / "model.safetensors").stat().st_size
    width, name = len(task["classes"]) or 1, folder.parent.name if folder.name == "source" else folder.name
    facts = {"name": name, "objective": said, "hidden_size": width, "bytes": size, "path": str(folder)}
    return ModelSpec(uri, modality="table", architecture=ANSWERS, **facts)


def open_answers(folder: Path, spec: ModelSpec) -> AnswersBackbone:
    """Open it.

    Raises:
        SourceError: Its files do not agree.
    """
    found = _facts(folder) or {}
    try:
        arrays = load_file(folder / "model.safetensors")
        kept = {key: value for key, value in arrays.items() if not key.startswith("spread.") and key != "nonconformity"}
        facts = {"transfer": found["transfer"], "state": found["state"], "task": found["task"]}
        return AnswersBackbone(facts, kept, dataclasses.replace(spec, path=str(folder)))
    except (OSError, SafetensorError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise SourceError(f"the run {folder} is damaged: {error}", hint="run graft fit again") from error


def _facts(folder: Path) -> dict[str, Any] | None:
    path = next((folder / name for name in (f"{ANSWERS}.json", "model.json") if (folder / name).is_file()), None)
    try:
        facts = json.loads(path.read_text(encoding="utf-8")) if path else None
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) and isinstance(facts.get("task"), dict) else None
