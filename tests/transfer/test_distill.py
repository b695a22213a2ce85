"""A student learns what its teacher says, is as small as asked for, and stands without it."""

import shutil

import numpy as np
import pytest
import torch
from conftest import make_pictures
from sklearn.base import clone
from torch import nn

from graft.core.errors import BudgetError, DataError, SourceError, UsageError
from graft.core.registry import TRANSFERS
from graft.core.runtime import Clock
from graft.core.task import Task
from graft.core.types import Run
from graft.data.load import load
from graft.engine.callbacks import Checkpoint
from graft.nn.losses import distillation
from graft.sources.base import open_model
from graft.sources.students import FRESH
from graft.testing import TOYS, check_transfer, toy_data, toy_sources
from graft.transfer import cost
from graft.transfer.base import BaseTransfer, Setting, load_transfer
from graft.transfer.distill import Distill
from graft.transfer.scratch import Scratch
from graft.transfer.teacher import Distillation, Stacked, ask, hold_out, soften, together

QUICK = {"epochs": 8, "batch_size": 8, "head_lr": 3e-3}


class Ring(BaseTransfer):
    """Knows without learning that rows outside a circle are "out"; counts what it is asked."""

    name = label = "ring"

    def _fit(self, data, setting):
        self.asked_ = 0

    def _outputs(self, data, store):
        first, second = list(data.take().values())[:2]
        self.asked_ += len(data)
        chance = 1 / (1 + np.exp(-4 * (first**2 + second**2 - 1.4)))
        return np.stack([1 - chance, chance], axis=1) if self.task_.is_classification else chance

    def _arrays(self):
        return {}, {}

    def _restore(self, state, arrays):
        pass


def rings(n, seed=0):
    X = np.random.default_rng(seed).normal(size=(n, 2))
    return X, np.where((X**2).sum(1) > 1.4, "out", "in").tolist()


@pytest.fixture(scope="module")
def ring():
    return Ring().fit(*rings(20))


# -- the loss ----------------------------------------------------------------------------------------------------------


def brute(z, q, temperature):
    """Σ_c q_c log(q_c / p_c) · T², row by row and class by class."""
    losses = []
    for row, soft in zip(z, q, strict=True):
        p = np.exp(row / temperature) / np.exp(row / temperature).sum()
        losses.append(temperature**2 * sum(b * np.log(b / a) for a, b in zip(p, soft, strict=True) if b > 0))
    return np.array(losses)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_loss_is_its_formula(temperature):
    rng = np.random.default_rng(0)
    z, teacher = rng.normal(size=(2, 5, 3))
    q = np.exp(teacher / temperature)
    q /= q.sum(axis=1, keepdims=True)
    q[0] = [0.0, 1.0, 0.0]  # a class that the teacher excludes is no NaN
    found = distillation(torch.from_numpy(z), torch.from_numpy(q), temperature)
    np.testing.assert_allclose(found.numpy(), brute(z, q, temperature), rtol=1e-12)
    scores = torch.from_numpy(teacher)
    own = torch.softmax(scores / temperature, dim=1)
    assert distillation(scores, own, temperature).abs().max() < 1e-12  # nothing to learn from oneself
    assert torch.autograd.gradcheck(
        lambda x: distillation(x, own, temperature), torch.from_numpy(z).requires_grad_(requires_grad=True)
    )


def test_probabilities_are_softened_as_logits_are():
    logits = np.random.default_rng(1).normal(size=(6, 4)) * 3
    task = Task("classification", "text", tuple("abcd"))
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = np.exp(logits / 3) / np.exp(logits / 3).sum(1, keepdims=True)
    np.testing.assert_allclose(soften(chances, task, 3.0), expected, rtol=1e-9)
    assert np.isfinite(soften(np.array([[1.0, 0.0]]), task, 0.5)).all()


@pytest.mark.parametrize("trust", [0.0, 0.3, 1.0])
def test_labels_count_where_there_are_labels(trust):
    task = Task("classification", "table", ("a", "b", "c"))
    head, x = nn.Linear(2, 3), torch.randn(3, 2, generator=torch.manual_seed(0))
    body = nn.Module()
    body.forward = lambda batch: batch["values"]
    soft = torch.tensor([[0.2, 0.3, 0.5]] * 3)
    batch = {"values": x, "y": torch.tensor([2, 0, 1]), "weight": torch.tensor([1.0, 0.0, 2.0]), "teacher": soft}
    loss = Distillation(body, head, task, [], temperature=2.0, trust=trust).loss(batch, "model")
    z = head(x)
    hard = torch.nn.functional.cross_entropy(z, batch["y"], reduction="none")
    expected = (1 - trust) * batch["weight"] * hard + trust * distillation(z, soft, 2.0)
    assert torch.allclose(loss.per_example, expected)
    assert set(loss.logs) == {"agreement"}
    value = Task("regression", "table")
    batch |= {"y": torch.tensor([1.0, 0.0, 3.0]), "teacher": torch.tensor([2.0, -1.0, 0.5])}
    one = nn.Linear(2, 1)
    loss = Distillation(body, one, value, [], temperature=2.0, trust=trust).loss(batch, "model")
    s = one(x)[:, 0]
    expected = (1 - trust) * batch["weight"] * (s - batch["y"]) ** 2 + trust * (s - batch["teacher"]) ** 2
    assert torch.allclose(loss.per_example, expected)


# -- contracts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TOYS)
def test_contract_without_a_teacher(kind):
    data = toy_data(kind, rows=32)
    student = f"{'mean' if data.task.modality == 'text' else FRESH[data.task.modality][0]}:tiny"
    settings = QUICK if data.task.modality == "text" else QUICK | {"epochs": 5}
    check_transfer("distill", data, source=toy_sources(data)[0], student=student, **settings)


def test_contract_with_a_teacher():
    data = toy_data("imbalanced")
    check_transfer(
        "distill", data, source="not used", teacher=TRANSFERS["classical"]().fit(data), student="mean:tiny", **QUICK
    )


def test_graft_fit_does_not_try_it_unasked():
    assert all("graft distill" in Distill.fits(source.spec) for source in toy_sources(toy_data("text")))


# -- learning ----------------------------------------------------------------------------------------------------------


def test_it_learns_the_teachers_function_from_rows_without_labels(ring):
    X, y = rings(12, seed=1)
    others, truth = rings(600, seed=2)[0], rings(400, seed=3)
    few = np.mean(Scratch().fit(X, y).predict(truth[0]) == np.array(truth[1]))
    student = Distill(teacher=ring, trust=1.0, head_lr=3e-3, student="mlp:tiny").fit(X, y, unlabelled=others)
    right = np.mean(student.predict(truth[0]) == np.array(truth[1]))
    assert right > 0.93
    assert right > few + 0.1
    assert student.record_["agreement"] > 0.9
    assert student.record_["rows"] == {"labelled": 11, "unlabelled": 540, "held_out": 61}


def test_values_are_learned_in_the_users_unit():
    X = rings(300)[0]
    y = 100 + 50 / (1 + np.exp(-4 * ((X**2).sum(1) - 1.4)))

    class Exact(Ring):
        def _outputs(self, data, store):
            return (100 + 50 * super()._outputs(data, store) - self.task_.center) / self.task_.scale

    teacher = Exact().fit(X, y)  # whose mean and deviation are not those of the student's few rows
    rows = load((X[:20], y[:20]), task="regression")
    student = Distill(teacher=teacher, trust=1.0, head_lr=3e-3).fit(rows, unlabelled=X[20:])
    new = rings(200, seed=5)[0]
    told = 100 + 50 / (1 + np.exp(-4 * ((new**2).sum(1) - 1.4)))
    assert np.mean((student.predict(new) - told) ** 2) < 0.1 * told.var()
    assert student.record_["agreement"] > 0.85  # R²
    np.testing.assert_allclose(ask(teacher, [rows], rows.task, Setting()), rows.y, atol=1e-5)


def test_without_trust_the_teacher_says_nothing(ring):
    X, y = rings(40)
    swapped = load((X, y))
    outputs = [
        Distill(teacher=teacher, trust=0.0, epochs=3, student="mlp:tiny").fit(swapped).outputs(swapped)
        for teacher in (ring, TRANSFERS["majority"]().fit(X, y))
    ]
    assert np.array_equal(*outputs)


def test_the_teacher_is_asked_once_per_row(ring):
    X, y = rings(50)
    counts = []
    for epochs in (1, 7):
        ring.asked_ = 0
        student = Distill(teacher=ring, epochs=epochs, student="mlp:tiny")
        student.fit(X, y, unlabelled=rings(150, seed=1)[0])
        timed = (1 + cost.TIMES) * student.record_["rows"]["labelled"]  # up to 64 rows show how long it takes
        counts.append(ring.asked_ - timed)
    assert counts == [200, 200]


def test_the_teachers_order_of_classes_does_not_matter(ring):
    X, y = rings(30)
    data = load((X, y))
    backwards = load((X, y), task=Task("classification", "table", ("out", "in")))
    one, two = (ask(ring, [rows], rows.task, Setting()) for rows in (data, backwards))
    assert np.array_equal(one, two[:, ::-1])


def test_rows_of_some_classes_make_a_student_of_all():
    data = toy_data("imbalanced")
    teacher = TRANSFERS["classical"]().fit(data)
    some = [text for text, label in zip(data.take(), data.labels, strict=True) if label != "order"]
    labels = [label for label in data.labels if label != "order"]
    student = Distill(teacher=teacher, epochs=20, batch_size=8, trust=1.0, held_out=0, head_lr=3e-3)
    student.fit(load((some, labels)), unlabelled=data.take())
    assert student.task_.classes == data.task.classes
    assert "order" in student.predict(data.take())
    assert student.record_["agreement"] is None


def test_a_transformer_learns_from_its_own_lower_blocks(tiny_bert, texts):
    teacher = TRANSFERS["probe"](f"hf:{tiny_bert}").fit(*texts)
    student = Distill(teacher=teacher, student="blocks:1", epochs=20, batch_size=8, lr=3e-3, head_lr=1e-2)
    student.fit(*texts)
    assert len(student.backbone_.blocks()) == 1
    assert np.mean(student.predict(texts[0]) == np.array(texts[1])) > 0.9
    assert len(teacher.backbone_.blocks()) == 2
    assert student.record_["size_ratio"] > 1
    assert student.record_["teacher"]["name"] == f"probe of hf:{tiny_bert}"
    assert student.record_["student"]["name"] == "blocks:1"


@pytest.mark.parametrize("student", ["resnet:tiny", "patches:tiny", "vgg:tiny"])
def test_pictures(student):
    pictures, y = make_pictures(40)
    teacher = TRANSFERS["classical"]().fit(pictures, y)
    fitted = Distill(teacher=teacher, student=student, epochs=12, batch_size=8).fit(pictures, y)
    assert np.mean(fitted.predict(pictures) == np.array(y)) > 0.8


# -- limits ------------------------------------------------------------------------------------------------------------


def test_the_largest_student_within_the_limits_is_taken(ring):
    X, y = rings(30)
    sizes = {}
    for size in ("tiny", "small", "base"):
        fitted = Distill(teacher=ring, student=f"mlp:{size}", epochs=1).fit(X, y)
        sizes[size] = fitted.record_["student"]["bytes"] / 1e6
    limit = (sizes["small"] + sizes["base"]) / 2
    chosen = Distill(teacher=ring, student="mlp", max_size=limit, epochs=1).fit(X, y)
    assert chosen.record_["student"]["name"] == "mlp:small"
    assert [fact["name"] for fact in chosen.record_["time"]["students"]] == ["mlp:tiny", "mlp:small", "mlp:base"]
    assert chosen.record_["student"]["bytes"] <= 1e6 * limit
    both = Distill(teacher=ring, student=["linear:tiny", "mlp:small"], epochs=1).fit(X, y)
    assert both.record_["student"]["name"] == "mlp:small"
    again = Distill(teacher=ring, student="mlp:small", epochs=1).fit(X, y)  # what else is listed changes nothing
    assert np.array_equal(both.outputs(load(X, labelled=False)), again.outputs(load(X, labelled=False)))


@pytest.mark.parametrize(("limit", "line"), [({"max_size": 1e-6}, "1e-06 MB"), ({"max_latency": 1e-9}, "1e-09 ms")])
def test_no_student_within_the_limits_is_one_line_before_the_teacher_is_asked(ring, limit, line):
    ring.asked_ = 0
    with pytest.raises(UsageError, match=rf"no student stays within {line}.*mlp:tiny takes") as error:
        Distill(teacher=ring, **limit).fit(*rings(30))
    assert "\n" not in str(error.value)
    assert ring.asked_ == 0


# -- disk, seeds, clock ------------------------------------------------------------------------------------------------


def test_the_student_stands_without_its_teacher(tmp_path, texts):
    folder = TRANSFERS["classical"]().fit(*texts).save(tmp_path / "teacher")
    for teacher in (folder, str(folder), Run(answer={"folder": str(folder)})):
        student = Distill(teacher=teacher, student="mean:tiny", epochs=2).fit(*texts)
        assert student.settings()["teacher"] == str(folder)
    student.save(tmp_path / "student")
    shutil.rmtree(folder)
    opened = load_transfer(tmp_path / "student")
    assert np.array_equal(opened.predict_proba(texts[0]), student.predict_proba(texts[0]))
    assert opened.record_ == {key: value for key, value in student.record_.items() if key != "time"}
    with pytest.raises(SourceError, match="is not a graft run"):
        opened.fit(*texts)


def test_a_clone_keeps_its_teacher(ring):
    copy = clone(Distill(teacher=ring, epochs=1, student="mlp:tiny"))
    assert copy.teacher is ring
    assert copy.fit(*rings(30)).settings()["teacher"] is None


def test_seeds_decide(ring):
    X, y = rings(40)
    zero, same, one = (
        Distill(teacher=ring, epochs=2, student="mlp:tiny", seed=s).fit(X, y).predict_proba(X) for s in (0, 0, 1)
    )
    assert np.array_equal(zero, same)
    assert not np.array_equal(zero, one)


def test_a_killed_fit_resumes_to_the_same_bytes(ring, tmp_path, monkeypatch):
    X, y = rings(40)
    make = lambda: Distill(teacher=ring, epochs=6, batch_size=8, student="mlp:tiny")  # noqa: E731
    straight, path, original = make().fit(X, y), tmp_path / "state.safetensors", Checkpoint.on_step

    def die(self, state):
        if state.step == 11:
            self.save(state)
            raise KeyboardInterrupt
        return original(self, state)

    monkeypatch.setattr(Checkpoint, "on_step", die)
    with pytest.raises(KeyboardInterrupt):
        make().fit(X, y, setting=Setting(checkpoint=path))
    assert path.exists()
    monkeypatch.setattr(Checkpoint, "on_step", original)
    resumed = make().fit(X, y, setting=Setting(checkpoint=path))
    assert np.array_equal(straight.predict_proba(X), resumed.predict_proba(X))
    assert not path.exists()


def test_the_clock_is_kept(ring):
    clock = Clock(0.4)
    student = Distill(teacher=ring, epochs=1_000_000).fit(*rings(200), setting=Setting(clock=clock))
    assert clock.elapsed() < 4.4
    assert student.stopped_
    with pytest.raises(BudgetError, match="the teacher had answered 0 of 30 rows"):
        Distill(teacher=ring).fit(*rings(30), setting=Setting(clock=Clock(0.0)))


# -- rows --------------------------------------------------------------------------------------------------------------


def test_no_held_out_row_is_learned_from():
    texts = [f"row {i}" for i in range(60)]
    data = load((texts, ["a", "b"] * 30))
    more = load(texts[::-1] + [f"other {i}" for i in range(40)], labelled=False)
    train, held = hold_out([data, more], 0.3, 0)
    learned = {text for part in train for text in part.take()}
    apart = {text for part in held for text in part.take()}
    assert apart
    assert not learned & apart
    assert not hold_out([data], 0.0, 0)[1][0].rows.size


def test_rows_of_several_data_sets_stand_one_after_the_other():
    texts = load((["a", "b", "c"], ["x", "y", "x"]))
    more = load(["d", "e"], labelled=False)
    both = together([texts.select(np.array([2, 0])), more])
    assert both.take() == ["c", "a", "d", "e"]
    assert both.take(np.array([3, 0, 3])) == ["e", "c", "e"]
    assert both.y.tolist() == [0, 0, -1, -1]
    assert both.select(np.array([1])).take() == ["a"]
    columns = [load(np.arange(6.0).reshape(2, 3), labelled=False), load(np.arange(3.0)[None] + 9, labelled=False)]
    taken = Stacked(columns).take(np.array([2, 1]))
    assert [values.tolist() for values in taken.values()] == [[9.0, 3.0], [10.0, 4.0], [11.0, 5.0]]


def test_many_answers_go_to_a_file(ring, monkeypatch):
    monkeypatch.setattr("graft.transfer.teacher.IN_MEMORY", 0)
    data = load(rings(30))
    answers = ask(ring, [data], data.task, Setting())
    assert isinstance(answers, np.memmap)
    np.testing.assert_allclose(answers, ring.outputs(data), atol=1e-6)
    assert Distill(teacher=ring, epochs=1, student="mlp:tiny").fit(data).record_["agreement"] is not None


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "error", "line"),
    [
        ({"teacher": None}, UsageError, "distillation needs a teacher"),
        ({"teacher": "no/such/run"}, SourceError, "no/such/run is not a graft run"),
        ({"teacher": 3}, UsageError, "the teacher int is not a fitted transfer"),
        ({"teacher": Ring()}, UsageError, "the teacher Ring is not a fitted transfer"),
        ({"student": "mpl"}, UsageError, "no student 'mpl'; use mlp, linear, blocks:2"),
        ({"student": "lstm"}, UsageError, "no student 'lstm' for table"),
        ({"student": "mlp:huge"}, UsageError, "no size 'huge'"),
        ({"student": "blocks:none"}, UsageError, "is not a number of blocks"),
        ({"student": "blocks:1"}, UsageError, "the teacher, ring, has no network"),
        ({"student": "sbert:all-MiniLM-L6-v2"}, SourceError, "reads text, the data are table"),
        ({"temperature": 0.0}, UsageError, "temperature cannot be 0.0; use more than 0"),
        ({"trust": 1.5}, UsageError, "trust cannot be 1.5; use 0 to 1"),
        ({"held_out": 0.9}, UsageError, "held_out cannot be 0.9"),
        ({"max_size": 0.0}, UsageError, "max_size cannot be 0.0"),
    ],
)
def test_wrong_settings_are_one_line(ring, settings, error, line):
    with pytest.raises(error, match=line) as found:
        Distill(**{"teacher": ring, **settings}).fit(*rings(30))
    assert "\n" not in str(found.value)


def test_rows_that_the_teacher_cannot_answer_are_one_line(ring, texts):
    X, y = rings(30)
    with pytest.raises(DataError, match="the teacher reads table, data holds text"):
        Distill(teacher=ring).fit(load(texts))
    with pytest.raises(DataError, match=r"the teacher does not know the class 'edge'.*it knows in, out"):
        Distill(teacher=ring).fit(load((X, ["edge", *y[1:]])))
    with pytest.raises(DataError, match="the teacher does classification, the labels of data ask for regression"):
        Distill(teacher=ring).fit(load((X, X[:, 0])))
    with pytest.raises(DataError, match="holds text, data holds table"):
        Distill(teacher=ring).fit(load((X, y)), unlabelled=load(["a"], labelled=False))
    with pytest.raises(DataError, match="no labels to learn from"):
        Distill(teacher=ring).fit(load(X, labelled=False))
    with pytest.raises(DataError, match="has no column"):
        Distill(teacher=ring).fit(load((X, y)), unlabelled=load(X[:, :1], labelled=False))


def test_an_opened_source_stays_as_it_was(tiny_bert, texts):
    backbone = open_model(f"hf:{tiny_bert}")
    before = backbone.fingerprint()
    student = Distill(teacher=TRANSFERS["classical"]().fit(*texts), student=backbone, epochs=1, lr=1e-2).fit(*texts)
    assert backbone.fingerprint() == before
    assert student.backbone_.fingerprint() != before
    assert student.settings()["student"] == f"hf:{tiny_bert}"
