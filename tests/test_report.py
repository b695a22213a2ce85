"""The report draws any Run: complete, empty, hostile, in both languages, and loads nothing from anywhere."""

from __future__ import annotations

import base64
import json
import math
import re
import string
from html.parser import HTMLParser

import pytest

from graft import charts
from graft.core.errors import OutputError, UsageError
from graft.core.types import Run
from graft.report import FOLDER, render_card, render_html, write_report

SECTIONS = ("candidates", "ranking", "guard", "curves", "classes", "calibration", "rows", "data", "repeat")
TREC = ["abbreviation", "description", "entity", "human", "location", "numeric"]
TREC_ROWS = [86, 1162, 1250, 1223, 835, 896]
QUESTIONS = [
    ("What is the Ohio state bird ?", "entity", "description"),
    ("What does the technical term ISDN mean ?", "abbreviation", "description"),
    ("How much folic acid should an expectant mother get daily ?", "numeric", "description"),
    ("What attracts tourists to Reims ?", "entity", "location"),
    ("Name the blood vessel that carries blood from the heart to the lungs .", "entity", "description"),
    ("Which Japanese car maker had its biggest percentage of sale in the domestic market ?", "human", "entity"),
]
PIXEL = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(16)).decode()


def wobble(seed, scale=1.0):
    """A number in [-scale, scale] that looks random and is not."""
    return scale * math.sin(12.9898 * seed + 78.233)


def trial(name, score, half, cost, **more):
    return {
        "name": name,
        "transfer": name.split(" · ")[-1],
        "source": None,
        "source_name": None,
        "settings": {},
        "baseline": False,
        "state": "done",
        "score": [score, score - half, min(1.0, score + half)],
        "seconds": cost,
        "predicted_seconds": cost * 0.9,
        "ms_per_example": 3.2,
        "folds": 5,
        **more,
    }


def trec_trials():
    mini = {"source": "sbert:all-MiniLM-L6-v2", "source_name": "all-MiniLM-L6-v2"}
    bert = {"source": "hf:google/bert_uncased_L-4_H-256@0c1a", "source_name": "bert-mini"}
    small = {"source": "hf:google/electra-small-discriminator@f1", "source_name": "electra-small"}
    return [
        trial("majority class", 0.229, 0.012, 0.1, baseline=True),
        trial("TF-IDF + logistic regression", 0.884, 0.0095, 6.4, baseline=True),
        trial("from scratch", 0.842, 0.013, 71, baseline=True, settings={"network": "TextCNN"}),
        trial("MiniLM · probe", 0.949, 0.0062, 14.2, baseline=True, settings={"layers": "3+4+5+6"}, **mini),
        trial("MiniLM · finetune", 0.968, 0.0052, 84, settings={"lr": 0.0001, "epochs": 4, "frozen": 1}, **mini),
        trial("MiniLM · lora", 0.957, 0.0060, 96, settings={"rank": 8, "lr": 0.0005}, **mini),
        trial("bert-mini · probe", 0.911, 0.0081, 9.8, baseline=True, **bert),
        trial("bert-mini · finetune", 0.938, 0.0071, 52, settings={"lr": 0.0002, "epochs": 4}, **bert),
        trial("electra · probe", 0.886, 0.0091, 22, baseline=True, **small),
        {"name": "electra · finetune", "state": "skipped", "predicted_seconds": 412, "score": None, **small,
         "reason": "predicted 6 min 52 s, of which 2 min 31 s were left"},
        {"name": "bert-mini · contrastive", "state": "failed", "score": None, **bert,
         "reason": "the loss became NaN at step 31 with lr=0.01"},
    ]  # fmt: skip


def rankings():
    return [
        {"uri": "sbert:all-MiniLM-L6-v2", "name": "all-MiniLM-L6-v2", "parameters": 22_713_216, "cost_ms": 1.31,
         "seconds": 9.4, "scores": {"probe": [0.949, 0.943, 0.955], "logme": [0.412, 0.396, 0.427], "h_score": [4.31, 4.27, 4.35]},
         "separated": None, "coverage": {"share": 0.998}, "licence": "apache-2.0", "languages": ["en"]},
        {"uri": "hf:google/bert_uncased_L-4_H-256@0c1a", "name": "bert-mini", "parameters": 11_170_560, "cost_ms": 0.62,
         "seconds": 4.8, "scores": {"probe": [0.911, 0.902, 0.919], "logme": [0.291, 0.276, 0.305], "h_score": [3.84, 3.79, 3.88]},
         "separated": True, "coverage": {"share": 0.999}},
        {"uri": "hf:google/electra-small-discriminator@f1", "name": "electra-small", "parameters": 13_548_800, "cost_ms": 1.6,
         "seconds": 11.9, "scores": {"probe": [0.904, 0.895, 0.913], "logme": [0.262, 0.247, 0.277]},
         "separated": True, "coverage": {"share": 0.999}},
        {"uri": "hf:bert-base-chinese@a1", "name": "bert-base-chinese", "parameters": 102_267_648,
         "failure": "its vocabulary covers 61% of the text: the script is Latin, the model is Chinese", "scores": {}},
    ]  # fmt: skip


def history():
    rows = []
    for place, (name, end) in enumerate({"MiniLM · lora": 0.13, "MiniLM · finetune": 0.05, "bert-mini · finetune": 0.14,
                                         "from scratch": 0.09}.items()):  # fmt: skip
        for step in range(0, 681, 10):
            loss = end + 1.7 * math.exp(-step / (70 + 25 * place)) + abs(wobble(step + place, 0.04))
            valid = (
                0.968 - 0.6 * math.exp(-step / (90 + 30 * place)) - place * 0.01 if step % 170 == 0 and step else None
            )
            rows.append({"trial": name, "step": step, "steps": 680, "epoch": step / 170, "loss": loss, "lr": 1e-4,
                         "seconds": step * 0.1, "valid": valid})  # fmt: skip
    return rows


def confusion_of(counts, miss=0.04):
    n = len(counts)
    table = [[0] * n for _ in range(n)]
    for i, count in enumerate(counts):
        wrong = round(count * miss * (1 + wobble(i, 0.8)))
        table[i][i] = count - wrong
        for share, hop in ((0.6, 1), (0.3, 2), (0.1, 5)):
            table[i][(i + hop) % n] += round(wrong * share)
    return table


def per_class_of(names, table):
    rows = []
    for i, name in enumerate(names):
        recall = table[i][i] / max(1, sum(table[i]))
        precision = table[i][i] / max(1, sum(row[i] for row in table))
        f1 = 2 * precision * recall / (precision + recall)
        rows.append({"class": name, "precision": precision, "recall": recall, "f1": f1, "support": sum(table[i])})
    return rows


def trec_run():
    table = confusion_of(TREC_ROWS)
    hard = [{"row": 100 + 37 * i, "line": 102 + 37 * i, "input": text, "label": label, "prediction": said,
             "probability": 0.99 - 0.03 * i} for i, (text, label, said) in enumerate(QUESTIONS)]  # fmt: skip
    bins = [
        (0.45, 0.41, 30),
        (0.55, 0.5, 52),
        (0.65, 0.61, 75),
        (0.75, 0.69, 118),
        (0.85, 0.8, 260),
        (0.97, 0.982, 4917),
    ]
    return Run(
        config={"data": "trec.csv", "label": "coarse", "budget_seconds": 600, "models": ["auto"], "methods": ["probe", "finetune", "lora"],
                "seed": 0, "command": "graft fit trec.csv --label coarse --budget 10m --seed 0 --out runs/trec", "version": "0.1.0"},
        task={"kind": "classification", "modality": "text", "classes": TREC, "metric": "accuracy", "target": "coarse"},
        data={"name": "TREC questions", "rows": 5452, "columns": ["text", "coarse"], "fingerprint": "5f0c9e2d7ab1440d8f3f6b8d12aa90ce",
              "per_class": dict(zip(TREC, TREC_ROWS, strict=True)),
              "notes": ["71 rows were exact copies of others and were kept in the same fold.", "No empty texts."],
              "facts": {"scripts": {"Latin": 0.994, "Digits": 0.006}, "length": {"median": 49, "p95": 96, "max": 196}},
              "split": {"kind": "5-fold", "folds": 5, "train": 4362, "test": 1090, "grouped": False},
              "example": [["text", "How far is it from Denver to Aspen ?"], ["tokens", "[CLS] how far is it from denver to aspen ? [SEP]"],
                          ["features", "384 numbers from each of 7 layers, averaged over 11 tokens"],
                          ["probabilities", "numeric 0.991, location 0.004, description 0.003"], ["answer", "numeric"]],
              "ranking_sentences": ["all-MiniLM-L6-v2 is better than the other two beyond noise.",
                                    "bert-mini and electra-small cannot be told apart (paired difference 0.007, interval −0.003 to 0.017)."]},
        answer={"sentence": "Fine-tuning all-MiniLM-L6-v2 answers 96.8% of unseen questions correctly, 8.4 points more than the best model without transfer.",
                "decision": "transfer", "trial": "MiniLM · finetune", "source": "sbert:all-MiniLM-L6-v2", "source_name": "all-MiniLM-L6-v2",
                "transfer": "finetune", "settings": {"lr": 0.0001, "epochs": 4, "frozen": 1}, "metric": "accuracy", "score": [0.968, 0.9628, 0.9732],
                "level": 0.9, "baseline": {"name": "TF-IDF + logistic regression", "score": [0.884, 0.8745, 0.8935]}, "seconds": 449,
                "budget_seconds": 600, "folder": "runs/trec", "size_bytes": 45_800_000, "ms_per_example": 3.2},
        ranking=rankings(), trials=trec_trials(), history=history(),
        metrics={"accuracy": [0.968, 0.9628, 0.9732], "confusion": table, "per_class": per_class_of(TREC, table),
                 "reliability": [{"confidence": c, "accuracy": a, "count": n} for c, a, n in bins], "ece": [0.014, 0.010, 0.019],
                 "hardest": hard, "mislabelled": [{**row, "suggested": row["prediction"]} for row in hard[:3]]},
        guard={"level": 0.9, "chosen": "MiniLM · finetune", "decision": "transfer",
               "sentence": "On the same five folds it beats the probe, the classical model and training from scratch, each beyond noise.",
               "compared": [{"name": "MiniLM · probe", "kind": "frozen probe", "difference": [0.019, 0.013, 0.025], "p": 0.0004, "better": True},
                            {"name": "MiniLM · lora", "kind": "other transfer", "difference": [0.004, -0.002, 0.010], "p": 0.11, "better": False},
                            {"name": "TF-IDF + logistic regression", "kind": "classical", "difference": [0.084, 0.074, 0.094], "p": 1e-6, "better": True},
                            {"name": "from scratch", "kind": "same network, no pretraining", "difference": [0.126, 0.112, 0.140], "p": 1e-6, "better": True}]},
        audit={"sentences": ["No test question has a copy in the training rows.", "4 questions appear twice with different labels."],
               "duplicates": 71, "conflicting": 4, "leaks": 0},
        environment={"python": "3.11.9", "os": "Linux 6.1", "cpu": "Intel Xeon, AVX-512 BF16", "cores": 2, "memory_bytes": 16_000_000_000,
                     "precision": "bf16", "threads": 2, "packages": {"torch": "2.6.0", "transformers": "5.0.1", "scikit-learn": "1.6.1", "numpy": "2.2.1"}},
    )  # fmt: skip


def wide_run():
    """77 classes, names in two languages."""
    verbs = [
        "card_arrival",
        "change_pin",
        "exchange_rate",
        "transfer_fee_charged",
        "top_up_failed",
        "verify_my_identity",
        "余额不更新",
    ]
    names = [f"{verbs[i % 7]}_{i}" for i in range(77)]
    run = trec_run()
    table = confusion_of([30 + i % 17 for i in range(77)], 0.12)
    run.task = {**run.task, "classes": names, "metric": "macro_f1"}
    run.answer = {**run.answer, "metric": "macro_f1", "sentence": "", "decision": "simpler"}
    run.data = {
        **run.data,
        "name": "Banking77",
        "rows": 10003,
        "per_class": {name: 30 + i % 17 for i, name in enumerate(names)},
    }
    run.metrics = {"confusion": table, "per_class": per_class_of(names, table)}
    run.guard = {**run.guard, "decision": "simpler", "sentence": ""}
    return run


def regression_run():
    pairs = [[10 + 0.1 * i, 10 + 0.1 * i + wobble(i, 2.4) * wobble(3 * i)] for i in range(400)]
    run = trec_run()
    run.task = {"kind": "regression", "modality": "table", "classes": [], "metric": "r2", "target": "price"}
    run.data = {"name": "House prices", "rows": 400, "columns": ["area", "rooms", "year", "price"],
                "target_quantiles": {"5%": 12.1, "median": 30.0, "95%": 47.9}}  # fmt: skip
    run.answer = {**run.answer, "metric": "r2", "sentence": "", "score": [0.912, 0.897, 0.926]}
    run.metrics = {"scatter": pairs, "residuals": {"q05": -2.1, "q25": -0.8, "q50": 0.02, "q75": 0.9, "q95": 2.2}}
    run.history = []
    return run


class Page(HTMLParser):
    """What a browser would see: elements by tag, and the text outside style and script."""

    VOID = frozenset({"meta", "img", "br", "hr", "input", "link"})

    def __init__(self, html):
        super().__init__()
        self.found, self.text, self.open = [], [], []
        self.feed(html)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> without start"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())

    @property
    def sections(self):
        return [attributes["id"] for tag, attributes in self.found if tag == "section"]

    def tags(self, name):
        return [attributes for tag, attributes in self.found if tag == name]


def assert_loads_nothing(page, html):
    assert not [
        tag for tag, _ in page.found if tag in ("link", "iframe", "object", "embed", "base", "form", "audio", "video")
    ]
    assert len(page.tags("script")) == 1
    assert "src" not in page.tags("script")[0]
    for _, attributes in page.found:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "srcset", "href", "xlink:href", "data", "action", "poster"):
            assert attributes.get(name, "#").startswith(("#", "data:image/"))
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert "default-src 'none'" in page.found[[tag for tag, _ in page.found].index("meta") + 4][1]["content"]


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("make", [trec_run, wide_run, regression_run, Run])
def test_page_is_whole_and_self_contained(make, lang):
    html = render_html(make(), lang=lang)
    page = Page(html)
    assert_loads_nothing(page, html)
    assert len(page.tags("h1")) == 1
    assert len(html) < 1_500_000
    assert not re.search(r"\bnan\b|\binf\b|Undefined|None\b", page.words)
    linked = [attributes["href"][1:] for attributes in page.tags("a")]
    assert linked == page.sections


def test_every_section_is_there_and_the_answer_comes_first():
    page = Page(render_html(trec_run()))
    assert tuple(page.sections) == SECTIONS
    for words in ("96.8%", "90% interval 96.3–97.3%", "TF-IDF + logistic regression", "Transfer helped.", "7 min 29 s",
                  "of a budget of 10 min", "the loss became NaN at step 31", "cannot be told apart", "5f0c9e2d7ab1440d",
                  "graft fit trec.csv", "+1.9 points", "Cannot be told from MiniLM · lora"):  # fmt: skip
        assert words in page.words
    assert page.words.index("96.8%") < page.words.index("What was tried")


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_without_content_vanishes(section):
    run = trec_run()
    empty = {
        "candidates": {"trials": []},
        "ranking": {"ranking": []},
        "guard": {"guard": {"level": 0.9, "compared": []}},
        "curves": {"history": [{"trial": "a", "step": 0, "loss": math.nan}]},
        "classes": {"metrics": {k: v for k, v in run.metrics.items() if k not in ("confusion", "per_class")}},
        "calibration": {"metrics": {k: v for k, v in run.metrics.items() if k not in ("ece", "reliability")}},
        "rows": {"metrics": {k: v for k, v in run.metrics.items() if k not in ("hardest", "mislabelled")}},
        "data": {"data": {}, "audit": {}},
        "repeat": {"config": {}, "environment": {}, "data": {"name": "x"}},
    }
    page = Page(render_html(Run.from_json({**run.to_json(), **empty[section]})))
    assert page.sections == [name for name in SECTIONS if name != section]


def test_an_empty_run_is_a_short_page():
    html = render_html(Run())
    page = Page(html)
    assert page.sections == []
    assert "no answer yet" in page.words
    assert "no answer" not in render_card(Run())


def test_hostile_text_stays_text():
    evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7*7 }} 中文"

    def poison(value):
        if isinstance(value, dict):
            return {key: poison(found) for key, found in value.items()}
        if isinstance(value, list):
            return [poison(found) for found in value]
        return (
            evil + value
            if isinstance(value, str) and value not in ("classification", "text", "accuracy", "done")
            else value
        )

    run = Run.from_json(poison(trec_run().to_json()))
    run.metrics["per_class"][0]["class"] = evil
    run.data["per_class"] = {evil: 3}
    run.config[evil] = evil
    run.ranking[0]["scores"] = {evil: [1, 0, 2]}
    html = render_html(run)
    page = Page(html)
    assert_loads_nothing(page, html)
    assert not page.tags("img")
    assert "{{ 7*7 }} 中文" in page.words
    assert "<script>alert" not in html
    card = render_card(run)
    outside = re.sub(r"```.*?```|`[^`\n]*`", "", card.split("---", 2)[2], flags=re.DOTALL)
    assert "<script>" not in outside
    assert "<img" not in outside


def test_only_pictures_become_images():
    run = trec_run()
    row = {"row": 1, "label": "cat", "prediction": "dog", "probability": 0.9}
    bad = [
        "data:text/html;base64,PHNjcmlwdD4=",
        "data:image/svg+xml;base64,PHN2Zz4=",
        "http://example.org/x.png",
        PIXEL + '"',
    ]
    run.metrics["hardest"] = [{**row, "thumbnail": PIXEL}, *({**row, "thumbnail": text} for text in bad)]
    run.metrics["mislabelled"] = []
    page = Page(render_html(run))
    assert [attributes["src"] for attributes in page.tags("img")] == [PIXEL]


def test_77_classes_stay_readable():
    html = render_html(wide_run())
    page = Page(html)
    assert "more classes" in page.words
    matrix = [attributes for attributes in page.tags("svg") if "matrix" in attributes.get("class", "")]
    assert len(matrix) == 1
    assert float(matrix[0]["width"]) >= 77 * 11
    assert len([a for a in page.tags("rect") if a.get("class") == "hit" and "x" in a]) == 77
    assert len(html) < 600_000


def test_missing_and_infinite_numbers_are_dashes():
    run = trec_run()
    run.trials = [
        {"name": "a", "score": [math.nan, 0, 1], "state": "failed"},
        {"name": "b", "score": [0.5, math.nan, None]},
        {},
    ]
    run.answer = {"score": [0.5, None, math.inf], "seconds": math.nan, "metric": "accuracy", "ms_per_example": None}
    run.metrics = {"confusion": [[1, math.nan], [None, 0]], "ece": [math.nan] * 3, "per_class": [{"class": "x", "f1": math.nan}],
                   "reliability": [{"confidence": None, "accuracy": 1, "count": 1}], "residuals": {"q05": math.nan}}  # fmt: skip
    run.ranking = [{"name": "n", "scores": {"probe": [math.inf, 0, 1]}}, {}]
    run.guard = {"compared": [{"name": "n", "difference": None}, {}]}
    page = Page(render_html(run))
    assert "50.0%" in page.words
    assert not re.search(r"\bnan\b|\binf\b", page.words)
    for _, attributes in page.found:
        assert not any("nan" in (attributes.get(key) or "") for key in ("x", "cx", "x1", "width", "points", "viewbox"))
    render_card(run)


def test_each_key_may_be_missing():
    whole = trec_run().to_json()
    for part, content in whole.items():
        if isinstance(content, dict):
            for key in content:
                run = Run.from_json({**whole, part: {k: v for k, v in content.items() if k != key}})
                Page(render_html(run))
                render_card(run)


def test_page_comes_back_from_json():
    run = trec_run()
    again = Run.from_json(json.loads(json.dumps(run.to_json())))
    assert render_html(again) == render_html(run)
    assert render_card(again) == render_card(run)


def test_both_languages_have_the_same_words():
    english, chinese = (
        json.loads((FOLDER / f"words.{lang}.json").read_text(encoding="utf-8")) for lang in ("en", "zh")
    )

    def fields(text):
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    assert english.keys() == chinese.keys()
    for key, text in english.items():
        assert fields(text) == fields(chinese[key]), key
    used = "".join(path.read_text(encoding="utf-8") for path in FOLDER.glob("*.jinja"))
    asked = set(re.findall(r'\bt\("([a-z0-9_]+)"[,)]', used))
    assert asked <= english.keys()
    with pytest.raises(UsageError, match="no report in language"):
        render_html(Run(), lang="xx")


def test_chinese_page_speaks_chinese():
    page = Page(render_html(trec_run(), lang="zh"))
    assert "迁移有益" in page.words
    assert page.tags("html")[0]["lang"] == "zh-Hans"


def test_card_has_front_matter_and_what_a_reader_needs():
    card = render_card(trec_run())
    head = dict(line.split(": ", 1) for line in card.split("---\n")[1].strip().splitlines())
    assert json.loads(head["license"]) == "apache-2.0"
    assert json.loads(head["language"]) == ["en"]
    assert json.loads(head["pipeline_tag"]) == "text-classification"
    assert json.loads(head["model-index"])[0]["results"][0]["metrics"][0]["value"] == 0.968
    for words in (
        "## Intended use",
        "## Limits",
        "load_transfer",
        "graft predict runs/trec DATA --out p.csv",
        "96.3–97.3%",
    ):
        assert words in card
    run = trec_run()
    run.answer["source"] = "hf:google/bert_uncased@0c1a"
    assert 'base_model: "google/bert_uncased"' in render_card(run)


def test_files_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    folder = tmp_path / "a" / "b"
    path = write_report(trec_run(), folder)
    assert path == folder / "report.html"
    assert sorted(found.name for found in folder.iterdir()) == ["MODEL_CARD.md", "report.html"]
    before = path.read_bytes()

    def refuse(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", refuse)
    with pytest.raises(OutputError, match="No space left"):
        write_report(Run(), folder)
    assert path.read_bytes() == before
    assert sorted(found.name for found in folder.iterdir()) == ["MODEL_CARD.md", "report.html"]


def test_scales_end_on_ticks_and_clip():
    scale = charts.scale_of([[0.93, 0.91, 0.97], None, math.nan], inside=(0, 1))
    assert (scale.low, scale.high) == pytest.approx((0.9, 0.98))
    assert charts.ticks(scale) == pytest.approx([0.9, 0.92, 0.94, 0.96, 0.98])
    assert scale(2.0) == 100.0
    assert charts.scale_of([0.5, 0.5]).low < 0.5 < charts.scale_of([0.5, 0.5]).high
    assert charts.triple([1.0]) == (1.0, 1.0, 1.0)
    assert charts.triple("x") is None
    assert charts.clip("中文标签很长", 6) == "中文…"


def test_folds_are_separate_lines():
    rows = [{"step": step, "loss": 1 / (step + 1)} for step in (0, 1, 2, 0, 1, 2)]
    assert charts.curves(rows, {"loss": "loss", "valid": "score"}, str).count("<polyline") == 2


def test_the_losses_of_two_players_are_drawn_and_named():
    rows = [{"step": step, "loss": 1.0, "loss_generator": 0.7 + step} for step in range(3)]
    drawn = charts.curves(rows, {"loss": "of one", "loss_generator": "of the other"}, str)
    assert drawn.count("<polyline") == 2
    assert "of one" in drawn
    assert "of the other" in drawn
    assert "of the other" not in charts.curves(rows[:0], {"loss": "of one", "loss_generator": "of the other"}, str)
