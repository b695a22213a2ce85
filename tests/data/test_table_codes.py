"""Codes, directions of texts and what is unknown, with exact round trips."""

import json

import numpy as np

from graft.core.registry import MODALITIES
from graft.data import table_codes
from graft.data.load import load
from graft.data.table_codes import TableCodes, unseen
from graft.data.text_columns import TextColumn

TEXTS = [
    f"{'red wine of' if i % 2 else 'fast car from'} {'France' if i % 3 else 'Spain'} number {i}" for i in range(40)
]
ROWS = {
    "size": [float(i) if i % 5 else None for i in range(40)],
    "town": [("L", "P", None)[i % 3] for i in range(40)],
    "what": TEXTS,
    "label": [("x", "y")[i % 2] for i in range(40)],
}


def test_columns_codes_first_and_nan_where_nothing_is_known():
    data = load(ROWS, label="label", modality="table")
    codes = TableCodes().fit(data)
    X = codes.transform(data)
    assert codes.names()[:3] == ["town", "size", "what 1"]
    np.testing.assert_array_equal(X[:3, 0], [0, 1, np.nan])
    np.testing.assert_array_equal(X[:2, 1], [np.nan, 1])
    new = load({"size": [1.0], "town": ["Q"], "what": ["unheard of"]}, like=data, labelled=False)
    assert np.isnan(codes.transform(new)[0, 0])
    assert unseen(codes.levels, new.take()) == {"town": ["Q"]}
    facts, arrays = codes.state()
    again = TableCodes.from_state(json.loads(json.dumps(facts)), arrays)
    np.testing.assert_array_equal(again.transform(data), X)


def test_rare_levels_share_what_is_unknown(monkeypatch):
    monkeypatch.setattr(table_codes, "CODES", 1)
    codes = TableCodes().fit(load({"c": list("aabcc" * 4), "n": [1.0, 2.0] * 10, "label": list("xy" * 10)}))
    assert codes.levels == {"c": ["a"]}


def test_directions_of_texts_separate_what_they_are_about():
    column = TextColumn().fit(TEXTS)
    X = column.transform([*TEXTS[:2], "", "unheard"])
    strongest = column.transform(TEXTS)
    apart = np.abs(strongest[::2].mean(axis=0) - strongest[1::2].mean(axis=0)).max()
    assert apart > 0.5
    assert not X[2:].any()
    assert np.array_equal(TextColumn().fit(TEXTS).basis, column.basis)
    assert TextColumn().fit(["", " "]).transform(["a"]).shape == (1, 0)


def test_vectors_of_a_table_with_texts_come_back_exactly():
    data = load(ROWS, label="label", modality="table")
    vectors = MODALITIES["table"].vectors().fit(data)
    facts, arrays = vectors.state()
    again = type(vectors).from_state(json.loads(json.dumps(facts)), arrays)
    np.testing.assert_array_equal(again.transform(data), vectors.transform(data))
    assert len(vectors.names()) == vectors.width == vectors.transform(data).shape[1]
    assert vectors.kinds == {"size": "number", "town": "category", "what": "text"}
