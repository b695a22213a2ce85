"""Time series in every form that people have them in, and their vectors."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from graft.core.errors import DataError
from graft.core.registry import MODALITIES
from graft.data import rocket
from graft.data.load import load, recipe
from graft.data.rocket import KERNELS, SeriesVectors
from graft.data.series import sparkline
from graft.data.series_rows import SeriesRows, as_picture, filled, stretched
from graft.data.stream import stream
from graft.testing import toy_data

RNG = np.random.default_rng(0)
WAVES = np.sin(np.arange(12) * RNG.uniform(0.3, 0.9, (8, 1)))
LABELS = ["up", "down"] * 4


def wide(prefix="t", labels=LABELS, values=WAVES):
    header = ",".join([*(f"{prefix}{i}" for i in range(values.shape[1])), "label"])
    return (
        header
        + "\n"
        + "".join(",".join([*map(str, row), label]) + "\n" for row, label in zip(values, labels, strict=True))
    )


def long(values=WAVES, shuffled=True):
    rows = [f"s{i},{t},{x!r},{LABELS[i]}" for i, row in enumerate(values.tolist()) for t, x in enumerate(row)]
    order = RNG.permutation(len(rows)) if shuffled else range(len(rows))
    rows = sorted((rows[i] for i in order), key=lambda row: row.split(",")[0]) if shuffled else rows
    return "id,time,value,label\n" + "\n".join(rows) + "\n"


def same(data, values=WAVES):
    assert data.task.modality == "series"
    for got, expected in zip(data.take(), values, strict=True):
        np.testing.assert_allclose(got[:, 0], expected, rtol=1e-6)


def test_wide_long_and_arrays_are_the_same_series(write):
    data = load(write("w.csv", wide()))
    same(data)
    assert data.columns == ("series",)
    assert any("read as series of 12 steps, t0 to t11" in note for note in data.notes)
    other = load(write("l.csv", long()))
    same(other)
    assert other.labels.tolist() == data.labels.tolist() == LABELS
    assert any("read as 8 series by 'id', in the order of 'time': value" in note for note in other.notes)
    same(load((WAVES, LABELS), modality="series"))
    assert load((WAVES, LABELS), modality="series").X.digest() == load(([*WAVES], LABELS), modality="series").X.digest()


def test_only_what_is_surely_a_series_is_guessed(write):
    assert load(write("x.csv", wide("x"))).task.modality == "table"
    same(load(write("x.csv", wide("x")), modality="series"))
    assert load(write("t.csv", wide()), modality="table").task.modality == "table"
    few = wide(values=WAVES[:, :5])
    assert load(write("few.csv", few)).task.modality == "table"
    beside = "age," + wide().replace("\n", "\n3,", 8).rstrip()
    assert load(write("b.csv", beside)).task.modality == "table"
    panel = "id,time,value,label\n" + "".join(f"{i},{i},{i},{'ab'[i % 2]}\n" for i in range(9))
    assert load(write("p.csv", panel)).task.modality == "table"
    assert load((WAVES, LABELS)).task.modality == "table"


def test_channels_of_wide_and_long_files(write):
    names = [f"{axis}_{i}" for axis in "xy" for i in range(12)]
    frame = pd.DataFrame(np.hstack([WAVES, -WAVES]), columns=names).assign(label=LABELS)
    data = load(frame, modality="series")
    assert data.columns == ("x", "y")
    assert data.take()[0].shape == (12, 2)
    np.testing.assert_allclose(data.take()[3][:, 1], -WAVES[3], rtol=1e-6)
    rows = [
        f"{i};{t:02d}.01.2020;{x};{2 * x};{LABELS[i]};note" for i, row in enumerate(WAVES) for t, x in enumerate(row, 1)
    ]
    other = load(write("l.csv", "series;date;ax;ay;label;remark\n" + "\n".join(rows)))
    assert other.columns == ("ax", "ay")
    np.testing.assert_allclose(other.take()[2], np.stack([WAVES[2], 2 * WAVES[2]], 1), rtol=1e-6)


def test_unequal_lengths_and_missing_values():
    data = load(([[1, 2, 3, 4.0], [1, None, 3], [2, 2, np.inf, 4, 5], [7]], ["a", "b", "a", "b"]), modality="series")
    got = data.take()
    assert [len(one) for one in got] == [4, 3, 5, 1]
    assert filled(got[1]).ravel().tolist() == [1, 2, 3]
    assert filled(got[2]).ravel().tolist() == [2, 2, 3, 4, 5]
    assert any("the series have 1 to 5 steps" in note for note in data.notes)
    assert any("15.38% of the values are missing" in note for note in data.notes)
    assert stretched(got[0], 7).ravel().tolist() == [1, 1.5, 2, 2.5, 3, 3.5, 4]


def test_cells_that_are_empty_at_the_end_end_the_series(write):
    text = wide().splitlines()
    cells = text[1].split(",")
    text[1] = ",".join([*cells[:5], *[""] * 7, cells[-1]])
    text[2] = ",".join([*[""] * 12, text[2].split(",")[-1]])
    data = load(write("w.csv", "\n".join(text)))
    assert [len(one) for one in data.take()] == [5, *[12] * 6]
    assert any("1 row(s) left out: no value in the series (line 3)" in note for note in data.notes)


def test_a_label_that_changes_within_a_series_is_named(write):
    text = long(shuffled=False).replace("s0,4,", "s0,4,", 1).splitlines()
    text[5] = text[5].replace("up", "down")
    with pytest.raises(DataError, match=r"'label' changes within the series 's0' .*line 6\]; a series has one of it"):
        load(write("l.csv", "\n".join(text)))
    with pytest.raises(DataError, match=r"no time series found .*write one row per series"):
        load(write("n.csv", "a,label\nx,1\ny,2\n"), modality="series")


def test_one_file_per_series(write):
    for i, row in enumerate(WAVES):
        header = "time,x,y\n" if i % 2 else ""
        lines = [f"{11 - t},{x},{-x}" if i % 2 else f"{x},{-x}" for t, x in enumerate(row)]
        write(f"{'named' if i % 2 else 'plain'}/{LABELS[i]}{i // 4}/{i}.csv", header + "\n".join(lines))
    data = load(write("named/note.md", "").parent)
    assert data.columns == ("x", "y")
    assert data.task.classes == ("down0", "down1")
    np.testing.assert_allclose(data.take()[0][:, 0], WAVES[1][::-1], rtol=1e-6)
    folder = write("plain/up0/9.csv", "1,2,3\n").parents[1]
    with pytest.raises(DataError, match=r"3 channel\(s\), the first file has 2 .*9.csv"):
        load(folder)
    write("plain/up0/9.csv", "1,2\n3\n")
    with pytest.raises(DataError, match=r"1 cells, the first line has 2 .*line 2"):
        load(folder)


def test_files_of_the_archives(write):
    head = "# about\n@problemName x\n@timeStamps false\n@classLabel true up down\n@data\n"
    data = load(write("a.ts", head + "1,2,3:4,5,6:up\n1,?:2,2,2:down\n1,2,3:0,0,0:up\n3,2,1:0,0,0:down\n"))
    assert data.columns == ("channel 1", "channel 2")
    assert [one.shape for one in data.take()] == [(3, 2)] * 4
    assert np.isnan(data.take()[1][1:, 0]).all()
    with pytest.raises(DataError, match=r"'x' is not a number .*line 6"):
        load(write("b.ts", head + "1,x:2,2:up\n"))
    with pytest.raises(DataError, match=r"1 channel\(s\), the first series has 2 .*line 7"):
        load(write("b.ts", head + "1,2:2,2:up\n1,2:up\n"))
    with pytest.raises(DataError, match="series with time stamps cannot be read"):
        load(write("c.ts", "@timestamps true\n@data\n(0,1):a\n"))


@pytest.mark.parametrize("form", ["w.csv", "l.csv"])
def test_new_files_are_read_like_the_old_ones(write, form):
    train = load(write("w.csv", wide()))
    how = json.loads(json.dumps(recipe(train)))
    path = write(form, wide() if form == "w.csv" else long())
    for chunk_size in (3, 4096):
        chunks = list(stream(path, how, chunk=chunk_size))
        same(chunks[0].data)
        assert chunks[0].row_numbers.tolist() == list(range(8))
        assert chunks[0].labels.tolist() == LABELS
    if form == "l.csv":
        with pytest.raises(DataError, match=r"2 cells, the header has 4 .*mend it"):
            list(stream(write("bad.csv", long() + "s1,3\n"), how))
    same(load(WAVES, like=how, labelled=False))
    no = load(write("new.csv", "t0,t1,t2\n1,2,3\n4,5,6\n"), like=how, labelled=False)
    assert [one.ravel().tolist() for one in no.take()] == [[1, 2, 3], [4, 5, 6]]


def test_kernels_by_hand():
    data = toy_data("series")
    vectors = SeriesVectors().fit(data)
    series = data.take()[5]
    z = (series[:, 0] - series.mean()) / series.std()
    names, got = vectors.names(), vectors.transform(data.select(np.array([5])))[0]
    assert len(names) == vectors.width == len(got)
    for place, dilation in enumerate(vectors.dilations):
        for kernel in (0, 7, 83):
            weights = np.full(9, -1.0)
            weights[KERNELS[kernel]] = 2
            reach = 4 * dilation
            wide_z = np.pad(z, reach)
            values = np.array([weights @ wide_z[t : t + 2 * reach + 1 : dilation] for t in range(len(z))])
            values = values[reach:-reach] if (place + kernel) % 2 else values
            number = (place * 84 + kernel) * vectors.thresholds.shape[2]
            assert got[number] == pytest.approx(np.mean(values > vectors.thresholds[place, kernel, 0]), abs=0.06)
    assert got[names.index("mean")] == pytest.approx(series.mean(), abs=1e-6)


def test_vectors_do_not_hang_on_the_company_and_survive_json(monkeypatch):
    values = [np.stack([row[: 6 + i], row[: 6 + i] ** 2], 1) for i, row in enumerate(WAVES[:6])]
    data = load((values, LABELS[:6]), modality="series")
    vectors = SeriesVectors().fit(data)
    facts, arrays = vectors.state()
    again = SeriesVectors.from_state(json.loads(json.dumps(facts)), arrays)
    whole = vectors.transform(data)
    monkeypatch.setattr(rocket, "BLOCK", 1)
    np.testing.assert_allclose(again.transform(data), whole, atol=1e-6)
    assert np.isfinite(whole).all()
    assert whole.shape[1] == len(vectors.names())


def test_constant_and_very_short_series_have_vectors():
    data = load(([[1.0], [2, 2, 2], [3, 3, 3, 3.0], [0, 1]], ["a", "b", "a", "b"]), modality="series")
    assert np.isfinite(SeriesVectors().fit(data).transform(data)).all()


def test_facts_walk_and_pictures():
    data = toy_data("series")
    facts = MODALITIES["series"].describe(data)
    assert (facts["length"]["max"], facts["channels"], facts["missing"]) == (40, 1, "0.00%")
    steps = dict(MODALITIES["series"].walk(data, 0))
    assert len(steps["shape"]) == 40
    assert sparkline(np.zeros(3)) == "▁▁▁"
    assert as_picture(data.take()[0]).shape == (48, 96, 3)
    assert as_picture(np.ones((1, 2), np.float32)).min() < 255


def test_keys_tell_series_apart():
    rows = SeriesRows.of([[1, 2, 3], [1, 2, 3], [1, 2], [[1, 2], [3, 4]]][:3])
    keys = rows.keys(np.arange(3)).tolist()
    assert keys[0] == keys[1] != keys[2]
    assert rows.digest() == SeriesRows.of([[1, 2, 3], [1, 2, 3], [1, 2, None]]).digest()


def test_the_bundled_examples_are_read_as_they_are():
    examples = Path(__file__).parents[2] / "examples"
    wide_set, long_set = load(examples / "series" / "bearings.csv"), load(examples / "series" / "sensors.csv")
    assert (len(wide_set), wide_set.task.modality, wide_set.task.classes) == (120, "series", ("sound", "worn"))
    assert (len(long_set), long_set.columns, long_set.task.classes) == (60, ("front", "back"), ("sound", "worn"))
    genes = load(examples / "sequences" / "promoters.fasta")
    assert (len(genes), genes.task.modality, genes.task.classes) == (240, "sequence", ("other", "promoter"))
