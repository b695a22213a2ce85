"""Tokens per second of pretraining: graft and the Hugging Face Trainer on the same text, blocks, batch and size of network.

``python -m benchmarks.tokens TASK SYSTEM SEED FILE OPTIONS`` measures one cell in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import sets

MINILM = "sbert:all-MiniLM-L6-v2"
VOCABULARY = 8_000


def tokens(experiment: dict[str, Any], folders: argparse.Namespace) -> Iterator[list[dict[str, Any]]]:
    rows, _ = sets.paths(experiment["rows"], Path(folders.data), Path())
    for task, plan in experiment["tasks"].items():
        if folders.sets and task not in folders.sets:
            continue
        options = json.dumps({key: experiment[key] for key in ("length", "batch_size")} | {"rows": plan.get("rows")})
        found: dict[str, list[float]] = {system: [] for system in plan["systems"]}
        for seed in experiment["seeds"]:  # systems take turns, so a drift of the machine meets all of them
            for system in plan["systems"]:
                if not folders.systems or system in folders.systems:
                    command = [sys.executable, "-m", "benchmarks.tokens", task, system, str(seed), str(rows), options]
                    done = subprocess.run(command, capture_output=True, text=True, check=False)
                    if done.returncode:
                        raise SystemExit(f"{system}, {task}: {done.stderr.strip().splitlines()[-1]}")
                    found[system].append(float(done.stdout.strip().splitlines()[-1]))
                    print(f"{task:<16} {system:<24} seed {seed}  {found[system][-1]:,.0f} tokens/s", flush=True)
        yield [_row(task, system, experiment["seeds"], rates) for system, rates in found.items() if rates]


def _row(task: str, system: str, seeds: list[int], rates: list[float]) -> dict[str, Any]:
    return {
        "set": task, "system": system, "metric": "tokens per second", "seeds": seeds, "scores": rates,
        "mean": float(np.mean(rates)), "low": min(rates), "high": max(rates),
    }  # fmt: skip


def _graft(task: str, seed: int, data: Any, options: dict[str, Any]) -> float:
    from graft.core.registry import OBJECTIVES

    name = task.split(maxsplit=1)[0]
    more = {"source": MINILM} if name == "continue" else {"vocabulary": VOCABULARY}
    objective = OBJECTIVES[name](epochs=1, seed=seed, **more, **options).fit(data)
    return float(objective.record_["training"]["tokens_per_second"])


def _trainer(task: str, system: str, seed: int, data: Any, options: dict[str, Any]) -> float:
    from transformers import DataCollatorForLanguageModeling, Trainer, TrainingArguments, set_seed

    set_seed(seed)
    tokenizer, model, rows = _minilm(data, options["length"]) if task.startswith("continue") else _own(
        system, data, options["length"], seed, causal=task == "next"
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, num_train_epochs=1, per_device_train_batch_size=options["batch_size"], learning_rate=1e-3,
            seed=seed, bf16="bf16" in system, save_strategy="no", report_to=[], disable_tqdm=True,
            logging_strategy="no", use_cpu=True,
        )  # fmt: skip
        collator = DataCollatorForLanguageModeling(tokenizer, mlm=task != "next")
        done = Trainer(model, arguments, train_dataset=rows, data_collator=collator).train()
    return sum(len(row["input_ids"]) for row in rows) / done.metrics["train_runtime"]


def _minilm(data: Any, length: int) -> tuple[Any, Any, list[dict[str, Any]]]:
    """MiniLM with a fresh output layer, and the sentences row by row, padded batch by batch."""
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    from benchmarks.systems import _minilm as path

    tokenizer, model = AutoTokenizer.from_pretrained(path()), AutoModelForMaskedLM.from_pretrained(path())
    rows = [{"input_ids": ids} for ids in tokenizer(data.take(), truncation=True, max_length=length)["input_ids"]]
    return tokenizer, model, rows


def _own(system: str, data: Any, length: int, seed: int, *, causal: bool) -> tuple[Any, Any, list[dict[str, Any]]]:
    """A fresh network, and the sentences end to end in blocks, with graft's tokenizer."""
    from transformers import PreTrainedTokenizerFast

    from graft.pretrain.tokens import learn_reader, write_corpus

    reader = learn_reader(data, unit="auto", vocabulary=VOCABULARY, longest=256)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=reader.tokenizer, pad_token="[PAD]", mask_token="[MASK]", unk_token="[UNK]"
    )
    with tempfile.TemporaryDirectory() as folder:
        corpus = write_corpus(reader, data, Path(folder), seed=seed, progress=lambda *_: None)
        ids = np.asarray(corpus.train).astype(np.int64)
    blocks = ids[: len(ids) // length * length].reshape(-1, length).tolist()
    return tokenizer, _network(system, reader.vocabulary, length, causal=causal), [{"input_ids": b} for b in blocks]


def _network(system: str, vocabulary: int, length: int, *, causal: bool) -> Any:
    import torch
    import torch.nn.functional as F  # noqa: N812
    from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel

    if "BERT" in system:
        return BertForMaskedLM(BertConfig(
            vocab_size=vocabulary, hidden_size=256, num_hidden_layers=4, num_attention_heads=4, intermediate_size=1024,
            max_position_embeddings=length, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        ))  # fmt: skip
    if "GPT-2" in system:
        return GPT2LMHeadModel(GPT2Config(
            vocab_size=vocabulary, n_embd=256, n_layer=4, n_head=4, n_positions=length, resid_pdrop=0.0,
            embd_pdrop=0.0, attn_pdrop=0.0,
        ))  # fmt: skip

    from graft.nn.encoders import make_encoder, size_of

    class Plain(torch.nn.Module):
        """graft's transformer with an output layer tied to its embeddings over every position."""

        def __init__(self) -> None:
            super().__init__()
            self.body = make_encoder(
                "transformer", vocabulary=vocabulary, causal=causal, **size_of("transformer", "small")
            )

        def forward(self, input_ids: Any, labels: Any, attention_mask: Any = None) -> dict[str, Any]:
            del attention_mask  # blocks are full
            states = self.body.forward_features({"input_ids": input_ids})[-1]
            logits = F.linear(states, self.body.embedding.weight)
            if causal:
                logits, labels = logits[:, :-1], labels[:, 1:]
            return {"loss": F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)}

    return Plain()


def main() -> None:
    task, system, seed, path, options = sys.argv[1:6]
    from graft.core.rows import evenly_spaced
    from graft.data.load import load

    settings = json.loads(options)
    data = load(path, labelled=False)
    data = data.select(evenly_spaced(len(data), settings.pop("rows") or len(data)))
    if system == "graft":
        rate = _graft(task, int(seed), data, settings)
    else:
        rate = _trainer(task, system, int(seed), data, settings)
    print(rate)


if __name__ == "__main__":
    main()
