"""The command line.  Options are the keywords of the commands; ``--config FILE.toml`` gives them from a file.

Precedence: command line, then file, then default.  Errors print one line and set the exit code (see core/errors.py).
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import CycloptsError, Parameter
from cyclopts.config import Dict
from cyclopts.exceptions import MissingArgumentError, UnusedCliTokensError

from graft.cli import adapt, compare, distill, fit, history, label, pretrain, reshape, search, sources, use, zero_shot  # noqa: F401  (each adds its commands, in the order of --help)
from graft.cli.app import app, typed
from graft.core.config import read_config
from graft.core.errors import GraftError, OutputError, UsageError

__all__ = ["app", "main"]


@app.meta.default
def _with_config(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    config: Annotated[Path | None, Parameter(help="TOML file with a table per command: [fit] budget = '2m'.")] = None,
) -> None:
    if config:
        commands = [name for name in app if not name.startswith("-")]
        app.config = (Dict(read_config(config, commands), source=str(config)),)
    app(tokens, exit_on_error=False, print_error=False)


def _share_cores() -> None:
    """Let torch's threads sleep instead of spin when other programs need the cores; call it before torch is imported.

    By default a waiting thread spins; with another busy program a training step then takes up to 18 times as long
    (measured on two cores).  Short spinning costs 7 % on a quiet machine; none costs more, so it is for a busy one.
    Settings of the user stay.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & set(os.environ):
        busy = hasattr(os, "getloadavg") and os.getloadavg()[0] > 0.7 * (os.cpu_count() or 1)
        os.environ["GOMP_SPINCOUNT"] = "0" if busy else "30000"


def _share_memory() -> None:
    """Under a limit on private memory let Arrow take what it needs, and not a gigabyte at once, which counts as taken."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    limits = (resource.RLIMIT_DATA, resource.RLIMIT_AS)
    if any(resource.getrlimit(limit)[0] != resource.RLIM_INFINITY for limit in limits):
        os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")


def main(arguments: list[str] | None = None) -> int:  # noqa: PLR0911  (one per kind of error)
    """Run the command line; the exit code."""
    from graft.screen import prepare_streams

    prepare_streams()
    _share_cores()
    _share_memory()
    app.config = ()
    typed[:] = sys.argv[1:] if arguments is None else arguments
    try:
        app.meta(list(typed), exit_on_error=False, print_error=False)
        sys.stdout.flush()
    except GraftError as error:
        return _fail(error, str(error), error.exit_code)
    except CycloptsError as error:
        return _fail(error, _line_of(error), UsageError.exit_code)
    except KeyboardInterrupt as error:
        code = _fail(error, "interrupted", 130)
        return code if arguments is not None else os._exit(code)  # threads in native code may not end in peace
    except BrokenPipeError:  # the reader went away (graft predict … | head): nothing to say
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left to flush goes nowhere
        return 0
    except MemoryError as error:
        return _fail(error, "out of memory; use a smaller model or fewer rows", GraftError.exit_code)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        line = f"{error.strerror or error}" + (f" [{error.filename}]" if error.filename else "")
        hint = "; free some space, or name other folders with --out and GRAFT_CACHE" if full else ""
        return _fail(error, line + hint, OutputError.exit_code)
    except Exception as error:
        if os.environ.get("GRAFT_DEBUG"):
            raise
        line = " ".join(f"internal error, please report it: {type(error).__name__}: {error}".split())
        return _fail(error, f"{line}; GRAFT_DEBUG=1 shows where", GraftError.exit_code)
    return 0


def _line_of(error: CycloptsError) -> str:
    """What is wrong with the arguments, as graft's own errors say it."""
    command = " ".join(["graft", *(error.command_chain or ())])
    if isinstance(error, MissingArgumentError) and error.argument is not None and not error.keyword:
        name = error.argument.name.lstrip("-").upper()
        return f"{name} is missing; see {command} --help"
    if isinstance(error, UnusedCliTokensError):
        return f"{(error.unused_tokens or ['?'])[0]!r} is one argument too many; see {command} --help"
    parts = " ".join(str(error).split()).removesuffix(".").split(". ")
    line = "; ".join(part[:1].lower() + part[1:] for part in parts)
    return line + (f"; see {command} --help" if len(parts) == 1 else "")


def _fail(error: BaseException, line: str, code: int) -> int:
    notes = "".join(f"; {note}" for note in getattr(error, "__notes__", ()))
    print(f"graft: {line}{notes}", file=sys.stderr)
    return code
