import numpy as np
import pytest
from conftest import make_texts
from safetensors.numpy import load_file
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge

from graft.core.errors import SourceError, UsageError
from graft.core.store import Store
from graft.core.types import ModelSpec
from graft.data.load import load
from graft.features import encode
from graft.nn.heads import LinearHead, fit_probe, to_outputs
from graft.sources.base import open_model
from graft.testing import check_transfer, toy_data, toy_sources
from graft.transfer.base import Setting, load_transfer
from graft.transfer.probe import Probe


def penalty(X, strength, weight=None):
    """strength · trace(X̃ᵀWX̃) / min(n, d), as in ``graft.nn.ridge``."""
    weight = np.ones(len(X)) if weight is None else weight
    centred = X - np.average(X, axis=0, weights=weight)
    return strength * float((weight[:, None] * np.square(centred)).sum()) / min(X.shape)


@pytest.mark.parametrize("kind", ["text", "imbalanced"])
def test_it_is_a_ridge_regression_that_scikit_learn_fits_too(tiny_bert, kind):
    data = toy_data(kind)
    data.y[::5] = 0  # not separable, so that the temperature is no limit
    probe = Probe(f"hf:{tiny_bert}", layers=(0, 1)).fit(data)
    features = encode(open_model(f"hf:{tiny_bert}"), data.take(), precision=probe.precision_)
    parts = [features.layer(layer).astype(float) for layer in (0, 1)]
    X = np.hstack([part / np.sqrt(np.square(part - part.mean(0)).mean()) for part in parts])
    weight = data.task.sample_weights(data.y)
    assert (weight is not None) == (kind == "imbalanced")
    alpha = penalty(X, probe.head_.strength, weight)
    ridge = Ridge(alpha=alpha).fit(X, np.eye(data.task.outputs)[data.y], sample_weight=weight)
    np.testing.assert_allclose(probe.head_.scores(features), ridge.predict(X), atol=1e-4)
    logits = ridge.predict(X) / probe.head_.temperature
    wanted = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(probe.outputs(data), wanted, atol=1e-3)


def test_regression_is_a_ridge_too(tiny_bert):
    texts, _ = make_texts(50)
    y = np.array([len(text) * 1.5 + 0.25 for text in texts])
    data = load((texts, y), task="regression")
    probe = Probe(f"hf:{tiny_bert}", layers="last").fit(data)
    features = encode(open_model(f"hf:{tiny_bert}"), texts, precision=probe.precision_)
    X = features.layer(-1).astype(float)
    X /= np.sqrt(np.square(X - X.mean(0)).mean())
    wanted = Ridge(alpha=penalty(X, probe.head_.strength)).fit(X, y).predict(X)
    np.testing.assert_allclose(probe.predict(texts), wanted, rtol=1e-4)
    with pytest.raises(AttributeError, match="no class probabilities"):
        probe.predict_proba(texts)


def test_pairs_of_texts(tiny_bert):
    texts, y = make_texts(40)
    pairs = [(text, "card lost") for text in texts]
    probe = Probe(f"hf:{tiny_bert}").fit(pairs, y)
    assert np.mean(probe.predict(pairs) == np.asarray(y)) > 0.9
    assert probe.predict([("where is my parcel good a", "card lost")]).shape == (1,)


def test_source_may_be_uri_spec_folder_or_opened(tiny_bert, texts):
    wanted = Probe(f"hf:{tiny_bert}").fit(*texts).predict_proba(texts[0])
    backbone = open_model(f"hf:{tiny_bert}")
    for source in (str(tiny_bert), backbone, backbone.spec):
        assert np.array_equal(Probe(source).fit(*texts).predict_proba(texts[0]), wanted)
    assert isinstance(backbone.spec, ModelSpec)


def test_the_cache_changes_nothing_but_time(tiny_bert, texts, tmp_path):
    data = load(texts)
    plain = Probe(f"hf:{tiny_bert}").fit(data).outputs(data)
    store = Store(tmp_path / "store")
    cached = Probe(f"hf:{tiny_bert}").fit(data, setting=Setting(store=store))
    np.testing.assert_allclose(cached.outputs(data), plain, atol=2e-3)  # features are kept as float16
    assert len(store.entries()) == 1
    np.testing.assert_allclose(cached.outputs(data, store=store), plain, atol=2e-3)
    assert len(store.entries()) == 1


def test_what_is_wrong_is_said(tiny_bert, texts):
    with pytest.raises(SourceError, match="probe needs a pretrained source"):
        Probe().fit(*texts)
    for layers in ("lats", (7,), ()):
        with pytest.raises(UsageError, match="no layers"):
            Probe(f"hf:{tiny_bert}", layers=layers).fit(*texts)


def test_layers_count_from_either_end(tiny_bert, texts):
    one = Probe(f"hf:{tiny_bert}", layers=(1,)).fit(*texts)
    other = Probe(f"hf:{tiny_bert}", layers=(-1,)).fit(*texts)
    last = Probe(f"hf:{tiny_bert}", layers="last").fit(*texts)
    assert one.head_.layers == other.head_.layers == last.head_.layers == (1,)
    assert np.array_equal(one.predict_proba(texts[0]), last.predict_proba(texts[0]))


def test_a_head_as_torch_layer_gives_the_same_logits(tiny_bert, texts):
    import torch

    data = load(texts)
    features = encode(open_model(f"hf:{tiny_bert}"), texts[0])
    head = fit_probe(features, data.y, data.task, layers="last")
    layer = head.module()
    logits = layer(torch.from_numpy(features.layer(-1))).detach().numpy()
    np.testing.assert_allclose(logits, head.scores(features) / head.temperature, rtol=1e-3, atol=1e-4)
    again = LinearHead.from_module(layer)
    np.testing.assert_allclose(again.outputs(features, data.task), head.outputs(features, data.task), atol=1e-5)


# -- other heads and mixtures of layers --------------------------------------------------------------------------------

OTHERS = [
    {"head": "knn"},
    {"head": "lda"},
    {"layers": "mix"},
    {"layers": "concatenated"},
    {"head": "lda", "layers": "mix"},
]


@pytest.mark.parametrize("options", OTHERS, ids=str)
@pytest.mark.parametrize("kind", ["imbalanced", "image"])
def test_other_heads_keep_the_contract(tiny_bert, tiny_vit, options, kind):
    source = {"imbalanced": tiny_bert, "image": tiny_vit}[kind]
    check_transfer("probe", toy_data(kind), source=f"hf:{source}", **options)


@pytest.mark.parametrize("options", [{"head": "knn"}, {"layers": "mix"}], ids=str)
def test_other_heads_predict_values(options):
    check_transfer("probe", toy_data("regression"), **options)


def test_discriminant_analysis_is_that_of_scikit_learn(tiny_bert):
    data = toy_data("text")
    data.y[::5] = 0
    probe = Probe(f"hf:{tiny_bert}", layers="concatenated", head="lda").fit(data)
    features = encode(open_model(f"hf:{tiny_bert}"), data.take(), precision=probe.precision_)
    X = features.layer(0, 1) / probe.head_.scale
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=probe.head_.strength).fit(X.astype(float), data.y)
    np.testing.assert_allclose(to_outputs(probe.head_.scores(features), data.task), theirs.predict_proba(X), atol=1e-3)


def test_neighbours_keep_the_features_on_disk_in_two_bytes(tiny_bert, texts, tmp_path):
    probe = Probe(f"hf:{tiny_bert}", layers="concatenated", head="knn").fit(*texts)
    probe.save(tmp_path)
    rows = load_file(tmp_path / "model.safetensors")["rows"]
    assert (rows.shape, rows.dtype) == ((60, 32), np.float16)
    opened = load_transfer(tmp_path)
    assert opened.get_params()["head"] == "knn"
    assert np.array_equal(opened.predict_proba(texts[0]), probe.predict_proba(texts[0]))


@pytest.mark.parametrize(
    ("options", "kind", "line"),
    [
        ({"head": "svm"}, "text", "no head 'svm'; use linear, lda, knn"),
        ({"head": "knn", "loss": "logistic"}, "text", "the head knn has no loss 'logistic'; leave one of them out"),
        ({"head": "lda"}, "regression", "discriminant analysis needs classes; use head='linear' or 'knn'"),
        ({"head": "knn", "layers": "mix"}, "text", "neighbours cannot mix layers; use layers='concatenated'"),
        ({"loss": "lda", "layers": "none"}, "text", "no layers 'none'"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, kind, line):
    data = toy_data(kind)
    with pytest.raises(UsageError, match=line):
        Probe(toy_sources(data)[0], **options).fit(data)


@pytest.mark.slow
def test_minilm_separates_what_words_alone_do_not(tmp_path):
    kinds = ["great film", "a joy to watch", "lovely acting", "dull film", "a bore to sit through", "awful acting"]
    texts = [f"{kind}, {name}" for name in ("Anna", "Bob", "Carl") for kind in kinds]
    probe = Probe("sbert:all-MiniLM-L6-v2").fit(texts, (["good"] * 3 + ["bad"] * 3) * 3)
    assert probe.predict(["wonderful, delightful", "terrible, boring"]).tolist() == ["good", "bad"]
    probe.save(tmp_path / "run")
    assert np.array_equal(load_transfer(tmp_path / "run").predict_proba(texts), probe.predict_proba(texts))
