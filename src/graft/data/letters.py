"""The letters of DNA, RNA and proteins: what they stand for, how to recognise them, the other strand.

IUPAC-IUB Commission (1985), Nomenclature for incompletely specified bases; IUPAC-IUB (1984) for amino acids.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

KNOWN = {"dna": "ACGT", "rna": "ACGT", "protein": "ACDEFGHIKLMNPQRSTVWY"}  # U is read as T
CALLED = {"dna": "DNA", "rna": "RNA", "protein": "proteins"}
MEANING = {  # what a letter stands for that does not say which nucleotide it is
    "R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT", "M": "AC",
    "B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG", "N": "ACGT",
}  # fmt: skip
NAMES = {
    "sequence", "sequences", "seq", "seqs", "dna", "rna", "protein", "proteins", "peptide", "peptides", "aa", "nucleotide",
    "nucleotides", "序列",
}  # fmt: skip
RARE = "BJOUXZ"  # of proteins: one of two, a rare residue, or unknown
GAP = "-"
COMPLEMENT = str.maketrans("ACGTRYSWKMBDHVN", "TGCAYRSWMKVHDBN")
LENGTH, LENGTH_NAMED = 20, 4  # letters of the median sequence from which a column is recognised
ROWS, SURE, STANDARD = 0.98, 0.9, 0.97  # shares of rows that are sequences, of A C G T N, of the 20 residues
DISTINCT = 10  # letters that sequences of proteins hold at least, all together

_NUCLEOTIDES = re.compile(r"[ACGTUNRYSWKMBDHVX.?-]+", re.IGNORECASE)
_RESIDUES = re.compile(r"[ACDEFGHIKLMNPQRSTVWYBJOUXZ*.?-]+", re.IGNORECASE)
_SPACE = re.compile(r"\s+")
_CLEAN = {
    "dna": str.maketrans("UX?.", "TNN-"),
    "rna": str.maketrans("UX?.", "TNN-"),
    "protein": str.maketrans("*?.", "XX-"),
}
_STRANGE = {
    "dna": re.compile(f"[^ACGT{''.join(MEANING)}-]"),
    "rna": re.compile(f"[^ACGT{''.join(MEANING)}-]"),
    "protein": re.compile(f"[^{KNOWN['protein']}{RARE}-]"),
}


def alphabet_of(texts: Sequence[str], *, named: bool = False) -> str:
    """``"dna"``, ``"rna"`` or ``"protein"`` where nearly all texts are such sequences; empty where they are something else.

    DNA and RNA: nothing but IUPAC letters, nine in ten of them A, C, G, T, U or N.  Proteins: capitals alone, nearly all
    of them the 20 residues.  The median has 20 letters or more; where the column is ``named`` like a sequence, 4.

    Example:
        >>> alphabet_of(["acgtACGTNNacgtACGTacgt"]), alphabet_of(["MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ"])
        ('dna', 'protein')
        >>> alphabet_of(["a tag that acts", "another text"]), alphabet_of(["ACGT"]), alphabet_of(["ACGU"], named=True)
        ('', '', 'rna')
    """
    some = [text for text in (text.strip() for text in texts) if text]
    least = LENGTH_NAMED if named else LENGTH
    if not some or float(np.median([len(text) for text in some])) < least:
        return ""
    counts = Counter("".join(some).upper())
    letters = sum(count for letter, count in counts.items() if letter.isalpha())
    nucleic = sum(bool(_NUCLEOTIDES.fullmatch(text)) for text in some) >= ROWS * len(some)
    sure = sum(counts[letter] for letter in "ACGTUN") >= SURE * letters and len(set("ACGTU") & set(counts)) > 1
    if letters and nucleic and sure:
        return "rna" if counts["U"] and not counts["T"] else "dna"
    if not letters or sum(bool(_RESIDUES.fullmatch(text)) for text in some) < ROWS * len(some):
        return ""
    capitals = sum(text == text.upper() for text in some) >= ROWS * len(some)
    standard = sum(counts[letter] for letter in KNOWN["protein"]) >= STANDARD * letters
    varied = len(set(counts) & set(KNOWN["protein"])) >= (2 if named else DISTINCT)
    return "protein" if standard and varied and (capitals or named) else ""


def is_named(column: str) -> bool:
    """Whether a column is named like sequences.

    Example:
        >>> is_named("Protein_Seq_1"), is_named("text")
        (True, False)
    """
    return bool(NAMES & set(re.split(r"[\s_\-\d]+", column.casefold())))


def alphabet_asked(texts: Sequence[str]) -> str:
    """The alphabet of texts that are said to be sequences: that of nucleotides where it suffices for most of them.

    Example:
        >>> alphabet_asked(["acg", "ttr"]), alphabet_asked(["ACDE"])
        ('dna', 'protein')
    """
    some = [text.strip().upper() for text in texts if text.strip()]
    nucleic = [text for text in some if _NUCLEOTIDES.fullmatch(text)]
    if 2 * len(nucleic) <= len(some):
        return "protein"
    letters = set("".join(nucleic))
    return "rna" if "U" in letters and "T" not in letters else "dna"


def cleaned(text: str, alphabet: str) -> str:
    """A sequence in capitals without white space: ``.`` is a gap ``-``, U is T, X and ``?`` are N (in proteins X).

    A stop ``*`` at the end of a protein is left out, one inside is unknown.

    Example:
        >>> cleaned(" acgu.x", "dna"), cleaned("mk*l*", "protein")
        ('ACGT-N', 'MKXL')
    """
    whole = _SPACE.sub("", text).upper()
    if alphabet == "protein":
        whole = whole.rstrip("*")
    return whole.translate(_CLEAN[alphabet])


def fault(sequence: str, alphabet: str) -> str:
    """Why a cleaned sequence cannot be used; empty if it can.

    Example:
        >>> fault("ACGE", "dna"), fault("--", "dna"), fault("NN", "dna"), fault("AN-C", "dna")
        ("letter 'E' at place 4 is none of DNA", 'empty sequence', 'no known letter in the sequence', '')
    """
    if not sequence.replace(GAP, ""):
        return "empty sequence"
    strange = _STRANGE[alphabet].search(sequence)
    if strange:
        return f"letter {strange[0]!r} at place {strange.start() + 1} is none of {CALLED[alphabet]}"
    return "" if set(sequence) & set(KNOWN[alphabet]) else "no known letter in the sequence"


def reverse_complement(sequence: str) -> str:
    """The other strand of cleaned DNA, read in its own direction.

    Example:
        >>> reverse_complement("AACGTR-N")
        'N-YACGTT'
    """
    return sequence.translate(COMPLEMENT)[::-1]
