"""``graft search``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from graft.cli.app import Flag, Many, Natural, app
from graft.core.errors import UsageError


@app.command
def search(
    model: str,
    query: str | None = None,
    *,
    within: Annotated[str, Parameter(name="--in")],
    queries: Path | None = None,
    top: Natural = 10,
    inputs: Many = (),
    encoding: str = "utf-8",
    out: Path | None = None,
    overwrite: Flag = False,
    json: Flag = False,
    cache: bool = True,
) -> None:
    """Find the rows of a file that are most like a query, by the cosine of what a network makes of both.

    Parameters
    ----------
    model
        Folder that graft fit wrote, or a source made for similarity such as sbert:all-MiniLM-L6-v2.
    query
        What to look for: a text, or the path of a picture or sound where the model reads such.
    within
        File or folder to search.
    queries
        File of queries in the place of one: a line, or a row, each.
    top
        Rows to show of each query.
    inputs
        Column to search; found if not given.
    encoding
        Encoding of text files.
    out
        File to write: .csv, or .json.
    overwrite
        Replace the file if it exists.
    json
        Print JSON.
    cache
        Keep features on disk for the next search.
    """
    from dataclasses import asdict

    from graft.predict import check_out
    from graft.screen import print_json
    from graft.similarity import read_queries, search, write

    if (query is None) == (queries is None):
        raise UsageError("give one query, or a file of them with --queries")
    if out is not None:
        check_out(out, overwrite=overwrite)
    asked = [query] if query is not None else read_queries(Path(str(queries)), encoding=encoding)
    hits, notes = search(model, within, asked, top=top, inputs=inputs or None, encoding=encoding, cache=cache)
    if out is not None:
        write(hits, out, overwrite=overwrite)
    if json:
        print_json([asdict(hit) for some in hits for hit in some])
        return
    for note in notes:
        print(f"· {note}")
    for some in hits if out is None else ():
        if queries is not None:
            print(f"\n{some[0].query if some else ''}")
        for hit in some:
            print(f"{hit.rank:>4}  {hit.score:6.3f}  {hit.line:>7,}  {hit.input[:100]}")
