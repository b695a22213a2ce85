"""Every cell of the page of tasks: each way learns, answers, and comes back from disk, with each kind of rows and labels that it reads."""

import dataclasses
import functools

import numpy as np
import pytest

from graft.core.ragged import flat
from graft.core.registry import TRANSFERS
from graft.core.task import Task
from graft.data.forms import tasks
from graft.data.load import load
from graft.testing import toy_boxes, toy_data, toy_sources
from graft.transfer.base import load_transfer

ROWS = 24
FEW = {"epochs": 1.0, "steps": 1, "batch_size": 8, "members": 2, "rounds": 3}
AT_ONCE = {
    "majority",
    "classical",
    "probe",
    "boosting",
    "ordered",
    "mean_boxes",
    "hand_boxes",
}  # seconds for all of them
ON_REQUEST = {"ensemble", "distill"}  # of other ways, or of a teacher: tests of their own
CELLS = [
    pytest.param(modality, kind, name, marks=[] if name in AT_ONCE else [pytest.mark.slow])
    for modality, kind in tasks()
    for name, cls in TRANSFERS.items()
    if cls.reads(Task(kind, modality, ("a", "b"))) and name not in ON_REQUEST
]


@functools.cache
def rows_of(modality, kind):
    """Some rows of a modality with labels of a kind."""
    if kind == "detection":
        return toy_boxes()
    if kind == "tagging":
        return toy_data("tagging", rows=ROWS)
    data = toy_data(modality, rows=ROWS)
    if kind == "classification":
        return data
    y = np.arange(ROWS)
    labels = {
        "ordinal": [("low", "middle", "high")[i % 3] for i in y],
        "multilabel": [[["red"], ["big"], ["red", "big"], []][i % 4] for i in y],
        "regression": (y * 0.5).tolist(),
    }[kind]
    order = ("low", "middle", "high") if kind == "ordinal" else ()
    other = load((["a"] * ROWS, labels), task=None if order else kind, order=order)
    return dataclasses.replace(data, y=other.y, task=dataclasses.replace(other.task, modality=modality))


@pytest.mark.parametrize(("modality", "kind", "name"), CELLS)
def test_each_way_serves_each_task_that_it_reads(modality, kind, name, tmp_path):
    data, cls = rows_of(modality, kind), TRANSFERS[name]
    known = cls().get_params(deep=False)
    settings = {key: value for key, value in FEW.items() if key in known}
    if cls.needs_source:
        fitting = [source for source in toy_sources(data) if not cls.fits(source.spec)]
        if not fitting:
            pytest.skip("no toy source: tests of its own")
        settings["source"] = fitting[0]
    model = cls(**settings).fit(data)
    outputs = model.outputs(data)
    assert len(model.predict(data)) == len(outputs) == len(data)
    assert np.isfinite(flat(outputs)).all()
    again = load_transfer(model.save(tmp_path / "model"))
    np.testing.assert_allclose(flat(again.outputs(data)), flat(outputs), atol=1e-5)
