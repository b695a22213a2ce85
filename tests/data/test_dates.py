"""Dates in every form that is read, one order per column, and their parts against the calendar."""

import datetime as dt

import numpy as np
import pytest

from graft.core.errors import DataError
from graft.data.dates import are_dates, expanded, is_date, order, seconds

NEW_YEAR = (dt.date(2020, 2, 1) - dt.date(1970, 1, 1)).days * 86400


@pytest.mark.parametrize(
    ("text", "more"),
    [
        ("2020-02-01", 0), ("2020/2/1", 0), ("2020.02.01", 0), ("2020年2月1日", 0), ("01/02/2020", 0), ("1.2.2020", 0),
        ("1 Feb 2020", 0), ("01-Feb-2020", 0), ("February 1, 2020", 0), ("Feb. 1 2020", 0), ("2020-02-01T14:05:30", 50730),
        ("2020-02-01 14:05:30.25", 50730), ("1/2/2020 2:05 PM", 50700), ("2020-02-01 12:00 am", 0),
        ("2020-02-01T01:00:00Z", 3600), ("2020-02-01T01:00:00+01:00", 0), ("2020-02-01 00:00:00-0130", 5400),
    ],
)  # fmt: skip
def test_forms(text, more):
    assert seconds(text, day_first=True) == NEW_YEAR + more


@pytest.mark.parametrize(
    "text", ["", "soon", "2020", "31/02/2020", "2020-13-01", "1.5", "12:30", "Foo 1, 2020", "1/2-2020"]
)
def test_what_is_no_date(text):
    assert np.isnan(seconds(text, day_first=True))
    assert not is_date(text)


def test_a_column_of_dates_may_hold_few_others():
    assert are_dates(["2020-01-31"] * 99 + ["soon"])
    assert not are_dates(["2020-01-31"] * 9 + ["soon"])
    assert not are_dates([])


def test_one_date_decides_the_order_of_a_column():
    assert order(["01/02/2020", "13/01/2020"], "when") == (True, [])
    assert order(["01/02/2020", "01/13/2020"], "when") == (False, [])
    assert seconds("01/02/2020", day_first=False) == NEW_YEAR - 30 * 86400


def test_what_nothing_decides_is_said():
    for text, first, said in (("01/02/2020", False, "month"), ("01.02.2020", True, "day")):
        found, notes = order([text], "when")
        assert found is first
        assert f"{text!r} is read with the {said} first" in notes[0]


def test_two_forms_are_read_with_a_note_and_two_orders_are_an_error():
    _, notes = order(["2020-01-31", "31 Jan 2020"], "when")
    assert notes == ["column 'when' has dates in 2 forms ('2020-01-31', '31 Jan 2020'); all are read"]
    with pytest.raises(DataError, match=r"'when' has dates with the day first \('13/01/2020' in row 7\)") as error:
        order(["13/01/2020", "01/13/2020"], "when", rows=[7, 9])
    assert "'01/13/2020' in row 9" in str(error.value)


def test_parts_are_those_of_the_calendar():
    utc = dt.UTC
    days = [
        dt.datetime(1969, 12, 31, 18, tzinfo=utc),
        dt.datetime(2000, 2, 29, tzinfo=utc),
        dt.datetime(2023, 12, 31, 6, 30, tzinfo=utc),
    ]
    moments = np.array([day.timestamp() for day in days] + [np.nan])
    found = expanded(moments)
    for place, day in enumerate(days):
        got = {part: values[place] for part, values in found.items()}
        assert got["elapsed"] == moments[place] / 86400
        del got["elapsed"]
        assert got == {
            "year": day.year, "month": day.month, "day of year": day.timetuple().tm_yday, "weekday": day.isoweekday(),
            "hour": day.hour + day.minute / 60,
        }  # fmt: skip
    assert all(np.isnan(values[-1]) for values in found.values())
