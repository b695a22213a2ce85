"""Which forms of files hold which rows and which labels; the page of tasks is written from this, and every cell is tested."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

ROWS = ("classification", "ordinal", "multilabel", "regression")  # kinds of task with one target per row
COLUMNS = ("text", "image", "audio", "sequence", "series", "table")  # modalities that stand in columns


@dataclass(frozen=True)
class Form:
    """One way to write labelled rows down.

    Attributes:
        name: What it is called.
        suffixes: Of its files; none for folders.
        modalities: What its rows may be.
        kinds: What its labels may be.
    """

    name: str
    suffixes: tuple[str, ...]
    modalities: tuple[str, ...]
    kinds: tuple[str, ...]

    def holds(self, modality: str, kind: str) -> bool:
        """Whether such rows with such labels can be written in it."""
        return modality in self.modalities and kind in self.kinds


FORMS = (
    Form("CSV, TSV", (".csv", ".tsv"), COLUMNS, ROWS),
    Form("JSON lines, JSON", (".jsonl", ".json"), COLUMNS, ROWS),
    Form("Parquet", (".parquet",), COLUMNS, ROWS),
    Form("a folder per class", (), ("image", "audio", "series"), ("classification",)),
    Form("FASTA", (".fasta", ".fa"), ("sequence",), ("classification",)),
    Form("svmlight", (".svmlight", ".libsvm"), ("counts",), ("classification", "regression")),
    Form("ts", (".ts",), ("series",), ("classification",)),
    Form("CoNLL columns", (".conll", ".bio"), ("text",), ("tagging",)),
    Form("JSON lines with words or spans", (".jsonl", ".json"), ("text",), ("tagging",)),
    Form("COCO", (".json",), ("image",), ("detection",)),
    Form("Pascal VOC", (), ("image",), ("detection",)),
    Form("YOLO", (), ("image",), ("detection",)),
)


def tasks() -> Iterator[tuple[str, str]]:
    """Every modality with every kind of task that some form can hold.

    Example:
        >>> ("text", "tagging") in set(tasks()), ("table", "detection") in set(tasks())
        (True, False)
    """
    seen = dict.fromkeys((modality, kind) for form in FORMS for modality in form.modalities for kind in form.kinds)
    yield from sorted(seen, key=lambda one: (one[0], (*ROWS, "tagging", "detection").index(one[1])))
