"""Columns by kind, columns that say nothing, and tables that are not like those trained on: a note or one line each."""

import datetime as dt

import numpy as np
import pytest

from graft.core.errors import DataError
from graft.data.load import load
from graft.data.stream import stream

N = 24
TABLE = {
    "size": [float(i % 7) for i in range(N)],
    "town": [("L", "P", "M")[i % 3] for i in range(N)],
    "label": [("x", "y")[i % 2] for i in range(N)],
}


def told(**columns):
    data = load({**TABLE, **columns}, label="label")
    return data, " · ".join(data.notes)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (["7"] * N, "'c' is not used: the same value in every row"),
        (["same"] * N, "'c' is not used: the same value in every row"),
        ([True] * N, "'c' is not used: the same value in every row"),
        (["2020-01-01"] * N, "'c' is not used: the same value in every row"),
        ([str(i) for i in range(1, N + 1)], "'c' is not used: a number for each row, no more"),
        ([None] * N, "not used: c (empty, an identifier or free text)"),
        ([np.nan] * N, "not used: c (empty, an identifier or free text)"),
        ([f"k{i}" for i in range(N)] * 3, "'c' is not used: 24 different words"),
    ],
)
def test_columns_that_say_nothing_are_left_out_with_a_note(values, reason):
    if len(values) > N:  # words that never repeat, of more than 50 rows
        rows = 60
        grown = {name: (column * 3)[:rows] for name, column in TABLE.items()}
        data = load({**grown, "c": [f"k{i}" for i in range(rows)]}, label="label")
        notes, reason = " · ".join(data.notes), "'c' is not used: 60 different words in 60 rows"
    else:
        data, notes = told(c=values)
    assert reason in notes
    assert data.columns == ("size", "town")


def test_numbers_that_only_look_like_identifiers_stay():
    whole = [int(i) for i in np.random.default_rng(0).permutation(N) * 37]  # unlike each other, but no count
    floats = [float(i) for i in range(1, N + 1)]
    data, notes = told(prices=whole, steps=floats)
    assert data.columns == ("size", "town", "prices", "steps")
    data, notes = told(customer_no=whole)
    assert "'customer_no' is not used: a number for each row, no more" in notes


def test_where_every_column_is_constant_they_stay():
    assert load({"a": [1] * 4, "b": ["x"] * 4, "label": list("pqpq")}).columns == ("a", "b")


def test_kinds():
    day = dt.date(2020, 1, 31)
    data, notes = told(
        flag=[bool(i % 2) for i in range(N)],
        price=[f"${i % 5},{100 + i}.50" for i in range(N)],
        share=[f"{i % 9}%" for i in range(N)],
        born=[day + dt.timedelta(days=40 * i) for i in range(N)],
        seen=[f"{1 + i}.03.2021 08:30" for i in range(N)],
        note=[f"item {i} is {'red' if i % 3 else 'blue'} and {i}" for i in range(N)],
    )
    assert data.X.kinds | {"born": "", "seen": ""} == {
        "size": "number", "town": "category", "flag": "category", "price": "number", "share": "number", "born": "",
        "seen": "", "note": "text",
    }  # fmt: skip
    assert data.X.kinds["born"] == "date day-first year,month,day of year,weekday,elapsed"
    assert data.X.kinds["seen"] == "date day-first day of year,weekday,elapsed"
    assert "3 number and 2 category, 2 date, 1 text columns" in notes
    row = {name: values[0] for name, values in data.take(np.array([3])).items()}
    assert (row["price"], row["share"], row["seen (weekday)"], row["born (year)"]) == (3103.5, 3.0, 4.0, 2020.0)
    assert row["note"] == "item 3 is blue and 3"


def test_dates_in_two_forms_are_read_and_two_orders_name_their_rows():
    mixed = ["2020-01-31", "31 Jan 2021"] * (N // 2)
    data, notes = told(when=mixed)
    assert "'when' has dates in 2 forms" in notes
    assert data.take(np.arange(2))["when (elapsed)"].tolist() == [18292.0, 18658.0]
    with pytest.raises(
        DataError, match=r"day first \('13/01/2020' in row 1\) and with the month first \('01/13/2020' in row 2\)"
    ):
        told(when=["13/01/2020", "01/13/2020"] * (N // 2))


def test_rows_that_are_not_like_those_trained_on():
    data, _ = told(when=[f"{1 + i:02d}/12/2020" for i in range(N)], price=[float(i) for i in range(N)])
    new = {"size": ["1", "big"], "town": ["Rome", "L"], "when": ["25/12/2020", "12/25/2020"], "price": [1.0, 2.0]}
    found = next(iter(stream(new, data)))
    assert found.row_numbers.tolist() == [0]  # a town that was never seen is read
    assert found.bad == [(1, "column 'size': 'big' is not a number")]
    again = next(iter(stream({**new, "size": [1, 2]}, data)))
    assert again.bad == [(1, "column 'when': '12/25/2020' is not a date with the day first")]
    with pytest.raises(DataError, match="no input column 'town'"):
        load({"size": [1.0], "towns": ["L"], "when": ["1/1/2020"], "price": [1.0]}, like=data, labelled=False)
    one = load({name: values[:1] for name, values in new.items()}, like=data, labelled=False)
    assert len(one) == 1
    with pytest.raises(DataError, match="only one class"):
        load({"a": [1.0], "label": ["x"]})
