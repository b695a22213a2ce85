"""k-mers of sequences: how often each run of letters occurs, and, where all have one length, which run stands where."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graft.core.types import Dataset
from graft.data.biological import alphabet_in
from graft.data.letters import GAP, KNOWN, MEANING

LONGEST = {"dna": 6, "rna": 6, "protein": 3}  # letters of the longest run that is counted
PLACED = {"dna": 3, "rna": 3, "protein": 1}  # and of the longest run that is placed
MOST_PLACES = 2_000  # letters of sequences of one length beyond which nothing is placed
COUNTED = 0.5  # weight of the counts beside the places
BLOCK = 2_048  # sequences transformed at a time


class KmerVectors:
    """Weighted counts of k-mers, rows of length 1, and beside them the k-mer at each place of aligned sequences.

    Counts are (1 + ln n) · (1 + ln((1 + N) / (1 + N_k))), of k = 1 to 6 (proteins: to 3); a run with an unknown letter
    does not count, and gaps are passed over.  Where all training rows have one length L, places are added: one
    of A^k columns at each place is 1, for k = 1 to 3 (proteins: 1), and an ambiguous letter is shared out among those it
    stands for.  Places are counted from the left; what a longer sequence has beyond them is not placed.

    References:
        Leslie, Eskin & Noble (2002), The spectrum kernel, for counts; Sonnenburg, Rätsch & Rieck (2007), Large-scale learning
        with string kernels, for places (weighted degrees).
    """

    def __init__(self) -> None:
        self.alphabet, self.longest, self.length = "dna", 6, 0
        self.kept = np.empty(0, np.int64)
        self.idf = np.empty(0)

    def fit(self, dataset: Dataset) -> KmerVectors:
        """Find the alphabet, the common length, the k-mers that occur, and their weights."""
        self.alphabet = alphabet_in(dataset)
        self.longest = LONGEST[self.alphabet]
        documents, lengths = np.zeros(self._offset(self.longest + 1), np.int64), set()
        for texts in _blocks(dataset):
            documents += np.bincount(self._counts(texts).indices, minlength=len(documents))
            lengths |= set(map(len, texts))
        self.kept = np.flatnonzero(documents)
        self.idf = 1 + np.log((1 + len(dataset)) / (1 + documents[self.kept]))
        common = lengths.pop() if len(lengths) == 1 else 0
        self.length = common if 2 <= common <= MOST_PLACES else 0
        return self

    @property
    def _letters(self) -> str:
        return KNOWN[self.alphabet]

    def _offset(self, k: int) -> int:
        """Number of the first k-mer: those of fewer letters come before."""
        return sum(len(self._letters) ** j for j in range(1, k))

    def _codes(self, text: bytes) -> np.ndarray:
        """Number of each letter, -1 where it is none of those that are known."""
        table = np.full(256, -1, np.int64)
        table[np.frombuffer(self._letters.encode(), np.uint8)] = np.arange(len(self._letters))
        return table[np.frombuffer(text, np.uint8)]

    def _counts(self, texts: list[str]) -> Any:
        """How often each k-mer occurs in each sequence: CSR (n, all k-mers)."""
        from scipy.sparse import csr_matrix

        joined = "\n".join(text.replace(GAP, "") for text in texts).encode("ascii", "replace")
        code, base = self._codes(joined), len(self._letters)
        row = np.cumsum(np.frombuffer(joined, np.uint8) == ord("\n"))
        number, known = code, code >= 0
        rows, columns = [], []
        for k in range(1, self.longest + 1):
            if k > 1:
                number, known = number[:-1] * base + code[k - 1 :], known[:-1] & (code[k - 1 :] >= 0)
            rows.append(row[: len(number)][known])
            columns.append(number[known] + self._offset(k))
        place = np.concatenate(rows), np.concatenate(columns)
        found = csr_matrix((np.ones(len(place[0])), place), (len(texts), self._offset(self.longest + 1)))
        found.sum_duplicates()
        return found

    def _placed(self, texts: list[str]) -> Any:
        """Which k-mer stands at each place: CSR (n, places), rows of length 1."""
        from scipy.sparse import csr_matrix

        whole = "".join(text[: self.length].ljust(self.length, GAP) for text in texts).encode("ascii", "replace")
        code, base = self._codes(whole).reshape(len(texts), self.length), len(self._letters)
        number, known = code, code >= 0
        rows, columns, values, start = [], [], [], 0
        for k in range(1, PLACED[self.alphabet] + 1):
            if k > 1:
                number, known = number[:, :-1] * base + code[:, k - 1 :], known[:, :-1] & (code[:, k - 1 :] >= 0)
            row, place = np.nonzero(known)
            rows.append(row)
            columns.append(start + place * base**k + number[row, place])
            values.append(np.ones(len(row)))
            start += max(0, self.length - k + 1) * base**k
        if self.alphabet != "protein":
            letters = np.frombuffer(whole, np.uint8).reshape(code.shape)
            for letter, meant in MEANING.items():
                row, place = np.nonzero(letters == ord(letter))
                for one in meant if len(row) else "":
                    rows.append(row)
                    columns.append(place * base + self._letters.index(one))
                    values.append(np.full(len(row), 1 / len(meant)))
        parts = np.concatenate(rows), np.concatenate(columns)
        found = csr_matrix((np.concatenate(values), parts), (len(texts), start))
        return _of_length_one(found)

    def transform(self, dataset: Dataset) -> Any:
        """CSR float64 (N, D): counts, then places."""
        from scipy.sparse import csr_matrix, hstack, vstack

        parts = [csr_matrix((0, self.width))]
        for texts in _blocks(dataset):
            counts = self._counts(texts)[:, self.kept]
            counts.data = 1 + np.log(counts.data)
            counts = _of_length_one(counts.multiply(self.idf[None]).tocsr())
            parts.append(hstack([COUNTED * counts, self._placed(texts)], format="csr") if self.length else counts)
        return vstack(parts, format="csr")

    @property
    def width(self) -> int:
        """Number of columns D."""
        return len(self.kept) + self._places

    @property
    def _places(self) -> int:
        base = len(self._letters)
        kinds = range(1, PLACED[self.alphabet] + 1) if self.length else ()
        return sum(max(0, self.length - k + 1) * base**k for k in kinds)

    def runs(self) -> list[tuple[str, int]]:
        """What each column stands for: the k-mer, and its 1-based place, 0 where it may be anywhere."""
        base, found = len(self._letters), []
        for column in self.kept.tolist():
            k = next(k for k in range(1, self.longest + 1) if column < self._offset(k + 1))
            found.append((self._spelt(column - self._offset(k), k), 0))
        for k in range(1, PLACED[self.alphabet] + 1) if self.length else ():
            spelt = [self._spelt(number, k) for number in range(base**k)]
            found += [(run, place + 1) for place in range(self.length - k + 1) for run in spelt]
        return found

    def names(self) -> list[str]:
        """The k-mer that each column counts, or the one at a place."""
        return [f"{run} at {place}" if place else run for run, place in self.runs()]

    def _spelt(self, number: int, k: int) -> str:
        base, spelt = len(self._letters), ""
        for _ in range(k):
            spelt = self._letters[number % base] + spelt
            number //= base
        return spelt.replace("T", "U") if self.alphabet == "rna" else spelt

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Alphabet and lengths as JSON; k-mers that occur and their weights as arrays."""
        facts = {"alphabet": self.alphabet, "longest": self.longest, "length": self.length}
        return facts, {"kept": self.kept, "idf": self.idf}

    @classmethod
    def from_state(cls, facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> KmerVectors:
        """The inverse of ``state``."""
        vectors = cls()
        vectors.alphabet, vectors.longest, vectors.length = facts["alphabet"], facts["longest"], facts["length"]
        vectors.kept, vectors.idf = arrays["kept"].astype(np.int64), np.asarray(arrays["idf"], np.float64)
        return vectors


def _blocks(dataset: Dataset) -> Iterator[list[str]]:
    for start in range(0, len(dataset), BLOCK):
        yield dataset.take(slice(start, start + BLOCK))


def _of_length_one(rows: Any) -> Any:
    """Rows divided by their length; a row of zeros stays."""
    from scipy.sparse import diags

    norms = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    return (diags(1 / np.where(norms > 0, norms, 1.0)) @ rows).tocsr()
