"""Long texts: windows that overlap, ends, pooling over windows, and a signal that only the end holds."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from sources import tiny_models

from graft.core.errors import UsageError
from graft.data.load import load
from graft.features import encode
from graft.sources.base import open_model
from graft.sources.windows import MOST, TRAINED, Windows
from graft.transfer.base import load_transfer
from graft.transfer.finetune import Finetune
from graft.transfer.probe import Probe

FILL = ("where", "is", "my", "the", "a", "i", "you", "want", "to", "help")


def documents(n=40, words=70, seed=0):
    """Texts of which the last words alone tell the class."""
    rng = np.random.default_rng(seed)
    y = np.array(["lost", "refund"])[np.arange(n) % 2]
    return [" ".join([*rng.choice(FILL, words), *[str(one)] * 6]) for one in y], y.tolist()


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """A network that reads 32 tokens."""
    return f"hf:{tiny_models.bert(tmp_path_factory.mktemp('short') / 'bert', max_position_embeddings=32)}"


def test_windows_overlap_and_hold_every_token(short):
    backbone = open_model(short)
    text = " ".join(FILL * 7)
    plain = backbone.preprocess([text, "my card"])
    data = load([text, "my card"], labelled=False, long="windows")
    long, one = backbone.preprocess(data.take())
    assert isinstance(long, Windows)
    assert isinstance(one, np.ndarray)
    inner = [part[1:-1] for part in long.parts]
    assert all(len(part) <= 32 for part in long.parts)
    step = len(inner[0]) - 4  # one token in eight of 32
    assert all((one[-4:] == two[:4]).all() for one, two in pairwise(inner))
    assert (
        np.concatenate([part[:step] for part in inner[:-1]] + [inner[-1]]).tolist()
        == backbone.tokenizer(text, add_special_tokens=False)["input_ids"]
    )
    assert backbone.length(long) == sum(len(part) for part in long.parts)
    assert np.array_equal(plain[0], long.parts[0])
    assert np.array_equal(plain[1], one)


def test_features_are_means_over_windows_in_any_batch(short):
    backbone = open_model(short)
    texts = [" ".join(FILL * times) for times in (7, 1, 4)]
    data = load(texts, labelled=False, long="windows")
    whole = encode(backbone, data.take()).layer(-1)
    for row in range(3):
        assert encode(backbone, data.take(slice(row, row + 1))).layer(-1) == pytest.approx(whole[row][None], abs=1e-5)
    parts = backbone.preprocess(data.take(slice(0, 1)))[0].parts
    batch = backbone.collate([np.asarray(part) for part in parts])
    with torch.inference_mode():
        alone = backbone.pool(backbone.forward_features(batch)[-1], batch).mean(0)
    assert whole[0] == pytest.approx(alone.numpy(), abs=1e-5)
    book = load([" ".join(FILL * 60)], labelled=False, long="windows")
    assert len(backbone.preprocess(book.take())[0].parts) == MOST
    torch.manual_seed(0)
    assert len(backbone.train().collate(backbone.preprocess(book.take()))["input_ids"]) == TRAINED


def test_a_network_with_classes_says_the_mean_of_its_windows(tmp_path):
    backbone = open_model(f"hf:{tiny_models.bert(tmp_path / 'm', classes=['x', 'y'], max_position_embeddings=32)}")
    data = load([" ".join(FILL * 5), "help"], labelled=False, long="windows")
    assert encode(backbone, data.take()).probabilities.shape == (2, 2)


def test_ends_are_the_first_and_the_last_tokens(short):
    backbone = open_model(short)
    data = load(["lost " + " ".join(FILL * 9) + " refund", "help"], labelled=False, long="head-tail")
    ends, one = backbone.preprocess(data.take())
    assert len(ends) == 32
    words = backbone.tokenizer.convert_ids_to_tokens(ends)
    assert (words[0], words[1], words[-2], words[-1]) == ("[CLS]", "lost", "refund", "[SEP]")
    assert len(one) == 3


def test_a_signal_at_the_end_is_found_in_windows_only(short, tmp_path):
    texts, y = documents()
    new, truth = documents(seed=1)
    shares = {}
    for long in ("truncate", "windows", "head-tail"):
        probe = Probe(short, layers="last").fit(load((texts, y), long=long))
        shares[long] = np.mean(probe.predict(new) == truth)
    assert shares["truncate"] < 0.7
    assert shares["windows"] > 0.9
    assert shares["head-tail"] > 0.9
    tuned = Finetune(short, epochs=8, lr=3e-3, batch_size=8).fit(load((texts, y), long="windows"))
    assert np.mean(tuned.predict(new) == truth) > 0.9
    opened = load_transfer(tuned.save(tmp_path / "tuned"))
    assert opened.recipe_["kinds"] == {"long": "windows"}
    assert np.array_equal(opened.outputs(new), tuned.outputs(new))


def test_windows_are_taken_where_many_texts_are_long():
    long = ["word " * 300, *["short one"] * 12]
    data = load((long, ["a", "b"] * 6 + ["a"]))
    assert data.X.kinds == {"long": "windows"}
    assert any("8% of the texts have more than about 256 tokens" in note for note in data.notes)
    assert load((long, ["a", "b"] * 6 + ["a"]), long="truncate").X.kinds == {}
    few = load((["word " * 300, *["short one"] * 30], ["a"] + ["a", "b"] * 15))
    assert few.X.kinds == {}
    assert load(["中文" * 200], labelled=False).X.kinds == {"long": "windows"}
    assert data.X.digest() != load((long, ["a", "b"] * 6 + ["a"]), long="truncate").X.digest()


def test_what_has_no_windows_says_so():
    with pytest.raises(UsageError, match="no way 'whole' to read long texts"):
        load(["a text"], labelled=False, long="whole")
    with pytest.raises(UsageError, match="texts of 2 columns are cut together"):
        load([("a", "b")], labelled=False, long="windows")
    with pytest.raises(UsageError, match="only texts are read in windows"):
        load((np.random.default_rng(0).random((6, 2)), [0, 1] * 3), long="windows")
