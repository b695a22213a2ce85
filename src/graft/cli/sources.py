"""``graft rank``, ``models`` and ``cache``: what there is to start from."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter, validators

from graft.cli.app import Flag, Level, Many, Natural, app, load_data


@app.command
def rank(
    data: str,
    *,
    label: str | None = None,
    models: Many = (),
    by: str = "probe",
    rows: Annotated[int, Parameter(validator=validators.Number(gte=10))] = 2000,
    seed: Natural = 0,
    level: Level = 0.9,
    encoding: str = "utf-8",
    cache: bool = True,
    json: Flag = False,
) -> None:
    """Rank every source within reach on labelled data, with intervals, cost, and what cannot be told apart.

    Parameters
    ----------
    data
        Labelled file or folder, as for graft fit.
    label
        Label column; found if not given.
    models
        URIs or folders of sources; all that are within reach if not given.
    by
        Score that orders: probe, logme, h_score, leep, nce …
    rows
        Rows used at most.
    seed
        Seed of folds and resampling.
    level
        Confidence level.
    encoding
        Encoding of text files.
    cache
        Keep features on disk for the next run.
    json
        Print JSON.
    """
    import dataclasses
    from tempfile import TemporaryDirectory

    from graft.auto import find_sources
    from graft.core.store import Store
    from graft.ranking.rank import rank as rank_sources
    from graft.screen import Screen, print_json

    table = load_data(data, label=label, encoding=encoding)
    with Screen(quiet=json) as screen, TemporaryDirectory() as folder:
        ranking = rank_sources(
            find_sources(table.task.modality, models), table, by=by, limit_rows=rows, seed=seed, level=level,
            store=Store(None if cache else folder), progress=screen.progress,
        )  # fmt: skip
        if json:
            print_json(dataclasses.asdict(ranking))
        screen.ranking_table(ranking)  # prints nothing when quiet


@app.command(name="models")
def list_sources(
    *,
    models: Many = (),
    modality: Literal["text", "image", "audio", "sequence", "series", "table"] | None = None,
    json: Flag = False,
) -> None:
    """List the sources within reach: installed packages with weights, folders, the Hugging Face cache.

    Parameters
    ----------
    models
        Further folders; GRAFT_MODELS names folders too.
    modality
        Only sources for text, image, audio, sequence, series or table.
    json
        Print JSON.
    """
    import dataclasses

    from graft.screen import Screen, print_json
    from graft.sources.base import list_models

    specs = list_models(modality=modality, folders=models)
    if json:
        print_json([dataclasses.asdict(spec) for spec in specs])
        return
    Screen().sources_table(specs)


@app.command
def cache(action: Literal["show", "clear", "verify"] = "show") -> None:
    """Show, clear or check the cache of features.

    Parameters
    ----------
    action
        show lists the entries, clear removes them all, verify checks every byte and drops what is damaged.
    """
    from graft.core.store import Store

    store = Store()
    if action == "clear":
        print(f"freed {store.clear() / 1e6:,.0f} MB in {store.folder}")
        return
    if action == "verify":
        dropped = store.verify()
        print(f"dropped {len(dropped)} damaged entries of {store.folder}" if dropped else f"{store.folder} is sound")
        return
    entries = store.entries()
    for entry in entries:
        print(f"{entry.kind:<10} {entry.bytes / 1e6:>10,.1f} MB  {entry.key}")
    print(
        f"{len(entries)} entries, {store.size() / 1e6:,.1f} MB of at most {store.max_bytes / 1e9:,.0f} GB in {store.folder}"
    )
