"""Networks with other blocks, widths, inputs and words: what fits is copied, and the report says what happened."""

import json

import numpy as np
import pytest
import torch
import transformers
from sources import tiny_models

from graft.core.errors import GraftError, SourceError, UsageError
from graft.core.runtime import seeded
from graft.features import encode
from graft.reshape.plan import KINDS, block_plan
from graft.reshape.reshape import Changes, read_report, reshape, save_reshaped
from graft.reshape.tensors import copies, from_rows, input_axis, on_grid, on_line, to_channels, widened
from graft.reshape.vocabulary import origins, unit_of
from graft.sources.base import describe_model, open_model
from graft.sources.loading import quiet
from graft.sources.readers import TextReader
from graft.sources.students import fresh_backbone, fresh_reader
from graft.testing import toy_data

TEXTS = ["where is my parcel", "the card was lost", "please cancel the order, i want help"]
ROWS = ["where is my parcel gone", "the card was lost yesterday", "refund please"] * 6


def pictures(*, grey=False):
    rows = np.random.default_rng(0).integers(0, 256, (3, 40, 50, 3), dtype=np.uint8)
    return list(np.repeat(rows[..., :1], 3, axis=3) if grey else rows)


def native(kind, encoder, size="tiny", **arguments):
    data = toy_data(kind)
    with seeded(1):
        backbone = fresh_backbone(encoder, size, fresh_reader(data, encoder, vocabulary=200), kind)
    return type(backbone)(encoder, backbone.arguments | arguments, backbone.reader, backbone.spec).eval()


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """Four blocks, and normalisations that training has left where it left them."""
    folder = tiny_models.bert(tmp_path_factory.mktemp("models") / "bert", layers=4)
    return open_model(f"hf:{folder}")


@pytest.fixture
def vit(tiny_vit):
    return open_model(f"hf:{tiny_vit}")


def features(backbone, examples=TEXTS):
    return encode(backbone, examples, precision="fp32").layer(-1)


def same(old, new, examples=TEXTS, **tolerance):
    """Equal features; a wider network has every one several times."""
    one, other = features(old, examples), features(new, examples)
    np.testing.assert_allclose(other, np.repeat(one, other.shape[1] // one.shape[1], axis=1), atol=2e-5, **tolerance)


def adds_up(report, backbone):
    """Every tensor has one fate, and the counts are those of the network."""
    state = backbone.state_dict()
    assert [fate.name for fate in report.tensors] == list(state)
    assert [fate.new_shape for fate in report.tensors] == [tuple(value.shape) for value in state.values()]
    counts = report.counts()
    assert set(counts) == set(KINDS)
    assert sum(count["tensors"] for count in counts.values()) == len(state)
    total = sum(value.numel() for value in state.values())
    assert sum(count["parameters"] for count in counts.values()) == report.parameters == total
    assert f"{total:,} parameters" in report.summary()


def copied(report, old, new):
    """What the report calls copied is equal byte for byte, and what it does not is not."""
    before, after = old.state_dict(), new.state_dict()
    for fate in report.tensors:
        equal = fate.origin in before and torch.equal(before[fate.origin], after[fate.name])
        assert equal == (fate.what == "copied"), fate


# -- nothing changes, or everything ------------------------------------------------------------------------------------


def sources(tiny_bert, tiny_vit):
    return [
        (open_model(f"hf:{tiny_bert}"), TEXTS), (open_model(f"hf:{tiny_vit}"), pictures()),
        (native("text", "transformer"), TEXTS), (native("image", "resnet"), pictures()),
        (native("table", "mlp"), {f"x{i}": np.arange(3.0) for i in range(4)}),
    ]  # fmt: skip


def test_no_change_is_a_copy(tiny_bert, tiny_vit):
    for backbone, examples in sources(tiny_bert, tiny_vit):
        kept = backbone.fingerprint()
        new, report = reshape(backbone)
        adds_up(report, new)
        assert new.fingerprint() == kept == backbone.fingerprint()
        assert {fate.what for fate in report.tensors} == {"copied"}
        assert (report.difference, report.left, report.notes) == (0.0, (), ())
        assert not any(a is b for a in new.parameters() for b in backbone.parameters())
        if backbone.spec.modality != "table":
            assert np.array_equal(features(backbone, examples), features(new, examples))


def test_the_structure_alone_copies_nothing(tiny_bert, tiny_vit, tmp_path):
    for number, (backbone, _) in enumerate(sources(tiny_bert, tiny_vit)):
        state = torch.get_rng_state()
        new, report = reshape(backbone, Changes(fresh=True), seed=3)
        assert torch.equal(state, torch.get_rng_state())
        adds_up(report, new)
        assert report.counts()["new"]["tensors"] == len(report.tensors)
        assert [name for name, _ in report.left] == list(backbone.state_dict())
        before, after = backbone.state_dict(), new.state_dict()
        assert {n: v.shape for n, v in before.items()} == {n: v.shape for n, v in after.items()}
        random = [n for n, value in before.items() if value.ndim > 1 and value.std() > 0]
        assert random
        assert not any(torch.equal(before[name], after[name]) for name in random)
        again, other = (reshape(backbone, Changes(fresh=True), seed=seed)[0] for seed in (3, 4))
        assert again.fingerprint() == new.fingerprint() != other.fingerprint()
        save_reshaped(new, report, tmp_path / str(number))
        assert (describe_model(f"file:{tmp_path / str(number)}").objective, new.spec.objective) == ("", "")


def test_a_sentence_model_without_weights_has_learned_nothing(tmp_path):
    tiny_models.sbert(tmp_path / "made", dense=True)
    (tmp_path / "made" / "README.md").write_text("---\nlicense: mit\n---\nIt knows a lot.\n")
    whole = open_model(f"sbert:{tmp_path / 'made'}")
    new, report = reshape(whole, Changes(fresh=True))
    assert not torch.equal(new.dense[0].linear.weight, whole.dense[0].linear.weight)
    save_reshaped(new, report, tmp_path / "fresh")
    opened = open_model(f"file:{tmp_path / 'fresh'}")
    assert (opened.spec.objective, opened.pooling, opened.longest) == ("", whole.pooling, whole.longest)
    assert not (tmp_path / "fresh" / "README.md").exists()
    assert np.array_equal(features(opened), features(new))
    shorter, report = reshape(whole, Changes(remove=(1,)))
    save_reshaped(shorter, report, tmp_path / "shorter")
    assert open_model(f"file:{tmp_path / 'shorter'}").spec.objective == "sentence similarity"


def test_the_structure_alone_with_other_words(tiny_bert):
    new, report = reshape(open_model(f"hf:{tiny_bert}"), Changes(fresh=True, vocabulary=ROWS, tokens=50, remove=(0,)))
    adds_up(report, new)
    assert {fate.what for fate in report.tensors} == {"new"}
    assert (len(new.tokenizer), len(new.model.embeddings.word_embeddings.weight), len(new.blocks())) == (50, 50, 1)


def test_a_head_stays_with_its_weights_and_goes_without_them(tmp_path):
    whole = open_model(f"hf:{tiny_models.bert(tmp_path / 'made', classes=['bad', 'good'])}")
    shorter, report = reshape(whole, Changes(remove=(0,)))
    adds_up(report, shorter)
    assert shorter.spec.classes == ("bad", "good")
    assert torch.equal(shorter.state_dict()["model.classifier.weight"], whole.state_dict()["model.classifier.weight"])
    bare, _ = reshape(whole, Changes(fresh=True))
    assert (bare.spec.classes, bare.outputs) == ((), 0)
    assert "model.classifier.weight" not in bare.state_dict()


# -- blocks ------------------------------------------------------------------------------------------------------------


def test_removed_blocks_leave_exactly_the_others(bert):
    new, report = reshape(bert, Changes(remove=(0, 2)))
    adds_up(report, new)
    copied(report, bert, new)
    assert {fate.what for fate in report.tensors} == {"copied"}
    before, after = bert.state_dict(), new.state_dict()
    for place, number in enumerate((1, 3)):
        for name in [n for n in after if f".layer.{place}." in n]:
            assert torch.equal(after[name], before[name.replace(f".layer.{place}.", f".layer.{number}.")])
    assert {name.split(".")[3] for name, _ in report.left} == {"0", "2"}
    assert len(new.blocks()) == new.model.config.num_hidden_layers == 2
    assert report.difference is None


def test_blocks_are_swapped_and_repeated(bert):
    new, report = reshape(bert, Changes(order=(3, 0, 0)))
    copied(report, bert, new)
    before, after = bert.state_dict(), new.state_dict()
    name = "model.encoder.layer.{}.output.dense.weight".format
    assert [torch.equal(after[name(i)], before[name(j)]) for i, j in ((0, 3), (1, 0), (2, 0))] == [True] * 3
    assert after[name(1)].data_ptr() != after[name(2)].data_ptr()
    whole, _ = reshape(bert, Changes(order=(0, 1, 2, 3)))
    assert whole.fingerprint() == bert.fingerprint()


@pytest.mark.parametrize("insert", [(0,), (3,), (1, 1, 3)])
def test_a_new_block_does_nothing_at_first(bert, vit, insert):
    for backbone, examples, places in ((bert, TEXTS, insert), (vit, pictures(), tuple(min(i, 1) for i in insert))):
        new, report = reshape(backbone, Changes(insert=places))
        adds_up(report, new)
        copied(report, backbone, new)
        assert len(new.blocks()) == len(backbone.blocks()) + len(places)
        assert report.difference < 1e-5
        same(backbone, new, examples)
        loss = new.train()(new.collate(new.preprocess(examples))).square().sum()
        loss.backward()
        fresh = [f for f in report.tensors if f.what == "new" and "zero" in f.how and f.name.endswith("weight")]
        assert len(fresh) == 2 * len(places)  # attention and the layers after it
        gradients = dict(new.named_parameters())
        assert all(gradients[fate.name].grad.abs().sum() > 0 for fate in fresh)  # it does not have to stay so


def test_blocks_that_cannot_do_nothing_say_so(tmp_path):
    folder = tiny_models.bert(tmp_path / "made", layers=3, seed=1)
    uneven = open_model(f"hf:{folder}")
    with torch.no_grad():
        for name, parameter in uneven.named_parameters():
            if parameter.ndim == 2:  # as in a trained network, what branches add is not small
                parameter.mul_(20)
            elif "LayerNorm" in name:
                parameter.add_(0.5 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name))))
    new, report = reshape(uneven, Changes(insert=(1,)))
    assert 1e-4 < report.difference < 0.5
    assert any("what it computes has changed" in note for note in report.notes)
    assert sum("gives back what the block below puts out" in fate.how for fate in report.tensors) == 4
    plain = torch.nn.LayerNorm(16)
    batch = uneven.collate(uneven.preprocess(TEXTS))
    with torch.no_grad():
        below = uneven.forward_features(batch)[1]
        above = new.forward_features(batch)[2]
        assert (above - below).norm() < 0.8 * (plain(below) - below).norm()
    copied(report, uneven, new)
    _, report = reshape(native("text", "lstm", "small"), Changes(insert=(0,)))
    assert report.difference > 1e-4
    assert len(report.notes) == 1
    dilated = native("text", "cnn")
    assert reshape(dilated, Changes(insert=(3,)))[1].difference < 1e-6
    assert reshape(dilated, Changes(insert=(0,)))[1].notes  # the reach of those above it grows


@pytest.mark.parametrize("encoder", ["transformer", "cnn", "lstm"])
def test_blocks_of_own_encoders(encoder):
    whole = native("text", encoder, "small")
    depth = len(whole.blocks())
    new, report = reshape(whole, Changes(remove=(depth - 1,)))
    adds_up(report, new)
    copied(report, whole, new)
    assert {fate.what for fate in report.tensors} == {"copied"}
    assert new.arguments["depth"] == len(new.blocks()) == depth - 1


def test_a_decoder_and_what_only_some_blocks_have(tmp_path):
    whole = open_model(f"hf:{tiny_models.llama(tmp_path / 'llama')}")
    for changes in (Changes(insert=(0, 2)), Changes(widen=1.5), Changes(length=100)):
        new, report = reshape(whole, changes)
        adds_up(report, new)
        assert report.difference < 1e-5
        same(whole, new)
    with pytest.raises(SourceError, match="has a decoder, too"):
        reshape(open_model(f"hf:{tiny_models.t5(tmp_path / 't5')}"))


# -- width -------------------------------------------------------------------------------------------------------------


def test_copies_share_what_goes_out():
    torch.manual_seed(0)
    first, second = torch.nn.Linear(3, 4), torch.nn.Linear(4, 2)
    x = torch.randn(5, 3)
    for wide in (4, 6, 9):
        up = widened(first.weight, 0, wide)
        bias = widened(first.bias, 0, wide)
        down = widened(second.weight, 1, wide, divide=True)
        out = torch.relu(x @ up.T + bias) @ down.T + second.bias
        torch.testing.assert_close(out, second(torch.relu(first(x))))
    units, down = copies(4, 8), widened(second.weight, 1, 8, divide=True)
    assert units.bincount().tolist() == [2, 2, 2, 2]
    assert not torch.allclose(down[:, 0], down[:, 1])  # training can tell copies apart
    assert torch.equal(widened(second.weight, 1, 4, divide=True), second.weight)
    assert input_axis(torch.nn.Embedding(3, 2), torch.zeros(3, 2)) is None


@pytest.mark.parametrize("factor", [1.5, 2])
def test_wider_networks_compute_the_same(bert, vit, factor):
    own = native("text", "transformer"), native("image", "patches")
    for backbone, examples in ((bert, TEXTS), (vit, pictures()), (own[0], TEXTS), (own[1], pictures())):
        new, report = reshape(backbone, Changes(widen=factor))
        adds_up(report, new)
        wide = [fate for fate in report.tensors if fate.what == "widened"]
        assert len(wide) == 3 * len(backbone.blocks())
        assert all(max(f.new_shape) == round(factor * max(f.old_shape)) for f in wide)
        copied(report, backbone, new)
        assert new.spec.hidden_size == backbone.spec.hidden_size
        assert report.difference < 1e-5
        same(backbone, new, examples)


@pytest.mark.parametrize(
    ("kind", "encoder"),
    [("text", "textcnn"), ("text", "mean"), ("text", "cnn"), ("text", "gru"), ("text", "lstm"), ("image", "resnet"),
     ("image", "vgg"), ("audio", "resnet"), ("table", "mlp")],
)  # fmt: skip
def test_all_channels_of_own_encoders(kind, encoder):
    backbone = native(kind, encoder)
    new, report = reshape(backbone, Changes(widen=3))
    adds_up(report, new)
    assert report.difference < 1e-5
    assert new.spec.hidden_size == 3 * backbone.spec.hidden_size
    assert report.counts()["widened"]["tensors"]
    with pytest.raises(UsageError, match=r"cannot be widened by 1.5; use a whole number"):
        reshape(backbone, Changes(widen=1.5))


# -- inputs ------------------------------------------------------------------------------------------------------------


def test_grey_pictures_give_the_same(vit, tmp_path):
    own = [native("image", encoder) for encoder in ("resnet", "patches", "vgg")]
    for number, backbone in enumerate([vit, *own]):
        new, report = reshape(backbone, Changes(channels=1))
        adds_up(report, new)
        copied(report, backbone, new)
        assert 1 <= report.counts()["resized"]["tensors"] <= 2
        same(backbone, new, pictures(grey=True))
        assert len(next(iter(new.collate(new.preprocess(pictures())).values()))[0]) == 1
        save_reshaped(new, report, tmp_path / f"grey{number}")
        opened = open_model(f"file:{tmp_path / f'grey{number}'}")
        assert np.array_equal(features(opened, pictures()), features(new, pictures()))
        back, report = reshape(opened, Changes(channels=3))
        assert report.difference < 1e-5
        same(backbone, back, pictures(grey=True))
        assert reshape(backbone, Changes(channels=3))[0].fingerprint() == backbone.fingerprint()


def test_a_batchnorm_takes_up_the_means_of_the_channels(tmp_path):
    resnet = open_model(f"hf:{tiny_models.image(tmp_path / 'resnet', 'resnet')}")
    new, report = reshape(resnet, Changes(channels=1))
    assert "model.embedder.embedder.normalization.running_mean" in [
        f.name for f in report.tensors if f.what == "resized"
    ]
    assert report.difference < 0.2  # edges, where a convolution reads zeros
    assert report.notes
    inside = [b.model.embedder(b.collate(b.preprocess(pictures(grey=True)))["pixel_values"]) for b in (resnet, new)]
    torch.testing.assert_close(inside[0][:, :, 4:-4, 4:-4], inside[1][:, :, 4:-4, 4:-4], rtol=0, atol=1e-5)


def kin(folder, kind):
    """A relative of ViT: CLIP's has no bias in its first layer, DINOv2 names its blocks as stages."""
    facts = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
    torch.manual_seed(0)
    made = {
        "clip": lambda: transformers.CLIPVisionModel(transformers.CLIPVisionConfig(intermediate_size=32, **facts)),
        "dinov2": lambda: transformers.Dinov2Model(transformers.Dinov2Config(**facts)),
    }[kind]()
    tiny_models.image(folder, "vit")  # its way to read pictures
    with quiet():
        made.save_pretrained(folder)
    return open_model(f"hf:{folder}")


def test_relatives(tmp_path):
    clip, dino = (kin(tmp_path / kind, kind) for kind in ("clip", "dinov2"))
    new, report = reshape(clip, Changes(channels=1))
    assert "model.embeddings.position_embedding.weight" in [f.name for f in report.tensors if f.what == "resized"]
    same(clip, new, pictures(grey=True))
    for changes in (Changes(remove=(0,)), Changes(insert=(2,)), Changes(widen=1.5)):
        new, report = reshape(dino, changes)
        adds_up(report, new)
        save_reshaped(new, report, tmp_path / "made")
        assert open_model(f"file:{tmp_path / 'made'}").fingerprint() == new.fingerprint()


def test_weights_on_brightness_are_kept():
    weight = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(to_channels(weight, 1)[:, 0], weight.sum(1))
    torch.testing.assert_close(to_channels(to_channels(weight, 1), 3).sum(1), weight.sum(1))
    flat = to_channels(weight.flatten(1), 1, per=4)  # patches, channel by channel
    torch.testing.assert_close(flat, weight.sum(1).flatten(1))


def test_positions_of_pictures(vit):
    name = "model.embeddings.position_embeddings"
    old = vit.state_dict()[name]
    same_size, report = reshape(vit, Changes(size=32))
    assert same_size.fingerprint() == vit.fingerprint()
    assert report.difference == 0
    new, report = reshape(vit, Changes(size=64))
    adds_up(report, new)
    table = new.state_dict()[name]
    assert table.shape == (1, 65, 16)
    assert torch.equal(table[:, 0], old[:, 0])  # the class token has no place
    assert [f.how for f in report.tensors if f.what == "resized"] == ["4 × 4 patches made 8 × 8, bicubic"]
    assert new.collate(new.preprocess(pictures()))["pixel_values"].shape == (3, 3, 64, 64)
    assert np.isfinite(features(new, pictures())).all()
    torch.testing.assert_close(on_grid(old, 4, 4), old)
    constant = torch.full((17, 3), 2.0)
    torch.testing.assert_close(on_grid(constant, 4, 7), torch.full((50, 3), 2.0))
    assert on_grid(old, 5, 7) is None


def test_pictures_of_another_size_in_own_encoders(tmp_path):
    for encoder in ("resnet", "patches", "vgg"):
        new, report = reshape(native("image", encoder), Changes(size=24))
        assert new.collate(new.preprocess(pictures()))["pixel_values"].shape[2:] == (24, 24)
        assert {fate.what for fate in report.tensors} == {"copied"}
        save_reshaped(new, report, tmp_path / encoder)
        assert np.array_equal(features(open_model(f"file:{tmp_path / encoder}"), pictures()), features(new, pictures()))


@pytest.mark.parametrize("length", [16, 64, 150, 600])
def test_length_of_texts(bert, length, tmp_path):
    new, report = reshape(bert, Changes(length=length))
    adds_up(report, new)
    name = "model.embeddings.position_embeddings.weight"
    old, table = bert.state_dict()[name], new.state_dict()[name]
    assert torch.equal(table, old[torch.arange(length) % 64])
    same(bert, new)
    assert report.difference == 0
    (fate,) = [fate for fate in report.tensors if fate.name == name]
    words = {16: "cut to the first 16", 64: ""}.get(length, "position p starts as p mod 64")
    assert (fate.what, fate.how) == ("copied" if length == 64 else "resized", words)
    save_reshaped(new, report, tmp_path / "made")
    opened = open_model(f"file:{tmp_path / 'made'}")
    long = ["card " * 700]
    assert len(opened.preprocess(long)[0]) == new.longest == length
    assert np.array_equal(features(opened, long), features(new, long))


def test_positions_that_begin_behind_the_padding():
    table = torch.arange(6.0)[:, None]
    assert on_line(table, 9, 2, 2)[0][:, 0].tolist() == [0, 1, 2, 3, 4, 5, 2, 3, 4]
    assert on_line(table, 4, 2, 2)[0][:, 0].tolist() == [0, 1, 2, 3]
    assert on_line(table, 6, 2, 4)[0][:, 0].tolist() == [0, 1, 2, 2, 2, 3]
    assert on_line(table, 5, 2, 1)[0][:, 0].tolist() == [0, 2, 3, 4, 5]


def test_length_of_own_encoders():
    whole = native("text", "lstm")
    new, _ = reshape(whole, Changes(length=5))
    assert len(new.preprocess(["where is the parcel that was lost"])[0]) == 5
    same(whole, new, ["a parcel"] * 3)


# -- vocabulary --------------------------------------------------------------------------------------------------------


def test_shared_tokens_keep_their_embeddings(tiny_bert, tmp_path):
    old = open_model(f"hf:{tiny_bert}")
    new, report = reshape(old, Changes(vocabulary=ROWS, tokens=60))
    adds_up(report, new)
    copied(report, old, new)
    before, after = (b.model.embeddings.word_embeddings.weight for b in (old, new))
    known, tokens = old.tokenizer.get_vocab(), new.tokenizer.get_vocab()
    assert len(after) == len(tokens) <= 60
    shared = [token for token in tokens if token in known]
    assert {"[PAD]", "[CLS]", "[SEP]", "lost", "##e"} <= set(shared)
    assert new.tokenizer.all_special_tokens == old.tokenizer.all_special_tokens
    for token in shared:
        assert torch.equal(after[tokens[token]], before[known[token]]), token
    mixed = [token for token in tokens if token not in known]
    assert mixed
    for token in mixed:
        pieces = old.tokenizer.backend_tokenizer.model.tokenize(token.removeprefix("##"))
        rows = [piece.id for piece in pieces]
        if token.startswith("##"):
            rows[0] = known["##" + pieces[0].value]
        torch.testing.assert_close(after[tokens[token]], before[rows].mean(0))
    (fate,) = [fate for fate in report.tensors if fate.what == "resized"]
    assert fate.how == f"of {len(tokens)} tokens {len(shared)} known, {len(mixed)} from pieces, 0 drawn"
    words = ["lost", "is lost", "a lost e"]
    assert all(_whole(new, text) and _whole(old, text) for text in words)
    np.testing.assert_array_equal(features(new, words), features(old, words))
    save_reshaped(new, report, tmp_path / "made")
    opened = open_model(f"file:{tmp_path / 'made'}")
    assert np.array_equal(features(opened, ROWS), features(new, ROWS))
    assert old.tokenizer.get_vocab() == known


def _whole(backbone, text):
    return all(word in backbone.tokenizer.get_vocab() for word in text.split())


def test_a_tokenizer_of_another_kind(tmp_path):
    old = open_model(f"hf:{tiny_models.bert(tmp_path / 'one')}")
    other = open_model(f"hf:{tiny_models.llama(tmp_path / 'two')}").tokenizer
    new, report = reshape(old, Changes(vocabulary=other))
    assert new.tokenizer.get_vocab() == other.get_vocab()
    assert new.fingerprint() == old.fingerprint()  # the same pieces
    assert "0 drawn" in next(fate.how for fate in report.tensors if fate.what == "resized")


@pytest.mark.parametrize("unit", ["word", "subword", "character"])
def test_vocabulary_of_own_encoders(unit):
    made = native("text", "transformer")
    reader = TextReader.build(TEXTS * 5, unit=unit)
    old = type(made)("transformer", made.arguments | {"vocabulary": reader.vocabulary}, reader, made.spec).eval()
    new, report = reshape(old, Changes(vocabulary=ROWS))
    adds_up(report, new)
    assert unit_of(new.reader) == unit
    known, tokens = reader.tokenizer.get_vocab(), new.reader.tokenizer.get_vocab()
    before, after = (b.body.embedding.weight for b in (old, new))
    shared = set(known) & set(tokens)
    assert shared - {"[PAD]", "[UNK]", "[MASK]", "[START]", "[END]"}
    assert all(torch.equal(before[known[token]], after[tokens[token]]) for token in shared)
    assert "known" in next(fate.how for fate in report.tensors if fate.what == "resized")


def test_rows_that_nothing_is_known_of_are_drawn():
    table = torch.randn(200, 8, generator=torch.Generator().manual_seed(0)) * 3 + 1
    torch.manual_seed(1)
    made = from_rows(table, [np.array([4]), np.array([1, 2]), *[np.empty(0, np.int64)] * 500])
    assert torch.equal(made[0], table[4])
    torch.testing.assert_close(made[1], table[1:3].mean(0))
    torch.testing.assert_close(made[2:].mean(0), table.mean(0), atol=0.5, rtol=0)
    torch.testing.assert_close(made[2:].std(0), table.std(0), atol=0.4, rtol=0)
    one, other = (TextReader.build(rows, unit="word").tokenizer for rows in (["a b"] * 3, ["b c"] * 3))
    rows, words = origins(one, other)
    assert words == "of 7 tokens 6 known, 0 from pieces, 1 drawn"
    assert sum(len(row) == 0 for row in rows) == 1


# -- the report and the disk -------------------------------------------------------------------------------------------


def test_several_changes_at_once(bert, tmp_path):
    changes = Changes(remove=(3,), insert=(0,), widen=1.25, length=80, vocabulary=ROWS, tokens=50)
    new, report = reshape(bert, changes, seed=5)
    adds_up(report, new)
    copied(report, bert, new)
    assert all(count["tensors"] for count in report.counts().values())
    assert (len(new.blocks()), new.model.config.intermediate_size, new.longest) == (4, 40, 80)
    again, same_report = reshape(bert, changes, seed=5)
    assert (again.fingerprint(), same_report) == (new.fingerprint(), report)
    save_reshaped(new, report, tmp_path / "made")
    assert read_report(tmp_path / "made") == report
    facts = json.loads((tmp_path / "made" / "reshape.json").read_text())
    assert facts["summary"] == report.summary()
    assert facts["changes"]["vocabulary"] == len(ROWS)
    opened = open_model(f"file:{tmp_path / 'made'}")
    assert opened.fingerprint() == new.fingerprint()
    assert np.array_equal(features(opened), features(new))
    assert opened.spec.parameters == new.spec.parameters
    pattern, many, _ = next(group for group in report.groups() if "word_embeddings" in group[0])
    assert (pattern, many) == ("model.embeddings.word_embeddings.weight", 1)
    assert any(many == 3 and ".*." in pattern for pattern, many, _ in report.groups())
    with pytest.raises(SourceError, match="holds no reshape"):
        read_report(tmp_path)
    (tmp_path / "made" / "reshape.json").write_text("{")
    with pytest.raises(SourceError, match="damaged"):
        read_report(tmp_path / "made")


def test_plan():
    assert block_plan(Changes(order=(2, 2), insert=(2,)), 3, "x") == ((2, True), (2, False)) * 2


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (Changes(remove=(9,)), "bert has no block 9; it has 4 blocks, 0 to 3"),
        (Changes(order=(0, -1)), "no block -1"),
        (Changes(insert=(4,)), "no block 4"),
        (Changes(remove=(0, 1, 2, 3)), "no block of bert would be left"),
        (Changes(order=()), "no block of bert would be left"),
        (Changes(remove=(1,), insert=(1,)), "no block can follow block 1: it is not kept"),
        (Changes(remove=(1,), order=(0,)), "remove and order both say which blocks stay"),
        (Changes(widen=0), "cannot be widened by 0; use a factor above 1"),
        (Changes(widen=float("nan")), "cannot be widened by nan"),
        (Changes(channels=1), "bert cannot change its channels; it can change its blocks, width, length of texts"),
        (Changes(channels=4), "pictures have no 4 channels"),
        (Changes(size=64), "bert cannot change its size of pictures"),
        (Changes(length=1), "a length of 1 is too small; use 4 or more"),
        (Changes(vocabulary=[]), "learned from rows of texts, not no rows"),
        (Changes(vocabulary="file.txt"), "learned from rows of texts, not a str"),
        (Changes(vocabulary=[3]), "learned from texts, not from a int"),
        (Changes(vocabulary=[" "]), "no vocabulary can be learned from these rows"),
        (Changes(tokens=9), "tokens without a vocabulary"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(bert, changes, line):
    with pytest.raises(UsageError) as caught:
        reshape(bert, changes)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_a_network_cannot_do_is_refused_with_what_it_can(vit):
    mlp, textcnn, vgg = native("table", "mlp"), native("text", "textcnn"), native("image", "vgg")
    for backbone, changes, line in (
        (vit, Changes(length=9), "can change its blocks, width, channels, size of pictures"),
        (vit, Changes(size=30), "its patches have 8: use a multiple of it"),
        (
            textcnn,
            Changes(remove=(0,)),
            "cannot change its blocks; it can change its width, length of texts, vocabulary",
        ),
        (mlp, Changes(remove=(0,)), "does not fit in the place of"),
        (mlp, Changes(vocabulary=ROWS), "it can change its blocks, width"),
        (vgg, Changes(size=20), "takes multiples of 8"),
    ):
        with pytest.raises(GraftError) as caught:
            reshape(backbone, changes)
        assert line in str(caught.value), str(caught.value)
