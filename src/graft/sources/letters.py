"""Models of transformers that read DNA, RNA or proteins: told by their vocabulary, fed as their tokenizer wants letters.

ESM reads residues, the nucleotide transformer runs of six side by side, DNABERT all overlapping runs of k, ProtBERT residues
with spaces between them, others byte pairs.  Which it is follows from the vocabulary and a short trial.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from graft.core.errors import SourceError
from graft.data.letters import GAP, KNOWN
from graft.sources.base import Coverage
from graft.sources.folder import read_json
from graft.sources.loading import open_tokenizer
from graft.sources.text import TextBackbone

LEAST = 4  # letters that a vocabulary of sequences holds
SHARE = 0.95  # of its pieces that are such letters or runs of them
TRIAL = {"dna": "ACGTTGCAAGCTTAGCATCGGATCCTAGAA", "protein": "MKTAYIAKQRQISFVKSHFSRQLEERLGLI"}
UNREAD = 0.1  # share of unknown tokens from which a row is not covered
_SPECIAL = re.compile(r"<.*>|\[.*\]|[^A-Za-z]*|\|.*\|")
FORMS = ("plain", "letters", "runs")


def read_vocabulary(folder: Path) -> dict[str, int]:
    """The pieces of a tokenizer by number, from its files alone; empty where they cannot be read."""
    try:
        if (folder / "tokenizer.json").is_file():
            model: Any = read_json(folder / "tokenizer.json").get("model")
            pieces = model.get("vocab") if isinstance(model, dict) else None
            if isinstance(pieces, list):  # unigrams: pairs of piece and score
                return {str(pair[0]): number for number, pair in enumerate(pieces)}
            return {str(piece): int(number) for piece, number in (pieces or {}).items()}
        if (folder / "vocab.txt").is_file():
            lines = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
            return {line.strip(): number for number, line in enumerate(lines)}
    except (SourceError, OSError, ValueError, TypeError, AttributeError, IndexError, KeyError):
        return {}  # opening the model says what is wrong with it
    return {}


def alphabet_of_vocabulary(pieces: dict[str, int]) -> str:
    """``"dna"`` or ``"protein"`` where nearly all pieces are capitals of such letters; empty for everything else.

    Example:
        >>> alphabet_of_vocabulary({"<cls>": 0, "A": 1, "C": 2, "G": 3, "T": 4, "ACG": 5, "N": 6})
        'dna'
        >>> alphabet_of_vocabulary({"[CLS]": 0, "the": 1, "A": 2})
        ''
    """
    letters = [piece for piece in pieces if not _SPECIAL.fullmatch(piece)]
    if len(letters) < LEAST:
        return ""
    nucleic = sum(set(piece) <= set("ACGTUN") for piece in letters)
    if nucleic >= SHARE * len(letters):
        return "dna"
    single = [piece for piece in letters if len(piece) == 1 and piece.isupper()]
    whole = len(single) >= SHARE * len(letters) and set(KNOWN["protein"]) <= set(single)
    return "protein" if whole else ""


class SequenceBackbone(TextBackbone):
    """A network over letters with its tokenizer, and how letters are given to it.

    Args:
        alphabet: ``"dna"`` or ``"protein"``.
        form: ``"plain"`` letters as they are, ``"letters"`` with spaces between them, or ``"runs"`` of ``run`` letters,
            overlapping, with spaces between them.
        run: Letters of a run.
        more: What ``TextBackbone`` takes.
    """

    def __init__(self, *more: Any, alphabet: str, form: str | None = None, run: int = 1, **options: Any) -> None:
        super().__init__(*more, **options)
        pieces = self.tokenizer.get_vocab()
        self.alphabet = alphabet
        self._uracil = alphabet == "dna" and sum("U" in piece for piece in pieces) > sum(
            "T" in piece for piece in pieces
        )
        self.form, self.run = (form, run) if form else self._tried(pieces)

    def _tried(self, pieces: dict[str, int]) -> tuple[str, int]:
        """The form that leaves the fewest unknown tokens, the plain one first; runs have the commonest length of pieces."""
        sizes = Counter(len(piece) for piece in pieces if not _SPECIAL.fullmatch(piece))
        run = max(sizes, key=lambda size: sizes[size])
        unknown = {}
        for form in FORMS if run > 1 else FORMS[:2]:
            self.form, self.run = form, run
            ids = self._backend.encode(self._clean(TRIAL[self.alphabet]), add_special_tokens=False).ids
            lost = sum(number == self.tokenizer.unk_token_id for number in ids)
            unknown[form] = lost / max(1, len(ids))
        return min(unknown, key=lambda form: unknown[form]), run

    def _clean(self, example: Any) -> Any:
        letters = example if isinstance(example, str) else "".join(example)
        letters = letters.replace(GAP, "").upper()
        letters = letters.replace("T", "U") if self._uracil else letters
        if self.form == "plain":
            return letters
        if self.form == "letters":
            return " ".join(letters)
        runs = [letters[place : place + self.run] for place in range(len(letters) - self.run + 1)]
        return " ".join(runs or [letters])

    def coverage(self, examples: Any) -> Coverage:
        """Whether the vocabulary covers the letters of the rows."""
        unknown = self.tokenizer.unk_token_id
        encoded = self.preprocess(examples[:200])
        kept = [float(np.mean(row != unknown)) >= 1 - UNREAD for row in encoded]
        share = float(np.mean(kept)) if kept else 1.0
        return Coverage(
            share, "" if share >= 0.9 else f"its vocabulary covers the letters of only {share:.0%} of the rows"
        )

    def preprocessing(self) -> dict[str, Any]:
        """Vocabulary digest, length, pooling, and the form of the letters."""
        return {**super().preprocessing(), "form": self.form, "run": self.run}


def open_letters(folder: Path) -> Any:
    """The tokenizer of a model of sequences: its own, or, where that is not a fast one (ESM), one made of its vocabulary.

    Raises:
        SourceError: There is none.
    """
    if (folder / "tokenizer.json").is_file() or not (folder / "vocab.txt").is_file():
        return open_tokenizer(folder)
    if read_json(folder / "config.json").get("model_type") != "esm":
        return open_tokenizer(folder)
    from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers, processors
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    pieces = read_vocabulary(folder)
    names = {
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "cls_token": "<cls>",
        "eos_token": "<eos>",
        "mask_token": "<mask>",
    }
    facts = read_json(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").is_file() else {}
    given = {key: facts[key] for key in names if isinstance(facts.get(key), str)}
    names = {key: piece for key, piece in {**names, **given}.items() if piece in pieces}
    if "unk_token" not in names or "pad_token" not in names:
        raise SourceError(f"the vocabulary of {folder} has no {'<unk>' if 'unk_token' not in names else '<pad>'}")
    run = max((len(piece) for piece in pieces if not _SPECIAL.fullmatch(piece)), default=1)
    tokenizer = Tokenizer(WordLevel(pieces, unk_token=names["unk_token"]))
    tokenizer.normalizer = normalizers.Replace(Regex(r"\s+"), "")
    # runs side by side, what is no run letter by letter
    pattern = Regex(f"[ACGTU]{{{run}}}|." if run > 1 else ".")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(pattern, "isolated")
    first = [names["cls_token"]] if "cls_token" in names else []
    last = [names["eos_token"]] if "eos_token" in names and facts.get("eos_token", "<eos>") is not None else []
    tokenizer.post_processor = processors.TemplateProcessing(
        single=" ".join([*first, "$A", *last]), special_tokens=[(one, pieces[one]) for one in first + last]
    )
    longest = facts.get("model_max_length")
    options = {"model_max_length": int(longest)} if isinstance(longest, int | float) and longest < 10**6 else {}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names, **options)
