"""Networks on word vectors: a small network reads a row word by word; its words begin as what a large corpus taught.

Idea: what a word means is learned once, from text without labels; the task only has to learn how words act together.
Helps when: hundreds to thousands of rows, and no source that reads whole sentences can be afforded.  Hurts when: the
vectors do not know the words of the rows; their ``coverage`` tells.
References: Kim (2014), Convolutional neural networks for sentence classification, EMNLP; for tagging Lample et al. (2016),
Neural architectures for named entity recognition, NAACL, and Ma & Hovy (2016), whose letters are read here.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

import numpy as np
import torch

from graft.core.errors import SourceError, UsageError
from graft.core.registry import TRANSFERS
from graft.core.task import Task
from graft.core.types import Dataset, ModelSpec
from graft.nn.crf import ChainHead
from graft.sources.aligned import WordStates
from graft.sources.base import Backbone
from graft.sources.native import NativeBackbone
from graft.sources.scripts import join
from graft.sources.sentences import SentenceReader, counted
from graft.sources.words import WORD_VECTORS, WordReader
from graft.transfer.base import Setting
from graft.transfer.finetune import Finetune

NETWORKS: dict[str, dict[str, Any]] = {
    "textcnn": {"filters": 100, "widths": (3, 4, 5)},
    "lstm": {"width": 256, "depth": 1},
    "mean": {},
}
TAGGER: dict[str, Any] = {"width": 256, "depth": 1}  # of a tagging's BiLSTM
EMBEDDINGS = ("trained", "frozen", "random")
EPOCHS = 12  # passes over the rows; chosen on held-out training rows of TREC
MIN_STEPS = 300  # small data is seen often enough to take this many steps
ROW_SECONDS = 4e-4  # of training on one row in one pass, roughly
CHUNK = 4096  # rows counted at a time


@TRANSFERS.register("word_vectors")
class WordVectors(Finetune):
    """TextCNN, LSTM, or the mean of the words with a linear head, on the vectors of a source.

    The vocabulary is the words of the training rows that have a vector or occur often; an unknown word gets a random
    vector with the variance of the others.  Tagging takes a BiLSTM over words and their letters with a CRF, whatever
    ``network`` says.  Words that only the file knows fill what room is left, so that rows seen
    later find them.  How many words are of which kind is kept beside the weights (``words_``).

    Args:
        source: A source of word vectors: ``vectors:FILE``, or what ``graft pretrain --objective vectors`` made.
        network: ``"textcnn"`` (windows of 3, 4 and 5 words, 100 filters each), ``"lstm"`` or ``"mean"``.
        embeddings: ``"trained"`` goes on training the vectors, ``"frozen"`` keeps them, ``"random"`` takes only the
            vocabulary and begins with noise: what the vectors bring is the difference to it.
        vocabulary: Words at most.
        min_count: Occurrences from which a word without a vector gets one.
        epochs: Passes over the rows; None: 12, or more on small data.
        lr: Peak rate.
        batch_size: Rows per step.
        dropout: Share of the pooled features that is dropped.
        weight_decay: Decoupled weight decay.
        seed: Seed of weights, order and dropout.

    Example:
        >>> from graft.testing import toy_data, toy_sources
        >>> from graft.transfer.word_vectors import WordVectors
        >>> data = toy_data("text")
        >>> fitted = WordVectors(toy_sources(data)[1], network="mean", epochs=2).fit(data)
        >>> sorted(fitted.words_)
        ['known', 'more', 'unknown', 'without']
    """

    label = "network on word vectors"
    space: ClassVar = {"lr": (2e-4, 4e-3), "epochs": [None, 10.0, 30.0]}
    name = "word_vectors"
    modalities = ("text",)
    simplicity = 3

    def __init__(
        self,
        source: str | ModelSpec | Backbone | None = None,
        *,
        network: str = "textcnn",
        embeddings: str = "trained",
        vocabulary: int = 20_000,
        min_count: int = 2,
        epochs: float | None = None,
        lr: float = 3e-3,
        batch_size: int = 50,
        dropout: float = 0.5,
        weight_decay: float = 0.01,
        seed: int = 0,
    ) -> None:
        super().__init__(
            source,
            epochs=epochs,
            lr=lr,
            head_lr=lr,
            batch_size=batch_size,
            weight_decay=weight_decay,
            head_start="zero",
            dropout=dropout,
            seed=seed,
        )
        self.network = network
        self.embeddings = embeddings
        self.vocabulary = vocabulary
        self.min_count = min_count

    @classmethod
    def fits(cls, spec: ModelSpec) -> str:
        if spec.architecture == WORD_VECTORS:
            return ""
        return f"{spec.name} is no table of word vectors; name one with --models vectors:FILE"

    @classmethod
    def seconds(cls, rows: int) -> float:
        return 1.0 + ROW_SECONDS * max(EPOCHS * rows, MIN_STEPS * 50)

    def workload(self, rows: int, task: Task) -> None:
        """Nothing follows from the source, a table: the network on it is another."""

    def steps(self, rows: int) -> int:
        if self.epochs is not None:
            return super().steps(rows)
        return max(MIN_STEPS, EPOCHS * -(-rows // self.batch_size))

    def _fit(self, data: Dataset, setting: Setting) -> None:
        for value, known in ((self.network, NETWORKS), (self.embeddings, EMBEDDINGS)):
            if value not in known:
                raise UsageError(f"{self.name} knows no {value!r}", hint=f"use {', '.join(known)}")
        super()._fit(data, setting)

    def _backbone(self, data: Dataset) -> NativeBackbone:
        """The network with its words in place."""
        source = self._open()
        reason = self.fits(source.spec)
        if reason or not isinstance(source, NativeBackbone) or not isinstance(source.reader, WordReader):
            raise SourceError(reason or f"{source.spec.name} holds no words")
        table = source.body.get_parameter("embedding.weight").detach()
        network, reader = self.network, self._reader(data, source.reader)
        arguments: dict[str, Any]
        if isinstance(reader, SentenceReader):
            network = "bilstm"
            arguments = {
                "vocabulary": reader.vocabulary,
                "characters": reader.characters,
                "embedded": table.shape[1],
                **TAGGER,
            }
        else:
            arguments = {"vocabulary": reader.vocabulary, **NETWORKS[network]}
            arguments["embedded" if network == "lstm" else "width"] = table.shape[1]
        name = f"{source.spec.name}-{network}"
        begun = source.spec.objective if self.embeddings != "random" else ""
        spec = ModelSpec(f"new:{network}", name, "text", architecture=network, objective=begun)
        backbone = NativeBackbone(network, arguments, reader, spec)
        self._place(backbone.body.get_parameter("embedding.weight"), reader, source.reader, table)
        return backbone

    def _reader(self, data: Dataset, source: WordReader) -> WordReader | SentenceReader:
        """Words of the rows, most frequent first, then of the file; counts them by kind."""
        counts: Counter[str] = Counter()
        letters: list[tuple[str, int]] = []
        if data.task.is_tagging:
            lowered, letters = counted(data.take())
            counts.update(dict(lowered))
        for start in range(0, len(data), CHUNK) if not letters else ():
            for row in data.take(slice(start, start + CHUNK)):
                counts.update(source.tokens(join(row)))
        ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        words = [word for word, n in ordered if word in source.index or n >= self.min_count][: self.vocabulary]
        known = sum(word in source.index for word in words)
        kept = set(words)
        room = self.vocabulary - len(words) if self.embeddings != "random" else 0
        more = [word for word in source.words if word not in kept][: max(0, room)]
        self.words_ = {
            "known": known,
            "unknown": len(words) - known,
            "without": len(counts) - len(words),
            "more": len(more),
        }
        if letters:
            return SentenceReader([*words, *more], [letter for letter, _ in letters])
        places = self.network != "mean"  # a mean has no places
        return WordReader([*words, *more], unit=source.unit, lower=source.lower, places=places)

    def _place(self, weight: torch.nn.Parameter, reader: Any, source: WordReader, table: torch.Tensor) -> None:
        """Write the vectors of known words; the others are uniform noise of the same variance."""
        pairs = [(reader.index[word], source.index[word]) for word in reader.words if word in source.index]
        own, theirs = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).T
        spread = float(table[theirs].std()) if len(pairs) > 1 else 0.25
        with torch.no_grad():
            weight.uniform_(-(3**0.5) * spread, 3**0.5 * spread)
            if self.embeddings != "random":
                weight[own] = table[theirs]
            weight[:1] = 0.0  # padding …
            weight[1 : min(reader.index.values(), default=1)] = 0.0  # … and words without a vector

    def _chained(self, head: Any, data: Dataset) -> Any:
        return ChainHead(head) if data.task.is_tagging else head

    def _freeze(self, backbone: Backbone) -> None:
        backbone = backbone.inner if isinstance(backbone, WordStates) else backbone
        assert isinstance(backbone, NativeBackbone)
        backbone.requires_grad_(requires_grad=True)
        if self.embeddings == "frozen":
            backbone.body.get_parameter("embedding.weight").requires_grad_(requires_grad=False)

    def _train(self, backbone: Backbone, head: torch.nn.Linear, data: Dataset, setting: Setting, **more: Any) -> Any:
        if data.task.is_tagging:  # its network drops what it reads and gives itself
            return super()._train(backbone, head, data, setting, **more)
        inside = self.network == "textcnn"  # which drops pooled features itself
        whole: Any = head if inside else torch.nn.Sequential(torch.nn.Dropout(self.dropout or 0.0), head)
        return super()._train(backbone, whole, data, setting, **more)

    def _arrays(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        state, arrays = super()._arrays()
        return {**state, "words": self.words_}, arrays

    def _restore(self, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        super()._restore(state, arrays)
        self.words_ = dict(state["words"])
