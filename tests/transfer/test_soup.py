import numpy as np
import pytest
import torch

from graft.core.errors import UsageError
from graft.core.runtime import Clock
from graft.data.load import load
from graft.data.splits import holdout
from graft.sources.base import open_model
from graft.testing import toy_data, toy_sources
from graft.transfer.base import Setting, load_transfer
from graft.transfer.finetune import Finetune
from graft.transfer.soup import Soup

SMALL = {"epochs": 2, "batch_size": 8}


def weights(transfer):
    return {name: tensor.clone() for name, tensor in transfer.backbone_.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def members(source, data, lrs, seed=0):
    return [Finetune(source, lr=lr, seed=seed + i, **SMALL).fit(data) for i, lr in enumerate(lrs)]


def test_a_uniform_soup_is_the_mean_of_fine_tunings_of_all_rows(tiny_bert, texts):
    data, lrs = load(texts), (1e-3, 3e-3)
    soup = Soup(f"hf:{tiny_bert}", members=3, lrs=lrs, choose="uniform", **SMALL).fit(data)
    each = members(f"hf:{tiny_bert}", data, (1e-3, 3e-3, 1e-3))
    start = open_model(f"hf:{tiny_bert}").state_dict()
    for name, tensor in weights(soup).items():
        parts = torch.stack([weights(one)[name].double() for one in each])
        torch.testing.assert_close(tensor.double(), parts.mean(0), rtol=1e-6, atol=1e-7)
        if all(torch.equal(weights(one)[name], start[name]) for one in each):
            assert torch.equal(tensor, start[name])  # frozen weights stay byte for byte
    np.testing.assert_allclose(soup.head_.coef, np.mean([one.head_.coef for one in each], 0), rtol=1e-9)
    assert [(facts["lr"], facts["seed"], facts["taken"]) for facts in soup.members_] == [
        (1e-3, 0, True), (3e-3, 1, True), (1e-3, 2, True)
    ]  # fmt: skip
    assert soup.curve_
    ready = Soup.of(each)
    assert same(weights(ready), weights(soup))
    assert np.array_equal(ready.outputs(data), soup.outputs(data))


def test_a_greedy_soup_takes_what_does_not_make_it_worse(tiny_bert, texts):
    labels = np.array(texts[1])
    labels[5::7] = "good"  # no member is right everywhere
    data, lrs = load((texts[0], labels.tolist())), (3e-3, 0.3, 1e-3)
    soup = Soup(f"hf:{tiny_bert}", lrs=lrs, seed=4, **SMALL).fit(data)
    assert data.y[0] == 0  # classes in the order in which they come: the split is that of the data
    train, held = data.split(*holdout(data, test=0.2, seed=4))
    each = members(f"hf:{tiny_bert}", train, lrs, seed=4)

    def worth(chosen):
        one = Soup.of([each[i] for i in chosen]) if len(chosen) > 1 else each[chosen[0]]
        outputs = one.outputs(held)
        right = float(np.mean(outputs.argmax(1) == held.y))
        return right, float(np.mean(np.log(outputs[np.arange(len(held)), held.y].clip(1e-12))))

    scores = [worth([i]) for i in range(3)]
    order = sorted(range(3), key=lambda i: scores[i], reverse=True)
    chosen, best = order[:1], scores[order[0]]
    for i in order[1:]:
        if worth([*chosen, i]) >= best:
            chosen, best = [*chosen, i], worth([*chosen, i])
    assert [facts["score"] for facts in soup.members_] == pytest.approx([score for score, _ in scores])
    assert [facts["taken"] for facts in soup.members_] == [i in chosen for i in range(3)]
    wanted = Soup.of([each[i] for i in chosen])
    for name, tensor in weights(soup).items():
        torch.testing.assert_close(tensor, weights(wanted)[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["imbalanced", "regression"])
def test_it_is_saved_as_one_network(kind, tmp_path):
    data = toy_data(kind)
    soup = Soup(toy_sources(data)[0], members=2, lrs=(3e-3, 1e-3), **SMALL).fit(data)
    soup.save(tmp_path / "run")
    opened = load_transfer(tmp_path / "run")
    assert np.array_equal(opened.outputs(data), soup.outputs(data))
    assert opened.members_ == soup.members_
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"model.json", "model.safetensors", "source"}
    assert sum(p.numel() for p in soup.backbone_.parameters()) == sum(
        p.numel() for p in toy_sources(data)[0].parameters()
    )


def test_the_rows_held_out_do_not_depend_on_the_names_of_the_classes():
    texts = [f"row {i}" for i in range(40)]
    y = np.random.default_rng(0).integers(0, 3, 40)
    parts = [Soup()._parts(load((texts, np.array(list(names))[y].tolist())))[1].take() for names in ("abc", "cab")]
    assert parts[0] == parts[1]
    assert 7 <= len(parts[0]) <= 9


def test_too_few_rows_to_hold_any_out_take_all_members(tiny_bert):
    data = load((["a parcel", "a card", "my order"], ["x", "y", "x"]))
    soup = Soup(f"hf:{tiny_bert}", members=2, **SMALL).fit(data)
    assert [facts["score"] for facts in soup.members_] == [None, None]


def test_a_killed_soup_goes_on_and_trains_no_member_twice(tiny_bert, texts, tmp_path, monkeypatch):
    from graft.engine.callbacks import Checkpoint

    data, path = load(texts), tmp_path / "inside" / "state"
    make = lambda: Soup(f"hf:{tiny_bert}", lrs=(3e-3, 1e-3), **SMALL)  # noqa: E731
    straight = make().fit(data)
    fits, steps = [], []
    original = Finetune.fit
    monkeypatch.setattr(Finetune, "fit", lambda self, *a, **k: (fits.append(self.seed), original(self, *a, **k))[1])

    def die(self, state):
        steps.append(state.step)
        if len(steps) == 20:  # the second member, in the middle
            self.save(state)
            raise KeyboardInterrupt
        return False

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "on_step", die)
        with pytest.raises(KeyboardInterrupt):
            make().fit(data, setting=Setting(checkpoint=path))
    assert sorted(file.name for file in path.parent.iterdir()) == ["state.0.done", "state.1"]
    fits.clear()
    resumed = make().fit(data, setting=Setting(checkpoint=path))
    assert fits == [0, 1, 2]  # the soup itself has the seed 0; its first member was finished
    assert same(weights(straight), weights(resumed))
    assert resumed.curve_
    assert not list(path.parent.iterdir())


def test_what_other_settings_left_behind_is_not_used(tiny_bert, texts, tmp_path):
    data, path = load(texts), tmp_path / "state"
    plain = Soup(f"hf:{tiny_bert}", members=2, lrs=(3e-3,), **SMALL)
    wanted = weights(plain.fit(data))
    for name, content in (("state.0.done", b"broken"), ("state.1.done", b"")):
        (tmp_path / name).write_bytes(content)
    assert same(weights(plain.fit(data, setting=Setting(checkpoint=path))), wanted)


def test_without_time_there_is_one_member(tiny_bert, texts):
    soup = Soup(f"hf:{tiny_bert}", **SMALL).fit(load(texts), setting=Setting(clock=Clock(0.0)))
    assert len(soup.members_) == 1
    assert soup.stopped_


def test_networks_of_other_shapes_and_tasks_are_refused(tiny_bert, texts):
    data = toy_data("table")
    one, other = (Finetune(toy_sources(data)[0], epochs=1).fit(data) for _ in range(2))
    other.backbone_.body.layers[0][0].weight = torch.nn.Parameter(torch.zeros(7, 4))
    with pytest.raises(UsageError, match=r"networks of other shapes .* averaged: body\.layers\.0\.0\.weight differs"):
        Soup.of([one, other])
    text = Finetune(f"hf:{tiny_bert}", epochs=1).fit(*texts)
    with pytest.raises(UsageError, match="must have learned the same task"):
        Soup.of([one, text])
    with pytest.raises(UsageError, match="needs members"):
        Soup.of([])


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"choose": "best"}, "no choice 'best'; use greedy or uniform"),
        ({"members": 0}, "a soup of 0 members cannot be made; use 2 or more"),
        ({"lrs": ()}, "no rates in lrs"),
        ({"held_out": 1.0}, "a share of 1.0 cannot be held out"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, line):
    with pytest.raises(UsageError, match=line):
        Soup("hf:nowhere", **options).fit(toy_data("text"))
