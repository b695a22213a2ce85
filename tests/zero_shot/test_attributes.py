import numpy as np
import pytest
from conftest import make_pictures

from graft import load_transfer
from graft.core.errors import DataError, UsageError
from graft.core.registry import ZERO_SHOTS
from graft.core.task import Task
from graft.data.load import load
from graft.zero_shot.attributes import AttributeZeroShot, read_attributes
from graft.zero_shot.generalised import harmonic

RNG = np.random.default_rng(0)
NAMES = [f"class {letter}" for letter in "abcdefghijkl"]
TWOS = [np.eye(6)[list(pair)].sum(axis=0) for pair in [(0, 1), (2, 3), (4, 5), (0, 2), (1, 4), (3, 5)]]
TABLE = {name: row.tolist() for name, row in zip(NAMES, np.vstack([np.eye(6), TWOS]), strict=True)}
MIX = RNG.normal(size=(6, 8))


def rows_of(names, count=20, seed=1):
    rng = np.random.default_rng(seed)
    y = np.repeat(names, count)
    return np.array([TABLE[name] for name in y]) @ MIX + 0.1 * rng.normal(size=(len(y), 8)), y.tolist()


SEEN, UNSEEN = NAMES[:9], NAMES[9:]


@pytest.mark.parametrize("method", ["eszsl", "dap"])
def test_unseen_classes_are_predicted(method, tmp_path):
    model = AttributeZeroShot(attributes=TABLE, method=method, generalised=False).fit(*rows_of(SEEN))
    X, y = rows_of(UNSEEN, seed=2)
    assert set(model.classes_) == set(UNSEEN)
    assert np.mean(model.predict(X) == np.array(y)) > 0.8
    again = load_transfer(model.save(tmp_path))
    np.testing.assert_array_equal(again.outputs(X), model.outputs(X))
    assert type(again) is AttributeZeroShot


def test_stacking_gives_unseen_classes_a_chance():
    data = rows_of(SEEN)
    X, y = rows_of(NAMES, seed=3)
    found = {}
    for stacking in (0.0, None):
        model = AttributeZeroShot(attributes=TABLE, method="eszsl", stacking=stacking).fit(*data)
        scored = load((X, y), like=model.recipe_)
        found[stacking] = harmonic(model.task_, scored.y, model.outputs(scored), model.record_["seen"])
    assert found[None]["harmonic"][0] > found[0.0]["harmonic"][0]
    assert found[None]["seen"][0] > 0.5  # what is taken off is measured against the map of all seen classes
    assert model.stacking_ > 0


def test_pictures_take_a_source(tiny_vit):
    pictures, y = make_pictures(24)
    table = {"left": [1, 0], "right": [0, 1], "both": [1, 1]}
    model = AttributeZeroShot(f"hf:{tiny_vit}", attributes=table, strengths=(1.0, 1.0)).fit(pictures, y)
    assert model.outputs(pictures).shape == (24, 3)


def test_the_harmonic_mean_is_that_of_mean_accuracies():
    task = Task("classification", "table", ("a", "b", "c"))
    y = np.array([0, 0, 0, 1, 2, 2])
    outputs = np.eye(3)[[0, 0, 1, 1, 2, 0]]
    found = harmonic(task, y, outputs, ("a", "b"))
    assert found["seen"][0] == pytest.approx((2 / 3 + 1) / 2)
    assert found["unseen"][0] == 0.5
    assert found["harmonic"][0] == pytest.approx(2 * (5 / 6) * 0.5 / (5 / 6 + 0.5))
    assert found["harmonic"][1] <= found["harmonic"][0] <= found["harmonic"][2]
    with pytest.raises(DataError, match="no row belongs to an unseen class"):
        harmonic(task, y, outputs, ("a", "b", "c"))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("name,x\na,1\nb,?\n", r"'x' of 'b' is '\?', not a number \[t.csv, line 3\]"),
        ("name,x\na,1\na,2\n", r"class 'a' stands twice \[t.csv, line 3\]"),
        ("name,x\na,1\nb,1\n", "classes 'a' and 'b' have the same attributes"),
        ("name,x\na,1\nb,1,2\n", r"3 cells, the header has 2 \[t.csv, line 3\]"),
        ("name,x\na,1\n", "two classes or more"),
        ("name\na\nb\n", "with an attribute or more"),
    ],
)
def test_tables_that_are_wrong(tmp_path, text, line):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=line):
        read_attributes(tmp_path / "t.csv")


def test_what_does_not_fit_is_said(tmp_path):
    X, y = rows_of(SEEN[:2])
    with pytest.raises(DataError, match="class 'other' has no attributes"):
        AttributeZeroShot(attributes=TABLE).fit(X, ["other"] * 20 + y[20:])
    with pytest.raises(UsageError, match="no attributes are given"):
        AttributeZeroShot().fit(X, y)
    with pytest.raises(UsageError, match="no method 'best'"):
        AttributeZeroShot(attributes=TABLE, method="best").fit(X, y)
    with pytest.raises(UsageError, match="every class of the table has rows"):
        AttributeZeroShot(attributes={name: TABLE[name] for name in SEEN[:2]}, generalised=False).fit(X, y)
    with pytest.raises(DataError, match="no table of attributes"):
        read_attributes(tmp_path / "absent.csv")


def test_both_methods_are_registered():
    assert list(ZERO_SHOTS) == ["attributes", "zero_shot"]
