"""``graft reshape``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from graft.cli.app import Flag, Natural, app, load_data
from graft.core.errors import UsageError

if TYPE_CHECKING:
    from graft.reshape.reshape import Report
    from graft.screen import Screen

Numbers = Annotated[tuple[int, ...], Parameter(consume_multiple=True, negative="", show_default=False)]
TOKENIZERS = ("tokenizer.json", "vocab.txt", "spiece.model", "tokenizer.model")
SHOWN = 40  # rows of the table at most; the file holds all


@app.command
def reshape(
    source: str,
    *,
    out: Path,
    fresh: Flag = False,
    remove: Numbers = (),
    order: str | None = None,
    insert: Numbers = (),
    widen: float = 1.0,
    channels: int | None = None,
    size: int | None = None,
    length: int | None = None,
    vocabulary: str | None = None,
    tokens: int | None = None,
    inputs: str | None = None,
    encoding: str = "utf-8",
    seed: Natural = 0,
    overwrite: Flag = False,
    json: Flag = False,
) -> None:
    """Take the structure of a source, with none, some or all of its weights, and change it.

    What still fits is copied; the rest is resized, or new. The folder is a
    source like any other, with a report of every tensor (reshape.json).
    Blocks are counted from 0 at the bottom.

        graft reshape sbert:all-MiniLM-L6-v2 --fresh --out sources/structure
        graft reshape hf:NAME --remove 4 --remove 5 --channels 1 --out sources/small

    Parameters
    ----------
    source
        URI or folder of a network of transformers (text or pictures), or of one of graft's own encoders.
    out
        Folder to write.
    fresh
        Take the structure alone: all weights are new.
    remove
        Block to leave out; may be given several times.
    order
        Blocks to keep, bottom to top, such as 0,2,1 or 0,0,1; instead of --remove.
    insert
        Block after which a new one is put. It does nothing at first, where the kind of network allows it.
    widen
        Factor on the inner units of transformers, or on all channels of graft's other encoders; copies share weights.
    channels
        Channels of pictures: 3, or 1 for shades of grey.
    size
        Height and width that pictures are brought to.
    length
        Tokens of a text at most.
    vocabulary
        Texts (file or folder, as for graft fit) that a new vocabulary is learned from, or a folder with a tokenizer. Embeddings of tokens that are new start from those of their old pieces.
    tokens
        Size of the new vocabulary at most; that of the old one if not given.
    inputs
        Column of the texts; found if not given.
    encoding
        Encoding of text files.
    seed
        Seed of new weights.
    overwrite
        Replace the folder if it exists.
    json
        Print the report as JSON.
    """
    from shlex import quote

    from rich.markup import escape

    from graft.core.folder import RunFolder
    from graft.reshape.reshape import Changes, save_reshaped
    from graft.reshape.reshape import reshape as change
    from graft.screen import Screen, print_json
    from graft.sources.base import open_model

    kept = _blocks(order)
    asked: dict[str, Any] = {
        "fresh": fresh, "remove": remove, "order": kept, "insert": insert, "widen": widen, "channels": channels,
        "size": size, "length": length, "tokens": tokens,
    }  # fmt: skip
    Changes(**{**asked, "vocabulary": vocabulary}).check()  # before anything is read or written
    if not fresh and vocabulary is None and not Changes(**{**asked, "tokens": None}).named():
        raise UsageError(
            "no change is named", hint="use --fresh, --remove, --insert, --widen …; see graft reshape --help"
        )
    backbone = open_model(source)
    words = _vocabulary(vocabulary, inputs, encoding)
    folder = RunFolder(out, {"source": source, **asked}, overwrite=overwrite)
    try:
        made, report = change(backbone, Changes(**{**asked, "vocabulary": words}), seed=seed)
        save_reshaped(made, report, folder.result)
        folder.finish()
    except BaseException as error:
        folder.leave(error, 0.0)
        raise
    if json:
        print_json(report.to_json())
        return
    with Screen() as screen:
        _show(report, screen)
        screen.facts("source", f"file:{escape(str(out))}", always=True)
        screen.facts("next", escape(f"graft fit LABELLED_DATA --models {quote(str(out))}"), always=True)


def _blocks(order: str | None) -> tuple[int, ...] | None:
    """``0,2,1`` as numbers."""
    if order is None:
        return None
    try:
        return tuple(int(part) for part in order.split(","))
    except ValueError:
        raise UsageError(f"{order!r} is no order of blocks", hint="write their numbers, such as 0,2,1") from None


def _vocabulary(name: str | None, inputs: str | None, encoding: str) -> Any:
    """A tokenizer from its folder, or rows of texts."""
    if name is None:
        return None
    if any((Path(name) / file).is_file() for file in TOKENIZERS):
        from graft.sources.loading import open_tokenizer

        return open_tokenizer(Path(name))
    data = load_data(name, labelled=False, inputs=inputs, encoding=encoding)
    if data.task.modality != "text":
        raise UsageError(f"a vocabulary is learned from texts, {data.name} holds {data.task.modality}")
    return list(data.take())


def _show(report: Report, screen: Screen) -> None:
    """A row per kind of tensor, then everything in one sentence."""
    from rich.markup import escape
    from rich.padding import Padding
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("tensor", "many", "was", "is", "", ""):
        table.add_column(column, no_wrap=column != "", justify="right" if column == "many" else "left")
    groups = report.groups()
    for name, many, fate in groups[:SHOWN]:
        before = "–" if fate.old_shape is None else _sides(fate.old_shape)
        table.add_row(escape(name), f"{many}", before, _sides(fate.new_shape), fate.what, escape(fate.how))
    screen.heading("Tensors")
    screen.out.print(Padding(table, (0, 0, 0, 2), expand=False))
    if len(groups) > SHOWN:
        screen.line(f"… and {len(groups) - SHOWN} more; reshape.json holds all")
    if report.left:
        some = ", ".join(name for name, _ in report.left[:3]) + (" …" if len(report.left) > 3 else "")
        screen.facts("left out", escape(some))
    for note in report.notes:
        screen.facts("note", escape(note), always=True)
    screen.facts("result", escape(report.summary()), always=True)


def _sides(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape)) or "1"
