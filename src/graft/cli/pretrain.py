"""``graft pretrain``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter, validators

from graft.cli.app import Budget, Flag, Level, Natural, Positive, app, load_data, typed
from graft.core.errors import UsageError

if TYPE_CHECKING:
    from graft.pretrain.base import BasePretrain

Count = Annotated[int, Parameter(validator=validators.Number(gt=0))]


@app.command
def pretrain(
    data: str,
    *,
    objective: str = "masked",
    source: str | None = None,
    encoder: str | None = None,
    size: Literal["tiny", "small", "base"] | None = None,
    side: Count | None = None,
    gap: Literal["patches", "block", "time"] | None = None,
    hidden: Level | None = None,
    levels: Count | None = None,
    ahead: Count | None = None,
    temperature: Positive | None = None,
    flip: bool | None = None,
    inputs: str | None = None,
    label: str | None = None,
    modality: Literal["text", "image", "audio", "sequence", "series", "table"] | None = None,
    unit: Literal["auto", "subword", "word", "character"] | None = None,
    vocabulary: Count | None = None,
    length: Count | None = None,
    dimension: Count | None = None,
    window: Count | None = None,
    min_count: Count | None = None,
    form: Literal["r1", "non-saturating", "minimax"] | None = None,
    clusters: Count | None = None,
    reassign: Count | None = None,
    components: Count | None = None,
    threshold: Level | None = None,
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
        Or a folder of pictures or sounds, or sequences in FASTA.
    objective
        masked fills blanks, next says what comes next, contrastive tells views of pictures apart, gan draws pictures,
        clusters groups them, pca projects pictures or tables, vectors makes word vectors, supervised learns from labels,
        semi from few labels and many rows without, continue goes on with a pretrained source.
    source
        For continue: the source to go on with, for example sbert:all-MiniLM-L6-v2.
    encoder
        transformer, lstm, gru, cnn or textcnn; for pictures patches, resnet or vgg; for sounds transformer, resnet, vgg, lstm or gru; for vectors skipgram or cbow; the first that the objective trains if not given.
    size
        tiny, small or base; small if not given, tiny for next over pictures.
    side
        Height and width that pictures are brought to, a multiple of 8; read off the pictures if not given.
    gap
        For masked over pictures: patches hides patches here and there, block hides one square; over sounds: patches, or
        time for all bands of some spans.
    hidden
        For masked over pictures: share of the picture that is hidden; 0.75 of the patches, or a block of 0.25. Over sounds
        0.5 of the patches, or 0.3 of the time.
    levels
        For next over pictures: steps of brightness, 16 if not given.
    ahead
        For next over sounds: how many frames ahead is predicted, 3 if not given.
    temperature
        For contrastive: the lower, the more the nearest wrong pictures count.
    flip
        For contrastive: views may be mirrored; in colour only if not given.
    inputs
        Column to learn from; found if not given.
    label
        Column of labels, for supervised and semi (cells may be empty); clusters are compared with it, others leave it out.
    modality
        text, image, audio, sequence, series or table; guessed if not given.
    unit
        subword, word or character; auto, the default, takes characters for scripts without spaces and for DNA.
    vocabulary
        Tokens of the vocabulary at most.
    length
        Tokens of a block; of sounds, frames that are read of each, a multiple of 8.
    dimension
        For vectors: width of the vectors; 100 if not given.
    window
        For vectors: words on either side that count as near; 5 if not given.
    min_count
        For vectors: words that occur less often are left out; 2 if not given.
    form
        For gan: r1, the default, has a gradient penalty; non-saturating and minimax are the plain games.
    clusters
        For clusters: how many.
    reassign
        For clusters: epochs between two assignments.
    components
        For pca: how many; those that explain 95 %, at most 64, if not given.
    threshold
        For semi: the probability from which the network trusts itself.
    budget
        Time for everything: 90s, 10m, 2h.
    epochs
        Passes over the rows; as many as the budget allows if not given. With a number, equal seeds give equal bytes.
    batch_size
        Blocks or pictures of one step.
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
        "source": source, "encoder": encoder, "size": size, "side": side, "gap": gap, "hidden": hidden,
        "levels": levels, "ahead": ahead, "temperature": temperature, "flip": flip, "unit": unit, "vocabulary": vocabulary, "length": length, "dimension": dimension,
        "window": window, "min_count": min_count, "form": form, "clusters": clusters, "reassign": reassign,
        "components": components, "threshold": threshold, "epochs": epochs, "batch_size": batch_size, "lr": lr, "seed": seed,
    }  # fmt: skip
    given = {key: value for key, value in options.items() if value is not None}
    forms = _forms(objective)
    _check(objective, forms, given)  # before anything is read or written
    if not Path(data).exists():
        load_data(data)  # raises the line about the missing file before anything is written
    name = Path(data).resolve().name.split(".")[0] or "data"
    out = out or free_name(Path("sources") / f"{name}-{objective}", resume=resume)
    facts = {
        "data": str(Path(data).resolve()),
        "objective": objective,
        "inputs": inputs,
        "label": label,
        "modality": modality,
        "encoding": encoding,
        **options,
    }
    folder = RunFolder(out, facts, resume=resume, overwrite=overwrite)
    try:
        clock = Clock(clock.budget, spent=folder.spent + clock.elapsed())
        with Screen(quiet=quiet, clock=clock) as screen:
            reads = forms[0].labels
            rows = load_data(
                data, labelled=bool(reads) and (reads != "compared" or label is not None), partly=reads != "all",
                label=label, inputs=inputs, modality=modality, encoding=encoding, workdir=folder.partial / "data",
            )  # fmt: skip
            form = next((form for form in forms if rows.task.modality in form.encoders), forms[0])
            _check(objective, [form], given)
            method = form(**given)
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


def _forms(objective: str) -> list[type[BasePretrain]]:
    """The classes of an objective, one per kind of input: ``masked`` has ``masked-image`` beside it."""
    from graft.core.registry import OBJECTIVES

    return [OBJECTIVES[objective], *(form for name, form in OBJECTIVES.items() if name.startswith(f"{objective}-"))]


def _check(objective: str, forms: list[type[BasePretrain]], given: dict[str, Any]) -> None:
    """Refuse options that none of the forms has."""
    known = sorted({key for form in forms for key in form._get_param_names()})  # noqa: SLF001  (scikit-learn's way to ask)
    for key in sorted(set(given) - set(known)):
        raise UsageError(f"{objective} has no option --{key.replace('_', '-')}", hint=f"it has {', '.join(known)}")
