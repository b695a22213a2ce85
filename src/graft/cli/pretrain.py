"""``graft pretrain``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter, validators

from graft.cli.app import Budget, Flag, Natural, app, load_data, typed
from graft.core.errors import UsageError

if TYPE_CHECKING:
    from graft.pretrain.base import BasePretrain

Positive = Annotated[float, Parameter(validator=validators.Number(gt=0))]
Count = Annotated[int, Parameter(validator=validators.Number(gt=0))]


@app.command
def pretrain(
    data: str,
    *,
    objective: str = "masked",
    source: str | None = None,
    encoder: str | None = None,
    size: Literal["tiny", "small", "base"] | None = None,
    inputs: str | None = None,
    unit: Literal["auto", "subword", "word", "character"] | None = None,
    vocabulary: Count | None = None,
    length: Count | None = None,
    budget: Budget = "10m",
    epochs: Positive | None = None,
    batch_size: Count | None = None,
    lr: Positive | None = None,
    seed: Natural = 0,
    encoding: str = "utf-8",
    out: Path | None = None,
    overwrite: Flag = False,
    resume: Flag = False,
    quiet: Flag = False,
) -> None:
    """Make a source from rows without labels; graft rank and graft fit use it like any other.

    Parameters
    ----------
    data
        Text file (.txt, a row per line), CSV, TSV, JSON lines or Parquet; .gz after it for the text forms.
    objective
        masked fills blanks, next says what comes next, continue goes on with a pretrained source.
    source
        For continue: the source to go on with, for example sbert:all-MiniLM-L6-v2.
    encoder
        transformer, lstm, gru or cnn; the first that the objective trains if not given.
    size
        tiny, small or base; small if not given.
    inputs
        Column to learn from; found if not given.
    unit
        subword, word or character; auto, the default, takes characters for scripts without spaces and for DNA.
    vocabulary
        Tokens of the vocabulary at most.
    length
        Tokens of a block.
    budget
        Time for everything: 90s, 10m, 2h.
    epochs
        Passes over the rows; as many as the budget allows if not given. With a number, equal seeds give equal bytes.
    batch_size
        Blocks of one step.
    lr
        Peak learning rate.
    seed
        Seed of everything random.
    encoding
        Encoding of text files.
    out
        Folder to write; sources/NAME-OBJECTIVE if not given.
    overwrite
        Replace the folder if it exists.
    resume
        Go on with an interrupted run of the same command.
    quiet
        Print only the result.
    """
    from shlex import join

    from graft.core.folder import RunFolder, free_name
    from graft.core.runtime import Clock, parse_budget
    from graft.report import write_pretraining
    from graft.screen import Screen

    clock = Clock(parse_budget(budget))
    options = {
        "source": source, "encoder": encoder, "size": size, "unit": unit, "vocabulary": vocabulary, "length": length, "epochs": epochs,
        "batch_size": batch_size, "lr": lr, "seed": seed,
    }  # fmt: skip
    method = _make(objective, {key: value for key, value in options.items() if value is not None})
    if not Path(data).exists():
        load_data(data)  # raises the line about the missing file before anything is written
    name = Path(data).resolve().name.split(".")[0] or "data"
    out = out or free_name(Path("sources") / f"{name}-{objective}", resume=resume)
    facts = {
        "data": str(Path(data).resolve()),
        "objective": objective,
        "inputs": inputs,
        "encoding": encoding,
        **options,
    }
    folder = RunFolder(out, facts, resume=resume, overwrite=overwrite)
    try:
        clock = Clock(clock.budget, spent=folder.spent + clock.elapsed())
        with Screen(quiet=quiet, clock=clock) as screen:
            rows = load_data(data, labelled=False, inputs=inputs, encoding=encoding, workdir=folder.partial / "data")
            screen.pretraining(method.label, rows, options)
            method.fit(rows, clock=clock, progress=screen.progress, work=folder.work)
            method.record_["command"] = join(["graft", *typed])
            method.save(folder.result)
            write_pretraining(method.record_, folder.result)
            screen.pretrained(method.record_, str(folder.out))
            folder.finish()
    except BaseException as error:
        folder.leave(error, clock.elapsed())
        raise


def _make(objective: str, options: dict[str, Any]) -> BasePretrain:
    from graft.core.registry import OBJECTIVES

    kind = OBJECTIVES[objective]
    known = kind._get_param_names()  # noqa: SLF001  (scikit-learn's way to ask)
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise UsageError(
            f"{objective} has no option --{unknown[0].replace('_', '-')}", hint=f"it has {', '.join(known)}"
        )
    made: BasePretrain = kind(**options)
    return made
