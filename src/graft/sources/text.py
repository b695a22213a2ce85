"""Text backbone over any encoder or decoder of transformers."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from graft.core.errors import DataError, SourceError
from graft.core.types import ModelSpec
from graft.data.long_texts import Ends
from graft.sources import scripts, windows
from graft.sources.base import Batch, Coverage
from graft.sources.layers import NetworkBackbone, find_blocks
from graft.sources.loading import quiet

LONGEST = 512  # tokens; longer texts are cut unless a source says otherwise
_MULTIPLE = 2  # lengths are padded to a multiple: fewer shapes; more padding would only cost time on a CPU


def mean_tokens(hidden: Tensor, mask: Tensor) -> Tensor:
    """Mean over real tokens: (B, T, D), (B, T) -> (B, D)."""
    weight = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weight).sum(1) / weight.sum(1).clamp(min=1e-9)


def max_tokens(hidden: Tensor, mask: Tensor) -> Tensor:
    """Largest value over real tokens."""
    return hidden.masked_fill(mask.unsqueeze(-1) == 0, float("-inf")).amax(1)


def first_token(hidden: Tensor, mask: Tensor) -> Tensor:
    """The first real token (``[CLS]``)."""
    return hidden[torch.arange(len(hidden), device=hidden.device), mask.int().argmax(1)]


def last_token(hidden: Tensor, mask: Tensor) -> Tensor:
    """The last real token."""
    last = mask.shape[1] - 1 - mask.flip(1).int().argmax(1)
    return hidden[torch.arange(len(hidden), device=hidden.device), last]


def weighted_mean_tokens(hidden: Tensor, mask: Tensor) -> Tensor:
    """Mean with weights 1, 2, 3 … by position."""
    weight = torch.arange(1, mask.shape[1] + 1, device=hidden.device).unsqueeze(0) * mask
    weight = weight.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weight).sum(1) / weight.sum(1).clamp(min=1e-9)


def mean_sqrt_tokens(hidden: Tensor, mask: Tensor) -> Tensor:
    """Sum over real tokens divided by the root of their number."""
    weight = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weight).sum(1) / weight.sum(1).clamp(min=1e-9).sqrt()


POOLINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cls": first_token,
    "max": max_tokens,
    "mean": mean_tokens,
    "mean_sqrt_len_tokens": mean_sqrt_tokens,
    "weightedmean": weighted_mean_tokens,
    "lasttoken": last_token,
}


class TextBackbone(NetworkBackbone):
    """A text network of transformers with its tokenizer.

    A layer is the output of a block; the last one is the network's output, after its final normalisation if it has
    one.  An encoded example is an int32 array (T,) of token numbers, or (2, T) with segment numbers below them.

    Args:
        network: The network without head.
        tokenizer: A fast tokenizer of transformers.
        spec: What is known of the model.
        longest: Tokens kept of each example.
        pooling: Names of ``POOLINGS``; several are put side by side.
        head: The whole model whose base is ``network``, where it has a trained classification head.
        lower: Whether texts are put in lower case first.
        prompt: Text put before every example.
    """

    def __init__(
        self,
        network: nn.Module,
        tokenizer: Any,
        spec: ModelSpec,
        *,
        longest: int = LONGEST,
        pooling: Sequence[str] = ("mean",),
        head: nn.Module | None = None,
        lower: bool = False,
        prompt: str = "",
    ) -> None:
        super().__init__()
        # The whole model, or its base: registered once, so that every weight has one name.
        self.model = network if head is None else head
        self._has_head = head is not None
        self.tokenizer, self.spec = tokenizer, spec
        self.longest, self.pooling, self.lower, self.prompt = longest, tuple(pooling), lower, prompt
        self._backend = tokenizer.backend_tokenizer
        self._backend.no_padding()
        self._backend.enable_truncation(longest)
        self._path, _ = find_blocks(self.network)
        self._pad = pad_number(tokenizer, self.model.config)
        self._segments = getattr(self.model.config, "type_vocab_size", 0) > 1

    def preprocess(self, examples: Any) -> list[np.ndarray]:
        """Tokenize texts or pairs of texts.

        Raises:
            DataError: An example is neither a text nor a pair of texts.
        """
        if len(examples) and windows.is_long(examples[0]):
            ends = isinstance(examples[0], Ends)
            return windows.encode_long(self._backend, [self._clean(one) for one in examples], self.longest, ends=ends)
        encodings = self._backend.encode_batch_fast([self._clean(example) for example in examples])
        if not self._segments:
            return [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]
        pairs = any(not isinstance(example, str) for example in examples[:1])
        if not pairs:
            return [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]
        return [np.array([encoding.ids, encoding.type_ids], dtype=np.int32) for encoding in encodings]

    def align(self, sentences: list[Any]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Tokenize sentences as they are written; the first token of a word is the first that reaches into it."""
        texts = [self.prompt + (_lowered(str(one)) if self.lower else str(one)) for one in sentences]
        found = []
        for sentence, encoding in zip(sentences, self._backend.encode_batch(texts), strict=True):
            special = np.array(encoding.special_tokens_mask, bool)
            real = np.flatnonzero(~special)
            ends = np.maximum.accumulate(np.array(encoding.offsets, np.int64).reshape(-1, 2)[real, 1])
            first = np.searchsorted(ends, sentence.starts + len(self.prompt), side="right")
            # what was cut off, and letters that the tokenizer throws away, stand where the last token does
            places = real[np.minimum(first, len(real) - 1)] if len(real) else np.zeros(len(first), np.int64)
            found.append((np.array(encoding.ids, dtype=np.int32), places))
        return found

    @property
    def room(self) -> int:
        """Tokens of one row, without those that the tokenizer adds."""
        return self.longest - self._backend.num_special_tokens_to_add(is_pair=False)

    def _clean(self, example: Any) -> Any:
        parts = (example,) if isinstance(example, str) else tuple(example) if isinstance(example, (tuple, list)) else ()
        if len(parts) not in {1, 2} or not all(isinstance(part, str) for part in parts):
            what = f"{len(parts)} texts" if len(parts) > 2 else f"a {type(example).__name__}"
            raise DataError(
                f"{self.spec.name} reads a text or two texts, not {what}", hint="name one or two text columns"
            )
        parts = tuple(part.lower() if self.lower else part for part in parts)
        parts = (self.prompt + parts[0], *parts[1:])
        return parts[0] if len(parts) == 1 else parts

    def length(self, encoded: np.ndarray) -> int:
        """Number of tokens."""
        return int(encoded.shape[-1])

    def collate(self, encoded: list[np.ndarray]) -> Batch:
        """Pad to an even length: ``input_ids``, ``attention_mask`` and, where used, ``token_type_ids`` (B, T).

        Of texts in windows every window is a line, and ``owner`` says of which text.
        """
        encoded, owner = windows.unfolded(encoded, training=self.training)
        longest = max((item.shape[-1] for item in encoded), default=1)
        width = -(-max(longest, 1) // _MULTIPLE) * _MULTIPLE
        width = width if width <= self.longest else max(longest, 1)
        numbers = np.full((len(encoded), width), self._pad, dtype=np.int64)
        mask = np.zeros((len(encoded), width), dtype=np.int64)
        types = np.zeros((len(encoded), width), dtype=np.int64)
        for row, item in enumerate(encoded):
            count = item.shape[-1]
            mask[row, :count] = 1
            numbers[row, :count] = item if item.ndim == 1 else item[0]
            if item.ndim == 2:
                types[row, :count] = item[1]
        batch = {"input_ids": torch.from_numpy(numbers), "attention_mask": torch.from_numpy(mask)}
        if self._segments:
            batch["token_type_ids"] = torch.from_numpy(types)
        if owner is not None:
            batch[windows.OWNER] = owner
        return batch

    def forward_features(self, batch: Batch) -> list[Tensor]:
        """Outputs of every block, of texts in windows those of the windows."""
        return super().forward_features(_without_owner(batch))

    def forward_all(self, batch: Batch) -> tuple[list[Tensor], Tensor | None]:
        """Layers and logits; of texts in windows the mean of the logits of their windows."""
        layers, logits = super().forward_all(_without_owner(batch))
        return layers, logits if logits is None else windows.joined(logits, batch.get(windows.OWNER))

    def classify(self, batch: Batch) -> Tensor | None:
        """Logits of the model's own head, or None."""
        logits = super().classify(_without_owner(batch))
        return logits if logits is None else windows.joined(logits, batch.get(windows.OWNER))

    def _layers(self, output: Any) -> list[Tensor]:
        hidden = list(output.hidden_states[1:])  # the first is the embeddings
        hidden[-1] = output.last_hidden_state
        return hidden

    def pool(self, hidden: Tensor, batch: Batch) -> Tensor:
        """Pool over real tokens, and over the windows of a text."""
        if hidden.ndim == 2:
            return hidden
        parts = [POOLINGS[name](hidden, batch["attention_mask"]) for name in self.pooling]
        return windows.joined(parts[0] if len(parts) == 1 else torch.cat(parts, dim=1), batch.get(windows.OWNER))

    def coverage(self, examples: Any) -> Coverage:
        """Whether vocabulary and model card cover the script of the rows."""
        self._backend.no_truncation()
        try:
            return scripts.coverage(examples, self._backend, self.tokenizer.unk_token_id, self.spec.languages)
        finally:
            self._backend.enable_truncation(self.longest)

    def preprocessing(self) -> dict[str, Any]:
        """Vocabulary digest, length, pooling."""
        vocabulary = hashlib.sha256(self._backend.to_str().encode()).hexdigest()
        facts = {"vocabulary": vocabulary, "longest": self.longest, "pooling": list(self.pooling)}
        return facts | {"lower": self.lower, "prompt": self.prompt, "config": config_digest(self.model.config)}

    def save(self, folder: Path) -> None:
        """Write the model as transformers does, with its model card."""
        folder.mkdir(parents=True, exist_ok=True)
        save_network(self.model, folder)
        self.tokenizer.save_pretrained(folder)
        copy_card(self.spec, folder)


def _without_owner(batch: Batch) -> Batch:
    return {name: tensor for name, tensor in batch.items() if name != windows.OWNER}


def _lowered(text: str) -> str:
    """Lower case, letter by letter, so that every letter keeps its place."""
    return "".join(low if len(low := letter.lower()) == 1 else letter for letter in text)


def config_digest(config: Any) -> str:
    """Digest of a configuration, without what changes when the same model is saved again."""
    facts = json.loads(config.to_json_string(use_diff=False))
    for name in ("_name_or_path", "architectures", "dtype", "transformers_version"):
        facts.pop(name, None)
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def save_network(model: nn.Module, folder: Path) -> None:
    """``save_pretrained`` without its progress bars."""
    with quiet():
        model.save_pretrained(folder)


def copy_card(spec: ModelSpec, folder: Path) -> None:
    """Carry the model card over: licence and languages hold for what was made from the model."""
    source = Path(spec.path) / "README.md"
    if spec.path and source.is_file() and source.resolve() != (folder / "README.md").resolve():
        shutil.copyfile(source, folder / "README.md")


def pad_number(tokenizer: Any, config: Any) -> int:
    """Number of the padding token; any will do where there is none, since it is masked."""
    for number in (tokenizer.pad_token_id, getattr(config, "pad_token_id", None), tokenizer.eos_token_id):
        if isinstance(number, int) and number >= 0:
            return number
    return 0


def longest_input(tokenizer: Any, network: nn.Module, cap: int = LONGEST) -> int:
    """Tokens that the network can take: its positions, its tokenizer's limit, and ``cap``."""
    limits = [getattr(network.config, "graft_length", cap)]  # what graft reshape was asked for
    if 0 < (tokenizer.model_max_length or 0) < 10**6:
        limits.append(int(tokenizer.model_max_length))
    positions = getattr(network.config, "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0:
        # RoBERTa's position numbers start behind the padding number: two positions are lost.
        tables = [m for n, m in network.named_modules() if "position" in n and isinstance(m, nn.Embedding)]
        start = max((table.padding_idx + 1 for table in tables if table.padding_idx is not None), default=0)
        limits.append(positions - start)
    if min(limits) < 4:
        raise SourceError(f"the model takes only {min(limits)} tokens", hint="its configuration is damaged")
    return min(limits)
