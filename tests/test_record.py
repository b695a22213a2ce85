"""The record: facts about data, the honest score, doubtful rows as a person can find them."""

import dataclasses
import json

import numpy as np
import pytest
from conftest import make_pictures, make_table, make_texts

from graft.auto import AutoFit, Config
from graft.data.load import load
from graft.evaluate.metrics import evaluate
from graft.evaluate.search import Candidate, Trial
from graft.record import data_facts, trial_score

CONFIG = Config(budget=None, methods=("majority", "classical"), folds=2)


def record(data, **options):
    auto = AutoFit(data, dataclasses.replace(CONFIG, **options))
    model, run = auto.run()
    return auto, model, run


@pytest.mark.parametrize("made", [make_texts, make_pictures, make_table])
def test_facts_about_data_are_json(made):
    data = load(made(40))
    facts = json.loads(json.dumps(data_facts(data)))
    assert facts["rows"] == 40
    assert facts["per_class"] == dict.fromkeys(data.task.classes, 20)
    assert facts["example"][0][0]


def test_facts_about_values_are_their_quantiles():
    X, y = make_table(41, kind="regression")
    facts = data_facts(load((X, 10 + y)))
    assert json.dumps(facts["target_quantiles"])
    np.testing.assert_allclose(
        list(facts["target_quantiles"].values()), np.quantile(10 + y, [0, 0.05, 0.25, 0.5, 0.75, 0.95, 1])
    )


def test_a_trial_is_scored_on_the_rows_it_predicted():
    data = load(make_texts(40))
    outputs = np.eye(2)[data.y]
    outputs[:10] = outputs[:10, ::-1]  # ten wrong ones
    outputs[20:] = np.nan
    score = trial_score(Trial(Candidate("classical"), outputs=outputs), data, CONFIG)
    assert score[0] == 0.5
    assert score == evaluate(data.task, data.y[:20], outputs[:20], metrics=("accuracy",), level=0.9)["accuracy"]
    assert trial_score(Trial(Candidate("classical")), data, CONFIG) is None
    assert trial_score(Trial(Candidate("classical"), outputs=np.full((40, 2), np.nan)), data, CONFIG) is None


def test_a_wrong_label_is_found_with_its_line(tmp_path):
    texts, y = make_texts(80)
    y[33] = "good" if y[33] == "bad" else "bad"
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in zip(texts, y, strict=True)))
    _, _, run = record(load(path))
    first = run.metrics["mislabelled"][0]
    assert (first["row"], first["line"]) == (33, 35)  # a header, and lines count from 1
    assert first["input"] == texts[33]
    assert first["label"] == y[33]
    assert first["suggested"] != y[33]
    assert run.metrics["hardest"][0]["row"] == 33


def test_doubtful_rows_show_what_a_person_needs():
    pictures, y = make_pictures(40)
    y[3] = "left" if y[3] == "right" else "right"
    _, _, run = record(load((pictures, y)))
    assert run.metrics["hardest"][0]["thumbnail"].startswith("data:image/")
    X, y = make_table(60)
    _, _, run = record(load((X, y)))
    assert run.metrics["hardest"][0]["input"].count("=") == 4
    texts, y = make_texts(40)
    _, _, run = record(load(([f"{text} {'long ' * 100}" for text in texts], y)))
    assert len(run.metrics["hardest"][0]["input"]) == 240


def test_confusion_and_classes_agree_with_the_metrics():
    texts, y = make_texts(90, classes=("bad", "good", "help"))
    y = ["help" if i % 10 == 0 else label for i, label in enumerate(y)]
    auto, _, run = record(load((texts, y)))
    confusion = np.asarray(run.metrics["confusion"])
    assert confusion.sum() == len(auto.scored)
    assert np.trace(confusion) / confusion.sum() == pytest.approx(run.metrics["accuracy"][0])
    assert [row["class"] for row in run.metrics["per_class"]] == run.task["classes"] or list(run.task["classes"])
    assert sum(row["support"] for row in run.metrics["per_class"]) == confusion.sum()


def test_the_sentence_says_what_is_returned():
    _, model, run = record(load(make_texts(60)))
    assert run.answer["transfer"] == model.name == "classical"
    assert run.answer["sentence"] == f"TF-IDF + linear SVM gets {run.answer['score'][0]:.1%} of unseen rows right."
    assert run.answer["baseline"]["name"] == "majority class"


def test_one_part_held_out_is_recorded_as_such():
    data = load(make_texts(100))
    auto, _, run = record(data, folds=1)
    assert run.data["split"]["kind"] == "holdout"
    assert run.data["split"]["train"] == len(auto.folds[0][0]) == 80
    assert run.data["split"]["test"] == 20
    assert np.asarray(run.metrics["confusion"]).sum() == 20


def test_config_and_environment_allow_to_repeat_it():
    _, _, run = record(load(make_texts(60)), seed=4, level=0.8)
    assert run.config["seed"] == 4
    assert run.answer["level"] == run.guard["level"] == 0.8
    assert run.config["version"]
    assert run.environment["packages"]["numpy"] == np.__version__
    assert run.data["fingerprint"] == load(make_texts(60)).fingerprint()
