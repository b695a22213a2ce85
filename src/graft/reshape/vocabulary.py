"""Another vocabulary for a network: each new token gets the embedding of what the old vocabulary made of it.

A token that both know keeps its embedding; another starts from the mean of the pieces into which the old tokenizer cuts
it.  References: Gee et al. (2022), Fast vocabulary transfer for language model compression; Minixhofer et al. (2022),
WECHSEL.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from graft.core.errors import UsageError
from graft.sources.loading import first_line, quiet
from graft.sources.readers import TextReader
from graft.sources.scripts import join

CHUNK = 1_000  # rows that a tokenizer is trained on at a time
ROLES = ("pad", "unk", "cls", "sep", "mask", "bos", "eos")


def origins(old: Any, new: Any, roles: dict[str, str] | None = None) -> tuple[list[np.ndarray], str]:
    """Old numbers that every new token is made of, and how many tokens are of which kind, in words.

    Args:
        old: Tokenizer of the ``tokenizers`` library.
        new: Another.
        roles: Old token for new special tokens that are spelled otherwise.

    Example:
        >>> reader = TextReader.build(["where is my parcel"] * 3, unit="word")
        >>> found, words = origins(reader.tokenizer, reader.tokenizer)
        >>> [row.tolist() for row in found][:3], words
        ([[0], [1], [2]], 'of 9 tokens 9 known, 0 from pieces, 0 drawn')
    """
    known, tokens = old.get_vocab(with_added_tokens=True), new.get_vocab(with_added_tokens=True)
    unknown = {known[name] for name in (getattr(old.model, "unk_token", None), "[UNK]", "<unk>") if name in known}
    alike = type(old.model) is type(new.model)
    rows: list[np.ndarray] = [np.empty(0, np.int64)] * (max(tokens.values(), default=-1) + 1)
    counts = {"known": 0, "from pieces": 0, "drawn": len(rows) - len(tokens)}
    for token, number in tokens.items():
        same = token if alike and token in known else (roles or {}).get(token)
        if same is not None:
            rows[number], kind = np.array([known[same]]), "known"
        else:
            found = _pieces(old, token) if alike else old.encode(new.decode([number]), add_special_tokens=False).ids
            rows[number] = np.array([piece for piece in found if piece not in unknown], np.int64)
            kind = "from pieces" if len(rows[number]) else "drawn"
        counts[kind] += 1
    return rows, f"of {len(rows):,} tokens " + ", ".join(f"{count:,} {kind}" for kind, count in counts.items())


def _pieces(tokenizer: Any, token: str) -> list[int]:
    """Old numbers of a token that is spelled as the old tokenizer spells its own; empty where it has no pieces."""
    mark = getattr(tokenizer.model, "continuing_subword_prefix", None) or ""
    inside = bool(mark) and token.startswith(mark)
    try:
        found = tokenizer.model.tokenize(token.removeprefix(mark) if inside else token)
    except Exception:  # noqa: BLE001  (a model without an unknown token refuses letters that it does not know)
        return []
    numbers = [piece.id for piece in found]
    if inside and found:  # the first piece stands inside a word, too
        within = tokenizer.token_to_id(mark + found[0].value)
        numbers[0] = numbers[0] if within is None else within
    return numbers


def roles_between(old: Any, new: Any) -> dict[str, str]:
    """Old special token for each new one that has the same role, of two tokenizers of transformers."""
    pairs = {name: (getattr(new, f"{name}_token", None), getattr(old, f"{name}_token", None)) for name in ROLES}
    return {mine: theirs for mine, theirs in pairs.values() if mine and theirs}


def retrained(tokenizer: Any, vocabulary: Any, tokens: int | None) -> Any:
    """A tokenizer of transformers of the same kind, learned from rows; or the one that is given.

    Args:
        tokenizer: The old one.
        vocabulary: Rows of texts (or of several texts each), or a fast tokenizer of transformers.
        tokens: Size of the vocabulary at most; None for that of the old one.

    Raises:
        UsageError: It is neither, there are no rows, or nothing can be learned from them.
    """
    if hasattr(vocabulary, "backend_tokenizer"):
        return copy.deepcopy(vocabulary)
    rows = [join(row) for row in _rows(vocabulary)]
    size = tokens or len(tokenizer)
    batches = (rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK))
    try:
        letters = _letters_inside(tokenizer.backend_tokenizer, rows)
        with quiet():
            made = tokenizer.train_new_from_iterator(batches, size, new_special_tokens=letters, show_progress=False)
            _make_plain(made, letters, tokenizer)
    except Exception as error:  # tokenizers raises many kinds; each becomes one line
        raise UsageError(
            f"no vocabulary can be learned from these rows: {first_line(error)}", hint="give more rows"
        ) from error
    least = len(set(tokenizer.all_special_tokens))
    if len(made) <= least:
        raise UsageError("no vocabulary can be learned from these rows", hint="they hold no word; give more rows")
    return made


def _letters_inside(tokenizer: Any, rows: Sequence[str]) -> list[str]:
    """Letters inside words as WordPiece spells them, sorted; none for other kinds of tokenizers.

    Its trainer numbers them in an order that changes from call to call, and decides between equally frequent pieces by
    number: two vocabularies of the same rows would differ.  Named beforehand they have an order.
    """
    if type(tokenizer.model).__name__ != "WordPiece":
        return []
    mark, found = tokenizer.model.continuing_subword_prefix, set()
    for row in rows:
        text = tokenizer.normalizer.normalize_str(row) if tokenizer.normalizer else row
        pieces = tokenizer.pre_tokenizer.pre_tokenize_str(text) if tokenizer.pre_tokenizer else [(text, None)]
        found.update(letter for word, _ in pieces for letter in word[1:])
    return [mark + letter for letter in sorted(found)]


def _make_plain(made: Any, letters: Sequence[str], old: Any) -> None:
    """Let tokens that were named beforehand be tokens like others."""
    if not letters:
        return
    facts = json.loads(made.backend_tokenizer.to_str())
    facts["added_tokens"] = [token for token in facts["added_tokens"] if token["content"] not in set(letters)]
    made._tokenizer = type(made.backend_tokenizer).from_str(json.dumps(facts))  # noqa: SLF001  (what backend_tokenizer gives)
    made.extra_special_tokens = list(old.extra_special_tokens)
    made.init_kwargs["extra_special_tokens"] = list(old.extra_special_tokens)
    made.init_kwargs.pop("added_tokens_decoder", None)


def relearned(reader: TextReader, vocabulary: Any, tokens: int | None) -> TextReader:
    """The same for graft's own readers, whose unit (word, subword, character) stays.

    Raises:
        UsageError: There are no rows.
    """
    if isinstance(vocabulary, TextReader):
        return vocabulary
    rows = _rows(vocabulary)
    size = tokens or reader.vocabulary
    return TextReader.build(rows, unit=unit_of(reader), vocabulary=size, longest=reader.longest)


def unit_of(reader: TextReader) -> str:
    """``"subword"``, ``"character"`` or ``"word"``.

    Example:
        >>> unit_of(TextReader.build(["where is my parcel"] * 3, unit="subword"))
        'subword'
    """
    if type(reader.tokenizer.model).__name__ == "BPE":
        return "subword"
    return "character" if type(reader.tokenizer.pre_tokenizer).__name__ == "Split" else "word"


def _rows(vocabulary: Any) -> Sequence[Any]:
    if isinstance(vocabulary, str) or not isinstance(vocabulary, list | tuple) or not vocabulary:
        what = "no rows" if isinstance(vocabulary, list | tuple) else f"a {type(vocabulary).__name__}"
        raise UsageError(f"a vocabulary is learned from rows of texts, not {what}", hint="give a list of texts")
    wrong = next((row for row in vocabulary if not isinstance(row, str | tuple | list)), None)
    if wrong is not None:
        raise UsageError(f"a vocabulary is learned from texts, not from a {type(wrong).__name__}", hint="give texts")
    return vocabulary
