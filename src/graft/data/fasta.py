"""FASTA: records of an id and a sequence, with the class in the header, in the name of the file, or in a table beside it."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from graft.core.errors import DataError
from graft.data.blocks import CHARACTERS, Block, Gather
from graft.data.lines import Lines

SUFFIXES = (".fasta", ".fa", ".fna", ".faa", ".ffn", ".frn", ".fas", ".mpfa")
NAMED = re.compile(r"\b(?:label|class|category|target)\s*[=:]\s*([^\s|;,]+)", re.IGNORECASE)
SPLIT_NAMES = {"train", "training", "test", "testing", "val", "valid", "validation", "dev"}
COLUMN, LABEL, ID = "sequence", "label", "id"
MOST_CLASSES, MOST_PREFIXES = 200, 20
PART = 0.8  # share of the records that must name a class; the others have no label
_NUMBERED = re.compile(r"^(.*[^\W\d_])([_.-]?)\d+$")
# what numbers records or places in a genome, and what accession numbers of databases begin with: no class
_PLACES = re.compile(
    r"^(chr\w*|chromosome|contig|scaffold|node|seq|sequence|read|gene|transcript|protein|prot|peptide|id|sample|record|"
    r"entry|item|row|[nxwy][cgmprtw])$",
    re.IGNORECASE,
)
HINT = "write >id|class or >id class=…, one FASTA file per class in a folder, or put a CSV of id,label beside the file"

Finder = Callable[[str], str | None]


def is_fasta(path: Path) -> bool:
    """Whether the name of a file is that of a FASTA file, ``.gz`` after it or not.

    Example:
        >>> is_fasta(Path("genes.fa.gz")), is_fasta(Path("genes.csv"))
        (True, False)
    """
    name = path.name.lower().removesuffix(".gz")
    return name.endswith(SUFFIXES)


def stem(path: Path) -> str:
    """The name of a FASTA file without its suffixes."""
    name = path.name[: -len(".gz")] if path.name.lower().endswith(".gz") else path.name
    return Path(name).stem


def records(path: Path, encoding: str = "utf-8") -> Iterator[tuple[str, str, int, str | None]]:
    """Header, sequence, line of the header, and what is wrong with the bytes (None: nothing) of every record.

    Line ends of any system, blank lines and comments (``;``) are passed over.

    Raises:
        DataError: The file does not begin with a record.
    """
    lines = Lines(path, encoding)
    header, number, parts, odd, size = None, 0, [], None, 0
    with contextlib.closing(iter(lines)) as text:
        for line in text:
            content = line.strip()
            wrong = lines.odd.pop(lines.number, None)
            if content.startswith(">"):
                if header is not None:
                    yield header, "".join(parts), number, odd
                header, number, parts, odd, size = content[1:].strip(), lines.number, [], wrong, 0
            elif header is None and content and not content.startswith(";"):
                where = f"{path}, line {lines.number}"
                hint = "convert it to FASTA first" if content.startswith("@") else "every record begins with a line >id"
                raise DataError("no FASTA: the first line does not begin with '>'", where=where, hint=hint)
            elif content and not content.startswith(";"):
                size += len(content)
                if size > CHARACTERS:
                    raise DataError(f"a sequence longer than {CHARACTERS:,} letters", where=f"{path}, line {number}")
                parts.append(content)
                odd = odd or wrong
        if header is not None:
            yield header, "".join(parts), number, odd


@dataclass(frozen=True)
class Headers:
    """What the headers of a file say.

    Attributes:
        find: The class in a header, or None; None where headers name no classes.
        note: How classes are read, in words.
        notes: What else to tell.
    """

    find: Finder | None
    note: str = ""
    notes: tuple[str, ...] = ()


def _named(header: str) -> str | None:
    found = NAMED.search(header)
    return found[1] if found else None


def _after_bar(header: str) -> str | None:
    parts = [part.strip() for part in header.split("|")]
    if len(parts) > 2 and parts[-1].casefold() in SPLIT_NAMES:
        parts = parts[:-1]  # >id|class|training
    return parts[-1] or None if len(parts) > 1 else None


def _after_tab(header: str) -> str | None:
    parts = [part.strip() for part in header.split("\t")]
    return parts[-1] or None if len(parts) > 1 else None


def _second_word(header: str) -> str | None:
    parts = header.split()
    return parts[1] if len(parts) == 2 and "|" not in header else None


def _prefix(header: str) -> str | None:
    found = _NUMBERED.match(header) if len(header.split()) == 1 else None
    if not found or _PLACES.match(found[1]) or (len(found[1]) <= 2 and not found[2]):  # AB123456 is an accession number
        return None
    return found[1]


# in this order: from what is said outright to what is only likely.  (share of records that have it, most classes)
WAYS: tuple[tuple[Finder, float, int, str], ...] = (
    (_named, PART, MOST_CLASSES, "class=… or label=… in the header"),
    (_after_bar, PART, MOST_CLASSES, "what follows the last '|' of the header"),
    (_after_tab, PART, MOST_CLASSES, "what follows the last tab of the header"),
    (_second_word, 1.0, MOST_CLASSES, "the second word of the header"),
    (_prefix, 1.0, MOST_PREFIXES, "the header before its number"),
)


def read_headers(path: Path, encoding: str = "utf-8") -> Headers:
    """How the headers of a file name classes: the first way of ``WAYS`` whose values repeat as classes do.

    Two classes or more, not more than half as many as records (numbers after ``class=`` may all differ: a regression).
    """
    headers = [header for header, _, _, _ in records(path, encoding)]
    twice = [name for name, count in Counter(map(_id_of, headers)).items() if count > 1 and name]
    notes = ()
    if twice:
        few = ", ".join(twice[:3]) + (" …" if len(twice) > 3 else "")
        notes = (f"{len(twice)} id(s) occur more than once in {path.name}: {few}",)
    for find, share, most, words in WAYS:
        found = [find(header) for header in headers]
        given = [value for value in found if value is not None]
        if not given or len(given) < share * len(headers):
            continue
        counts = Counter(given)
        classes = 2 <= len(counts) <= min(most, max(2, len(given) // 2))
        if find is _prefix:
            classes = classes and min(counts.values()) > 1 and len({re.sub(r"\d", "", one) for one in counts}) > 1
        values = find is _named and len(counts) > 2 and all(_is_number(value) for value in counts)
        if classes or values:
            some = next(header for header, value in zip(headers, found, strict=True) if value is not None)
            return Headers(find, f"the class is {words} (>{some[:60]})", notes)
    return Headers(None, "", notes)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _id_of(header: str) -> str:
    """The id of a record: the first word, up to the first '|'; of a database's record (``sp|P12345|…``) all of the word."""
    word = header.split(maxsplit=1)[0] if header.strip() else ""
    return word if re.match(r"(sp|tr|gi|ref|gb|emb|dbj|pdb)\|", word) else word.partition("|")[0]


def fasta(path: Path, encoding: str, rows: int, columns: Sequence[str]) -> Iterator[Block]:
    """Records as rows of ``id``, ``sequence`` and, where the headers name classes, ``label``; a line is that of the header."""
    del columns
    yield from _blocks([(path, None)], encoding, rows, read_headers(path, encoding).find)


def _blocks(
    files: Sequence[tuple[Path, str | None]],
    encoding: str,
    rows: int,
    find: Finder | None,
    labels: dict[str, str] | None = None,
) -> Iterator[Block]:
    """Records of several files: the class of a row is that of its file, of the table of ids, or of its header."""
    labelled = find is not None or labels is not None or any(name is not None for _, name in files)
    gather, size, several = Gather((ID, COLUMN, *((LABEL,) if labelled else ()))), 0, len(files) > 1
    for path, name in files:
        for number, (header, sequence, line, odd) in enumerate(records(path, encoding), 1):
            place = gather.number + 1 if several else line
            if odd:
                gather.wrong(place, f"{path.name}, record {number}: {odd}" if several else odd)
            else:
                own = _id_of(header)
                said = name if name is not None else find(header) if find else None
                said = labels.get(own) if labels is not None else said
                gather.good([own, sequence, *((said,) if labelled else ())], place)
            size += len(sequence)
            if len(gather) >= rows or size > CHARACTERS:
                size = 0
                yield gather.block()
    if len(gather):
        yield gather.block()


@dataclass(frozen=True)
class Records:
    """What a FASTA file or a folder of them holds: blocks of rows, whether they have a class, and how that was found."""

    blocks: Iterator[Block]
    labelled: bool
    notes: tuple[str, ...]
    unit: str


def open_fasta(path: Path, *, encoding: str, rows: int) -> Records:
    """Records of a file, classes from its headers."""
    headers = read_headers(path, encoding)
    notes = (headers.note, *headers.notes) if headers.note else headers.notes
    return Records(_blocks([(path, None)], encoding, rows, headers.find), headers.find is not None, notes, "line")


def open_folder(path: Path, entries: Sequence[Path], *, encoding: str, rows: int) -> Records | None:
    """Records of a folder: one file per class, one folder per class, or one file with a table of ids and labels beside it.

    Args:
        path: The folder.
        entries: What is in it, sorted.
        encoding: Of the files.
        rows: Rows of a block.

    Returns:
        None where there is no FASTA file.

    Raises:
        DataError: Several tables lie beside the file, or the table has no ids of the file.
    """
    files = [item for item in entries if item.is_file() and is_fasta(item)]
    tables = [item for item in entries if item.is_file() and item.suffix.lower() in {".csv", ".tsv"}]
    folders = [item for item in entries if item.is_dir()]
    inside = [(item, folder.name) for folder in folders for item in sorted(folder.rglob("*")) if is_fasta(item)]
    if files and tables:
        if len(tables) > 1:
            names = ", ".join(item.name for item in tables)
            raise DataError(f"several tables beside the FASTA file: {names}", where=str(path), hint="leave one")
        labels, notes = _joined(files, tables[0], encoding)
        unit = "line" if len(files) == 1 else "record"
        return Records(_blocks([(item, None) for item in files], encoding, rows, None, labels), True, notes, unit)
    if len(files) == 1 and not inside:
        return open_fasta(files[0], encoding=encoding, rows=rows)
    several = [(item, stem(item)) for item in files] + inside
    if not several:
        return None
    note = f"the class is the name of the {'folder' if inside and not files else 'file'}"
    return Records(_blocks(several, encoding, rows, None), True, (note,), "record")


def _joined(files: Sequence[Path], table: Path, encoding: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """Label by id from a table, and what to tell about ids that occur in one of the two alone."""
    from graft.data.delimited import delimited

    whole = pa.concat_tables([block.table for block in delimited(table, encoding, 65_536, ())])
    names = [name.casefold() for name in whole.column_names]
    ids = next((i for i, name in enumerate(names) if name in _ID_NAMES), 0)
    others = [i for i in range(len(names)) if i != ids]
    if not others:
        raise DataError("the table of labels has one column", where=str(table), hint="write two: id,label")
    label = next((i for i in others if names[i] in _LABEL_NAMES), others[0])
    labels: dict[str, str] = {}
    for row, (one, value) in enumerate(zip(whole[ids].to_pylist(), whole[label].to_pylist(), strict=True), 2):
        key = one.strip()
        if labels.setdefault(key, value) != value:
            raise DataError(f"id {key!r} has two labels: {labels[key]!r} and {value!r}", where=f"{table}, line {row}")
    known = [_id_of(header) for path in files for header, _, _, _ in records(path, encoding)]
    matched = set(known) & set(labels)
    if not matched:
        hint = f"the file has {known[0]!r}, the table {next(iter(labels), '')!r}" if known else "the file is empty"
        raise DataError(f"no id of {table.name} is in {files[0].name}", where=str(table.parent), hint=hint)
    notes = [f"labels are those of {table.name}, by id"]
    missing = len(set(labels) - matched)
    if missing:
        notes.append(f"{missing} id(s) of {table.name} have no sequence")
    twice = [name for name, count in Counter(known).items() if count > 1]
    if twice:
        notes.append(f"{len(twice)} id(s) occur more than once: {', '.join(twice[:3])}{' …' if len(twice) > 3 else ''}")
    return labels, tuple(notes)


_ID_NAMES = {ID, "ids", "name", "accession", "identifier", "seq_id", "sequence_id", "record", "header", "编号"}
_LABEL_NAMES = {LABEL, "labels", "class", "category", "target", "y", "标签", "类别"}
