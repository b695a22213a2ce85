"""``graft distill`` as a person types it."""

import json

from cli.conftest import as_csv, files, sentences

from graft.engine.callbacks import Checkpoint

QUICK = ("--epochs", "3", "--student", "mean:tiny", "--budget", "1h")


def test_a_student_predicts_and_is_evaluated_without_its_teacher(graft, run, put, here):
    more = put("more.csv", as_csv([(text,) for text, _ in sentences(80, seed=1)], "text"))
    done = graft("distill", run, "good.csv", "--unlabelled", more, "--out", "small", "--epochs", "30", *QUICK[2:])
    done.works("teacher   ", "student   mean:tiny", "agreement ", "90% interval, 12 held-out rows", "accuracy  ")
    assert "graft predict small NEW_DATA" in done.out
    record = json.loads((here / "small" / "distill.json").read_text())
    assert set(record) >= {"teacher", "student", "agreement", "scores", "size_ratio", "time", "rows", "level"}
    assert record["rows"] == {"labelled": 36, "unlabelled": 72, "held_out": 12}
    assert json.loads((here / "small" / "model.json").read_text())["settings"]["teacher"] == "run"
    (here / "run").rename(here / "gone")
    new = put("new.csv", as_csv(sentences(20, seed=2)))
    graft("predict", "small", new, "--out", "p.csv").works()
    assert len((here / "p.csv").read_text().splitlines()) == 21
    graft("evaluate", "small", new).works("accuracy")
    assert not [name for name in files(here) if ".partial" in name]


def test_names_and_overwriting(graft, run, here):
    graft("distill", run, "good.csv", *QUICK, "--quiet").works("agreement")
    assert (here / "runs" / "run-distilled" / "model.json").is_file()
    graft("distill", run, "good.csv", "--out", "runs/run-distilled", *QUICK).fails(6, "exists", "--overwrite")
    graft("distill", run, "good.csv", "--out", "runs/run-distilled", "--overwrite", *QUICK).works()


def test_values(graft, put, here):
    rows = [(f"{i % 7}", f"{i % 5}", f"{2.5 * (i % 7) - (i % 5) + 0.25}") for i in range(60)]
    data = put("values.csv", as_csv(rows, "a,b,price"))
    graft("fit", data, "--label", "price", "--task", "regression", "--methods", "classical", "--out", "run").works()
    graft("distill", "run", data, "--epochs", "2", "--held-out", "0.2").works("of the teacher's values (R²)")
    graft("evaluate", "runs/run-distilled", data).works("R²")


def test_limits(graft, run, here):
    graft("distill", run, "good.csv", "--student", "mean", "--max-size", "0.1", "--epochs", "1").works("MB")
    graft("distill", run, "good.csv", "--max-latency", "1e-9", "--out", "x").fails(2, "no student stays within", "ms")
    graft("distill", run, "good.csv", "--max-size", "-1").fails(2, "max-size")
    assert not (here / "x").exists()


def test_errors_are_one_line_and_leave_nothing(graft, run, put, here, pictures):
    before = files(here)
    graft("distill", "nothing", "good.csv").fails(4, "nothing is not a graft run")
    graft("distill", run, "absent.csv").fails(3, "absent.csv")
    graft("distill", run, "good.csv", "--unlabelled", "absent.csv").fails(3, "absent.csv")
    graft("distill", run, pictures).fails(3, "image")
    graft("distill", run, "good.csv", "--student", "textcn").fails(2, "no student 'textcn'", "textcnn")
    graft("distill", run, "good.csv", "--student", "resnet").fails(2, "no student 'resnet' for text")
    graft("distill", run, "good.csv", "--student", "blocks:2").fails(2, "has no network")
    graft("distill", run, "good.csv", "--trust", "2").fails(2, "trust")
    assert files(here) == before
    other = put("other.csv", as_csv(sentences(20, classes=("bad", "ugly"))))
    graft("distill", run, other).fails(3, "'ugly' is not a class of the model", "bad, good")
    put("other.csv", "words,label\nhello,bad\nbye,good\n" * 3)
    graft("distill", run, "other.csv").fails(3, "text")


def test_an_interrupted_distillation_goes_on(graft, run, here, monkeypatch):
    original = Checkpoint.on_step

    def die(self, state):
        if state.step == 3:
            self.save(state)
            raise KeyboardInterrupt
        return original(self, state)

    monkeypatch.setattr(Checkpoint, "on_step", die)
    graft("distill", run, "good.csv", "--out", "small", *QUICK).fails(130, "--out small --resume")
    assert not (here / "small").exists()
    monkeypatch.setattr(Checkpoint, "on_step", original)
    graft("distill", run, "good.csv", "--out", "small", "--trust", "0.5", *QUICK, "--resume").fails(2, "another trust")
    graft("distill", run, "good.csv", "--out", "small", *QUICK, "--resume").works()
    graft("distill", run, "good.csv", "--out", "straight", *QUICK).works()
    names = [name for name in files(here / "small") if name != "distill.json"]
    assert all((here / "small" / name).read_bytes() == (here / "straight" / name).read_bytes() for name in names)
