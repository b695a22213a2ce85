"""Exceptions of graft.

Every error a user can cause carries one line that says what is wrong, where, and what to do.  The command line
prints that line and exits with ``exit_code``::

    GraftError                 1
    ├── UsageError             2   an argument, option or configuration value
    ├── DataError              3   the data set: a file, row, column or label
    ├── SourceError            4   a pretrained model that cannot be opened or used
    │   └── UnsafeSourceError  4   pickles, remote code: refused
    ├── MissingExtraError      5   an optional package is not installed
    ├── OutputError            6   the output folder or the disk
    └── BudgetError            7   the budget is too small for any result
"""

from __future__ import annotations


class GraftError(Exception):
    """Base of every error that graft raises on purpose.

    Args:
        what: What is wrong.
        where: File, row or column, appended as ``[where]``.
        hint: What to do about it, appended after a semicolon.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        self.what, self.where, self.hint = what, where, hint
        line = what + (f" [{where}]" if where else "") + (f"; {hint}" if hint else "")
        super().__init__(" ".join(line.split()))


class UsageError(GraftError, ValueError):
    """An argument, option or configuration value is wrong."""

    exit_code = 2


class DataError(GraftError, ValueError):
    """The data set cannot be used as it is."""

    exit_code = 3


class SourceError(GraftError):
    """A pretrained model cannot be opened or used."""

    exit_code = 4


class UnsafeSourceError(SourceError):
    """A model that could run code when opened is refused."""


class MissingExtraError(GraftError, ImportError):
    """An optional package is not installed."""

    exit_code = 5


class OutputError(GraftError, OSError):
    """The output folder or the disk refuses what graft wants to write."""

    exit_code = 6


class BudgetError(GraftError):
    """The budget is too small for any result."""

    exit_code = 7
