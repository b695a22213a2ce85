"""What words look like and stand beside, as numbers: the hand-made features of taggers before networks.

Of every word: itself, its lower case, digits as 0, its shape (``Xxxx-00``) with and without repeats, first and last letters;
of two words to each side: lower case and shape; pairs with both neighbours, and the shapes of the three together.  A feature
is its hash: there is no vocabulary, and two features share a number now and then (Weinberger et al. 2009).

References:
    Ratinov & Roth (2009), Design challenges and misconceptions in named entity recognition, CoNLL; Weinberger et al.
    (2009), Feature hashing for large scale multitask learning, ICML.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import numpy as np

from graft.data.rows import spread
from graft.data.sentences import Sentence

BITS = 18  # of a feature's number
OWN = 13  # features of a word alone
AROUND = (-2, -1, 1, 2)  # neighbours whose lower case and shape are features
FEATURES = OWN + 2 * len(AROUND) + 3
_REPEATS = re.compile(r"(.)\1+")
_LOWER, _SHORT = 1, 4  # columns of the lower case and of the short shape among the own ones


def shape(word: str) -> str:
    """Letters as X, x, digits as 0, letters without case as themselves' kind c, marks as they are.

    Example:
        >>> shape("Rhine-2000"), shape("中国")
        ('Xxxxx-0000', 'cc')
    """
    kinds = []
    for letter in word:
        if letter.isdigit():
            kinds.append("0")
        elif letter.isalpha():
            kinds.append("X" if letter.isupper() else "x" if letter.islower() else "c")
        else:
            kinds.append(letter)
    return "".join(kinds)


def _own(word: str) -> list[int]:
    low, looks = word.lower(), shape(word)
    digits = "".join("0" if letter.isdigit() else letter for letter in low)
    some = [
        word,
        low,
        digits,
        looks,
        _REPEATS.sub(r"\1", looks),
        *(low[:n] for n in (1, 2, 3, 4)),
        *(low[-n:] for n in (1, 2, 3, 4)),
    ]
    return [zlib.crc32(part.encode("utf-8", "surrogatepass")) for part in some]


def word_shapes(sentences: Sequence[Sentence], bits: int = BITS) -> np.ndarray:
    """Numbers (ΣT, ``FEATURES``) int64 below 2^bits of the features of every word.

    Example:
        >>> one = word_shapes([Sentence.of(["in", "Rome"]), Sentence.of(["Rome"])])
        >>> one.shape, int((one[1] == one[2]).sum()) >= OWN  # what is of the word alone is equal
        ((3, 24), True)
    """
    words = [word for sentence in sentences for word in sentence.words]
    index = {word: number for number, word in enumerate(dict.fromkeys(words))}
    if not words:
        return np.zeros((0, FEATURES), np.int64)
    table = np.array([_own(word) for word in index], np.uint64)
    own = table[[index[word] for word in words]]
    counts = np.array([len(sentence.starts) for sentence in sentences])
    row, place = np.repeat(np.arange(len(counts)), counts), np.arange(len(words))
    edge = np.array([zlib.crc32(b"\n")] * 2, np.uint64)  # what stands before the first word and after the last
    near = {0: own[:, [_LOWER, _SHORT]]}
    for step in AROUND:
        there = place + step
        inside = (there >= 0) & (there < len(words))
        inside[inside] = row[there[inside]] == row[inside]
        near[step] = np.where(inside[:, None], near[0][there.clip(0, len(words) - 1)], edge)
    joint = [
        spread(near[-1][:, 0]) + near[0][:, 0],
        spread(near[0][:, 0]) + near[1][:, 0],
        spread(spread(near[-1][:, 1]) + near[0][:, 1]) + near[1][:, 1],
    ]
    columns = np.column_stack([own, *(near[step] for step in AROUND), *joint])
    salted = spread(columns + spread(np.arange(1, FEATURES + 1, dtype=np.uint64)))
    return (salted % np.uint64(1 << bits)).astype(np.int64)
