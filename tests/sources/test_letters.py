"""Tiny random models that read DNA and proteins, as transformers writes them: each is fed as its tokenizer wants."""

import itertools

import numpy as np
import pytest
import torch
import transformers as tf
from sources.tiny_models import bert
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from graft.auto.sources import find_sources
from graft.core.errors import SourceError
from graft.data.letters import KNOWN
from graft.data.load import load
from graft.sources.base import describe_model, list_models, open_model
from graft.sources.letters import alphabet_of_vocabulary
from graft.sources.loading import quiet
from graft.testing import check_source, toy_data
from graft.transfer.probe import Probe

SMALL = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "num_hidden_layers": 2}
PROTEINS = ["MKTAYIAKQRQISFVKSHFSRQ", "GSHMLEDPVDAFK", "MKXLLAVVAA"]
GENES = ["ACGTTGCAAGCTTA", "ACGTNACG-GT", "GGCCGGTTAACC"]


def write(folder, words, model, tokenizer):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    with quiet():
        tokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
        model.save_pretrained(folder)
    return folder


def esm(folder, words):
    torch.manual_seed(0)
    config = tf.EsmConfig(
        vocab_size=len(words), pad_token_id=1, mask_token_id=2, position_embedding_type="rotary",
        max_position_embeddings=66, **SMALL,
    )  # fmt: skip
    return write(folder, words, tf.EsmModel(config), tf.EsmTokenizer)


def dna_bert(folder, words):
    torch.manual_seed(0)
    config = tf.BertConfig(vocab_size=len(words), max_position_embeddings=64, **SMALL)
    return write(folder, words, tf.BertModel(config), lambda path: tf.BertTokenizer(vocab=path, do_lower_case=False))


BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ESM = ["<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPKQNFYMHWCXBUZO", ".", "-", "<null_1>", "<mask>"]


def runs(k):
    return ["".join(run) for run in itertools.product("ACGT", repeat=k)]


@pytest.fixture(scope="module")
def models_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    esm(folder / "esm", ESM)
    esm(folder / "nucleotides", ["<unk>", "<pad>", "<mask>", "<cls>", *runs(3), *"ATCGN"])
    dna_bert(folder / "overlapping", [*BERT, *runs(3)])
    dna_bert(folder / "residues", [*BERT, *KNOWN["protein"], "X", "U", "B", "Z", "O"])
    pairs = folder / "pairs"
    made = Tokenizer(models.BPE(unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(
        vocab_size=40, special_tokens=BERT, initial_alphabet=list("ACGTN"), show_progress=False
    )
    made.train_from_iterator(["ACGTTGCAAGCTTAGCATCGGATCCTAGAA", "GATTACAGATTACATTAGGGTTAGGG"], trainer)
    torch.manual_seed(0)
    with quiet():
        tf.PreTrainedTokenizerFast(tokenizer_object=made, unk_token="[UNK]", pad_token="[PAD]").save_pretrained(pairs)
        tf.BertModel(
            tf.BertConfig(vocab_size=made.get_vocab_size(), max_position_embeddings=64, **SMALL)
        ).save_pretrained(pairs)
    bert(folder / "words")
    return folder


def tokens(backbone, row):
    ids = backbone.preprocess([row])[0]
    return backbone.tokenizer.convert_ids_to_tokens(ids.tolist())


@pytest.mark.parametrize(
    ("name", "form", "row", "expected"),
    [
        ("esm", "plain", "MKX-L", ["<cls>", "M", "K", "X", "L", "<eos>"]),
        ("nucleotides", "plain", "ACGTNACGG", ["<cls>", "ACG", "T", "N", "ACG", "G"]),
        ("overlapping", "runs", "ACGTA", ["[CLS]", "ACG", "CGT", "GTA", "[SEP]"]),
        ("residues", "letters", "MKX", ["[CLS]", "M", "K", "X", "[SEP]"]),
    ],
)
def test_letters_are_given_as_the_tokenizer_wants(models_folder, name, form, row, expected):
    backbone = open_model(f"hf:{models_folder / name}")
    assert backbone.spec.modality == "sequence"
    assert backbone.form == form
    assert tokens(backbone, row) == expected
    examples = PROTEINS if backbone.alphabet == "protein" else GENES
    check_source(backbone, examples)


def test_byte_pairs_are_left_to_their_tokenizer(models_folder):
    backbone = open_model(f"hf:{models_folder / 'pairs'}")
    assert (backbone.spec.modality, backbone.form) == ("sequence", "plain")
    assert "[UNK]" not in tokens(backbone, GENES[0])


def test_models_are_listed_by_what_they_read(models_folder):
    found = [
        spec.name for spec in list_models(modality="sequence", folders=(str(models_folder),)) if "models" in spec.path
    ]
    assert sorted(found) == ["esm", "nucleotides", "overlapping", "pairs", "residues"]
    assert describe_model(f"hf:{models_folder / 'words'}").modality == "text"
    assert [spec.modality for spec in find_sources("sequence", [f"hf:{models_folder / 'words'}"])] == ["text"]
    with pytest.raises(SourceError, match="reads sequence, the data are text"):
        find_sources("text", [f"hf:{models_folder / 'esm'}"])


def test_coverage_says_when_letters_are_of_another_kind(models_folder):
    assert open_model(f"hf:{models_folder / 'esm'}").coverage(PROTEINS).ok
    bad = open_model(f"hf:{models_folder / 'nucleotides'}").coverage(PROTEINS)
    assert not bad.ok
    assert "covers the letters of only 0% of the rows" in bad.reason


def test_vocabularies_of_words_are_no_letters():
    assert alphabet_of_vocabulary({"the": 0, "A": 1, "C": 2, "##g": 3}) == ""
    assert alphabet_of_vocabulary({}) == ""
    assert alphabet_of_vocabulary({piece: i for i, piece in enumerate(ESM)}) == "protein"


@pytest.mark.parametrize("name", ["esm", "overlapping"])
def test_a_probe_learns_from_them(models_folder, name):
    data = toy_data("sequence")
    fitted = Probe(f"hf:{models_folder / name}").fit(data)
    assert np.mean(fitted.predict(data) == data.labels) > 0.8


def test_rna_is_given_to_models_of_dna_as_t(models_folder):
    data = load((["ACGUACGUACGUACGUACGUA", "UUUUACGUACGUACGUACGUA"], ["a", "b"]))
    backbone = open_model(f"hf:{models_folder / 'overlapping'}")
    assert "[UNK]" not in tokens(backbone, data.take()[1])
