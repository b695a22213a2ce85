"""Dates and times in columns of tables: which way they are written, and the numbers that a model can use of them."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from graft.core.errors import DataError

PARTS = ("year", "month", "day of year", "weekday", "hour", "elapsed")
DAY = 86_400.0  # seconds
EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001  (times without a zone are kept as they are written)
ENOUGH = 0.99  # share of a column's cells that must be dates
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
CLOCK = (
    r"(?:[T ,]+(?P<H>\d{1,2}):(?P<M>\d{2})(?::(?P<S>\d{2})(?:\.\d+)?)? ?(?P<half>[AaPp][Mm])?"
    r" ?(?P<zone>Z|UTC|[+-]\d{2}:?\d{2})?)?"
)
FORMS = {
    "year-month-day": re.compile(r"(?P<Y>\d{4})(?:[-/.]|年)(?P<m>\d{1,2})(?:[-/.]|月)(?P<d>\d{1,2})日?" + CLOCK),
    "in numbers": re.compile(r"(?P<a>\d{1,2})(?P<sep>[-/.])(?P<b>\d{1,2})(?P=sep)(?P<Y>\d{4})" + CLOCK),
    "day month-name year": re.compile(r"(?P<d>\d{1,2})[- ](?P<name>[A-Za-z]{3,9})\.?[-, ]+(?P<Y>\d{4})" + CLOCK),
    "month-name day, year": re.compile(r"(?P<name>[A-Za-z]{3,9})\.? (?P<d>\d{1,2}),? (?P<Y>\d{4})" + CLOCK),
}


def form_of(text: str) -> str:
    """Which of ``FORMS`` a text has; empty if none.

    Example:
        >>> form_of("2020-01-31 14:05"), form_of("31/1/2020"), form_of("soon")
        ('year-month-day', 'in numbers', '')
    """
    return next((name for name, form in FORMS.items() if form.fullmatch(text)), "")


@lru_cache(maxsize=65_536)
def seconds(text: str, *, day_first: bool) -> float:
    """Seconds since 1970 of a date, with its zone taken off; NaN where it is none, or no day of the calendar.

    Args:
        text: Without white space around it.
        day_first: Whether 01/02/2020 is the first of February.

    Example:
        >>> seconds("1970-01-02", day_first=True), seconds("2/1/1970 01:00 PM", day_first=True)
        (86400.0, 133200.0)
    """
    found = next((match for form in FORMS.values() if (match := form.fullmatch(text))), None)
    if found is None:
        return np.nan
    parts = found.groupdict()
    if "a" in parts:
        day, month = (parts["a"], parts["b"]) if day_first else (parts["b"], parts["a"])
    elif "name" in parts:
        name = parts["name"][:3].lower()
        day, month = parts["d"], MONTHS.index(name) + 1 if name in MONTHS else 0
    else:
        day, month = parts["d"], parts["m"]
    hour = int(parts["H"] or 0)
    if parts["half"]:
        hour = hour % 12 + 12 * (parts["half"].lower() == "pm")
    try:
        moment = dt.datetime(int(parts["Y"]), int(month), int(day), hour, int(parts["M"] or 0), int(parts["S"] or 0))  # noqa: DTZ001
    except ValueError:  # the 31st of February
        return np.nan
    zone = parts["zone"] or ""
    shift = 0 if zone in {"", "Z", "UTC"} else int(f"{zone[0]}1") * (60 * int(zone[1:3]) + int(zone[-2:]))
    return (moment - EPOCH).total_seconds() - 60 * shift


def is_date(text: str) -> bool:
    """Whether a text is a date of some form, and a day of the calendar one way or the other."""
    return any(not np.isnan(seconds(text, day_first=first)) for first in (True, False))


def are_dates(texts: Sequence[str]) -> bool:
    """Whether nearly all of some texts, white space around them taken off, are dates of some form."""
    return bool(texts) and sum(map(bool, map(form_of, texts))) >= ENOUGH * len(texts)


def order(texts: Sequence[str], column: str, *, rows: Sequence[int] | np.ndarray = ()) -> tuple[bool, list[str]]:
    """Whether the day comes first in dates of numbers alone, and notes on what was assumed.

    One date with a day above 12 decides for the whole column; where none does, dots and dashes mean day first, strokes
    month first.

    Args:
        texts: All dates of the column.
        column: Its name, for messages.
        rows: The row that each stands in, counted from 1, for messages.

    Raises:
        DataError: Some dates can only have the day first, others only the month.

    Example:
        >>> order(["13/01/2020", "01/02/2020"], "when")
        (True, [])
    """
    first, second, unsure = -1, -1, ""
    forms: dict[str, str] = {}
    for place, text in enumerate(texts):
        form = form_of(text)
        if form:
            forms.setdefault(form, text)
        if form == "in numbers":
            a, b = map(int, re.split(r"[-/.]", text)[:2])
            first, second = (
                (place if a > 12 >= b and first < 0 else first),
                (place if b > 12 >= a and second < 0 else second),
            )
            unsure = unsure or text
    if first >= 0 and second >= 0:
        where = [f"{texts[i]!r}" + (f" in row {rows[i]}" if len(rows) else "") for i in (first, second)]
        what = f"column {column!r} has dates with the day first ({where[0]}) and with the month first ({where[1]})"
        raise DataError(what, hint="write them all as 2020-01-31")
    notes = []
    if len(forms) > 1:
        shown = ", ".join(repr(text) for text in forms.values())
        notes.append(f"column {column!r} has dates in {len(forms)} forms ({shown}); all are read")
    day_first = first >= 0 if first >= 0 or second >= 0 else "/" not in unsure
    if unsure and first < 0 and second < 0:
        said = "day" if day_first else "month"
        notes.append(f"column {column!r}: {unsure!r} is read with the {said} first; 2020-01-31 leaves no doubt")
    return day_first, notes


def expanded(moments: np.ndarray, parts: Sequence[str] = PARTS) -> dict[str, np.ndarray]:
    """Numbers (n,) of moments (n,) in seconds since 1970, by part; NaN where there is no moment.

    Month and weekday start at 1 (Monday), the hour has fractions, elapsed are days since 1970.

    Example:
        >>> {name: float(value[0]) for name, value in expanded(np.array([45 * 86400.0])).items()}
        {'year': 1970.0, 'month': 2.0, 'day of year': 46.0, 'weekday': 7.0, 'hour': 0.0, 'elapsed': 45.0}
    """
    gone = np.isnan(moments)
    whole = np.where(gone, 0.0, moments)
    days = np.floor(whole / DAY).astype(np.int64).astype("datetime64[D]")
    years, months = days.astype("datetime64[Y]"), days.astype("datetime64[M]")
    found = {
        "year": years.astype(np.int64) + 1970,
        "month": months.astype(np.int64) % 12 + 1,
        "day of year": (days - years.astype("datetime64[D]")).astype(np.int64) + 1,
        "weekday": (days.astype(np.int64) + 3) % 7 + 1,
        "hour": whole % DAY / 3600,
        "elapsed": whole / DAY,
    }
    return {part: np.where(gone, np.nan, found[part].astype(np.float64)) for part in parts}
