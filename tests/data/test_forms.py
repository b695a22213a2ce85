"""Every cell of the page of tasks: each form of file, with each kind of rows and labels that it holds, is read."""

import csv
import json
import wave

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from graft.core.registry import SOURCES, TRANSFERS
from graft.core.task import Task
from graft.data.forms import FORMS, tasks
from graft.data.load import load

N = 16
IN_COLUMNS = [
    (suffix, modality, kind)
    for form in FORMS[:3]
    for suffix in form.suffixes
    for modality in form.modalities
    for kind in form.kinds
]


def picture(path, i):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((6, 6, 3), 10 * i, np.uint8)).save(path)
    return path


def sound(path, i):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes((3000 * np.sin(0.1 * (i + 1) * np.arange(800))).astype("<i2").tobytes())
    return path


def inputs(modality, folder, i):
    """The input columns of row i."""
    if modality == "text":
        return {"text": f"some short text number {i} here"}
    if modality == "image":
        return {"image": picture(folder / f"{i}.png", i).name}
    if modality == "audio":
        return {"sound": sound(folder / f"{i}.wav", i).name}
    if modality == "sequence":
        return {"dna": "".join("ACGT"[(i * j + i + j) % 4] for j in range(24))}
    if modality == "series":
        return {f"t{j}": round(float(np.sin(i + j)), 3) for j in range(12)}
    return {"a": round(float(np.cos(i)), 3), "b": "xyz"[i % 3]}


def target(kind, i):
    return {
        "classification": "pq"[i % 2],
        "ordinal": 1 + i % 3,
        "multilabel": ("red|big", "red", "big", "big|old")[i % 4],
        "regression": i + 0.5,
    }[kind]


def write(path, rows):
    if path.suffix in {".csv", ".tsv"}:
        with path.open("w", newline="") as file:
            out = csv.DictWriter(file, rows[0], delimiter="," if path.suffix == ".csv" else "\t")
            out.writeheader()
            out.writerows(rows)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize(("suffix", "modality", "kind"), IN_COLUMNS)
def test_columns(suffix, modality, kind, tmp_path):
    rows = [{**inputs(modality, tmp_path, i), "label": target(kind, i)} for i in range(N)]
    data = load(write(tmp_path / f"rows{suffix}", rows), modality=modality, task=kind)
    assert (data.task.modality, data.task.kind, len(data)) == (modality, kind, N)
    wanted = [str(target(kind, i)) for i in range(N)]
    found = ["|".join(sorted(one)) if kind == "multilabel" else str(one) for one in data.labels]
    assert found == (["|".join(sorted(one.split("|"))) for one in wanted] if kind == "multilabel" else wanted)


@pytest.mark.parametrize("modality", ["image", "audio", "series"])
def test_a_folder_per_class(modality, tmp_path):
    for i in range(N):
        place = tmp_path / "pq"[i % 2] / f"{i}"
        if modality == "series":
            place.parent.mkdir(exist_ok=True)
            place.with_suffix(".csv").write_text("".join(f"{np.sin(i + j):.3f},{j}\n" for j in range(8)))
        else:
            {"image": picture, "audio": sound}[modality](
                place.with_suffix(".png" if modality == "image" else ".wav"), i
            )
    data = load(tmp_path)
    assert (data.task.modality, data.task.kind, len(data), data.task.classes) == (
        modality,
        "classification",
        N,
        ("p", "q"),
    )


@pytest.mark.parametrize(("name", "modality", "kind"), [
    ("d.fasta", "sequence", "classification"), ("d.fa", "sequence", "classification"),
    ("d.svmlight", "counts", "classification"), ("d.libsvm", "counts", "regression"), ("d.ts", "series", "classification"),
    ("d.conll", "text", "tagging"), ("d.bio", "text", "tagging"),
    ("words.jsonl", "text", "tagging"), ("spans.json", "text", "tagging"),
])  # fmt: skip
def test_files_of_a_form_of_their_own(name, modality, kind, tmp_path):
    series = "@problemName x\n@timeStamps false\n@classLabel true p q\n@data\n"
    lines = {
        "d.fasta": "".join(f">r{i} class={'pq'[i % 2]}\n{inputs('sequence', tmp_path, i)['dna']}\n" for i in range(N)),
        "d.svmlight": "".join(f"{i % 2} 1:{i + 1} 3:2\n" for i in range(N)),
        "d.libsvm": "".join(f"{i + 0.5} 1:{i + 1} 3:2\n" for i in range(N)),
        "d.ts": series + "".join(f"{i},2,3:{'pq'[i % 2]}\n" for i in range(N)),
        "d.conll": "".join(f"in O\nLyon B-LOC\n{'now' * (i + 1)} O\n\n" for i in range(N)),
        "words.jsonl": "".join(
            json.dumps({"tokens": ["in", "Lyon", str(i)], "tags": ["O", "B-LOC", "O"]}) + "\n" for i in range(N)
        ),
        "spans.json": json.dumps(
            [{"text": f"in Lyon {i}", "spans": [{"start": 3, "end": 7, "label": "LOC"}]} for i in range(N)]
        ),
    }
    lines |= {"d.fa": lines["d.fasta"], "d.bio": lines["d.conll"]}
    path = tmp_path / name
    path.write_text(lines[name])
    data = load(path, task=kind)
    assert (data.task.modality, data.task.kind, len(data)) == (modality, kind, N)


def test_every_task_has_a_form_and_a_way():
    for modality, kind in tasks():
        task = Task(kind, modality, ("a", "b"))
        ways = [name for name, cls in TRANSFERS.items() if cls.reads(task)]
        assert len(ways) >= 2, (modality, kind)


def test_every_scheme_says_what_its_sources_read():
    modalities = {modality for modality, _ in tasks()}
    for name, source in SOURCES.items():
        assert source.modalities, name
        assert set(source.modalities) <= modalities
