"""Options from a TOML file: a table per command with the keywords of its function."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from graft.core.errors import UsageError


def read_config(path: Path, commands: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The tables of a configuration file.

    Args:
        path: A TOML file.
        commands: Names that tables may have.

    Raises:
        UsageError: There is no such file, it is not TOML, or a table is that of no command.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        what = f"cannot read {str(path)!r}: {error.strerror or error}"
        raise UsageError(what, hint="--config takes a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"not valid TOML: {error}", where=str(path)) from error
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise UsageError(f"{name!r} stands in no table", where=str(path), hint="put it below a line such as [fit]")
        if name not in commands:
            near = difflib.get_close_matches(name, commands, n=1, cutoff=0.5)
            hint = f"did you mean [{near[0]}]?" if near else f"tables: {', '.join(commands)}"
            raise UsageError(f"no command {name!r}", where=str(path), hint=hint)
    return tables
