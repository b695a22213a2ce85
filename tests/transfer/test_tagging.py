"""Transfers on sentences: the contracts, long sentences, and what each way is good for."""

import numpy as np
import pytest

from graft.core.errors import UsageError
from graft.core.ragged import flat, lengths, ragged
from graft.core.registry import TRANSFERS
from graft.data.load import load
from graft.evaluate.metrics import score
from graft.testing import check_transfer, toy_data, toy_sources
from graft.transfer.base import load_transfer
from graft.transfer.finetune import Finetune
from graft.transfer.majority import Majority
from graft.transfer.probe import Probe
from graft.transfer.scratch import Scratch

DATA = toy_data("tagging")


def test_a_crf_keeps_the_contract(tiny_bert):
    check_transfer("finetune", DATA, source=f"hf:{tiny_bert}", epochs=2, batch_size=16, crf=True)


def test_what_announces_a_name_is_learned_from_scratch():
    fitted = Scratch(epochs=12, batch_size=8, lr=5e-3).fit(DATA)
    assert score(DATA.task, DATA.y, fitted.outputs(DATA)) > 0.95
    assert fitted.backbone_.spec.architecture == "bilstm"


def test_the_classical_tagger_learns_it_too_and_majority_knows_only_words(tmp_path):
    fitted = TRANSFERS["classical"]().fit(DATA)
    assert score(DATA.task, DATA.y, fitted.outputs(DATA)) > 0.95
    new = load(([["in", "Accra", "by", "Mary", "Shelley"]], [["O", "B-LOC", "O", "B-PER", "I-PER"]]), like=DATA)
    assert fitted.predict(new)[0] == ["O", "B-LOC", "O", "B-PER", "I-PER"]
    majority = Majority().fit(DATA)
    assert majority.predict(new)[0] == ["O"] * 5
    assert majority.predict([["Oslo", "by", "Ada", "Byron"]])[0] == ["B-LOC", "O", "B-PER", "I-PER"]
    assert load_transfer(majority.save(tmp_path)).predict(["Oslo"])[0] == ["B-LOC"]


def test_predictions_are_valid_sequences():
    fitted = Majority().fit(load(([["a", "b", "c"]] * 4, [["B-X", "I-X", "O"]] * 4)))
    assert fitted.predict([["b", "c", "a", "b"]])[0] == ["O", "O", "B-X", "I-X"]


def test_a_sentence_longer_than_the_network_reads_is_read_in_windows(tiny_bert):
    words = [f"{'in' if n % 2 else 'Oslo'}" for n in range(10_000)]
    probe = Probe(f"hf:{tiny_bert}").fit(DATA)
    outputs = probe.outputs([words, ["in", "Oslo"]])
    assert lengths(outputs).tolist() == [10_000, 2]
    assert np.isfinite(flat(outputs)).all()
    tuned = Finetune(f"hf:{tiny_bert}", epochs=1)
    tuned.fit(load(([words, *([["in", "Oslo"]] * 8)], [["O"] * 10_000, *([["O", "B-LOC"]] * 8)])))
    assert lengths(tuned.outputs([words]))[0] == 10_000


def test_ways_that_cannot_tag_say_so():
    for name in ("contrastive", "adapters", "soup", "bias"):
        with pytest.raises(UsageError, match="not tagging"):
            TRANSFERS[name](toy_sources(DATA)[0]).fit(DATA)
    with pytest.raises(UsageError, match="not for classification"):
        Finetune(toy_sources(toy_data("text"))[0], crf=True).fit(toy_data("text"))
    with pytest.raises(UsageError, match="focus"):
        Finetune(toy_sources(DATA)[0], focus=0.5).fit(DATA)


def test_word_vectors_under_a_bilstm():
    source = toy_sources(DATA)[1]
    fitted = TRANSFERS["word_vectors"](source, epochs=10, batch_size=8, lr=5e-3).fit(DATA)
    assert fitted.words_["known"] > 5
    assert score(DATA.task, DATA.y, fitted.outputs(DATA)) > 0.9


def test_rows_without_tags_are_passed_over():
    y = DATA.y.copy()
    y[0] = None
    import dataclasses

    fitted = Majority().fit(dataclasses.replace(DATA, y=y))
    assert fitted.outputs(DATA).shape == (len(DATA),)
    assert ragged([]).shape == (0,)
