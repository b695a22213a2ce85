"""Tiny random models, written to a folder as transformers writes them."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import transformers as tf

from graft.sources.loading import quiet

WORDS = [
    "where",
    "is",
    "my",
    "parcel",
    "card",
    "lost",
    "the",
    "a",
    "an",
    "i",
    "you",
    "want",
    "to",
    "cancel",
    "order",
    "refund",
    "please",
    "help",
    "good",
    "bad",
]
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz", ".", ",", "?", "中"]
PIECES += [word for word in WORDS if len(word) > 1] + ["##" + letter for letter in "abcdefghijklmnopqrstuvwxyz"]


def write_vocabulary(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    with quiet():
        tf.BertTokenizer(vocab=str(folder / "vocab.txt"), do_lower_case=True).save_pretrained(folder)


def bert(folder: Path, *, classes: list[str] | None = None, layers: int = 2, seed: int = 0, **options) -> Path:
    torch.manual_seed(seed)
    facts = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 64}
    facts |= {"num_hidden_layers": layers, "vocab_size": len(PIECES)} | options
    config = tf.BertConfig(**facts)
    if classes:
        config.id2label = dict(enumerate(classes))
        config.label2id = {name: i for i, name in enumerate(classes)}
        model = tf.BertForSequenceClassification(config)
    else:
        model = tf.BertModel(config)
    write_vocabulary(folder)
    with quiet():
        model.save_pretrained(folder)
    return folder


def sbert(
    folder: Path, *, pooling: str = "mean_tokens", dense: bool = False, normalise: bool = True, **options
) -> Path:
    bert(folder, **options)
    kinds = ["Transformer", "Pooling"] + ["Dense"] * dense + ["Normalize"] * normalise
    modules = [
        {"idx": i, "name": str(i), "path": f"{i}_{kind}" if i else "", "type": f"sentence_transformers.models.{kind}"}
        for i, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    for module in modules[1:]:
        (folder / module["path"]).mkdir()
    facts = {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": False, f"pooling_mode_{pooling}": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(facts))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 12, "do_lower_case": false}')
    if dense:
        import safetensors.torch as st

        settings = {
            "in_features": 16,
            "out_features": 5,
            "bias": True,
            "activation_function": "torch.nn.modules.activation.Tanh",
        }
        (folder / "2_Dense" / "config.json").write_text(json.dumps(settings))
        weights = {"linear.weight": torch.randn(5, 16), "linear.bias": torch.randn(5)}
        st.save_file(weights, folder / "2_Dense" / "model.safetensors")
    return folder


def llama(folder: Path) -> Path:
    torch.manual_seed(0)
    config = tf.LlamaConfig(
        hidden_size=16, num_attention_heads=2, num_key_value_heads=1, intermediate_size=32, num_hidden_layers=3,
        vocab_size=len(PIECES), max_position_embeddings=64, pad_token_id=None, bos_token_id=2, eos_token_id=3,
    )  # fmt: skip
    write_vocabulary(folder)
    with quiet():
        tf.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def t5(folder: Path) -> Path:
    torch.manual_seed(0)
    config = tf.T5Config(d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, vocab_size=len(PIECES))
    write_vocabulary(folder)
    with quiet():
        tf.T5Model(config).save_pretrained(folder)
    return folder


def image(folder: Path, kind: str, *, classes: list[str] | None = None) -> Path:
    torch.manual_seed(0)
    made = {
        "vit": lambda: (
            tf.ViTConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
                         image_size=32, patch_size=8),
            {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}, "resample": 2},
        ),
        "resnet": lambda: (
            tf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16, 24], depths=[1, 1, 2], layer_type="basic"),
            {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 32},
             "crop_pct": 0.875, "resample": 3},
        ),
        "convnext": lambda: (
            tf.ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2, image_size=32),
            {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 384}, "resample": 3},
        ),
        "mobilenet_v2": lambda: (
            tf.MobileNetV2Config(depth_multiplier=0.1, image_size=32, finegrained_output=True),
            {"image_processor_type": "MobileNetV2ImageProcessor", "size": {"shortest_edge": 36}, "do_center_crop": True,
             "crop_size": {"height": 32, "width": 32}, "resample": 2},
        ),
    }  # fmt: skip
    config, processor = made[kind]()
    if classes:
        config.id2label = dict(enumerate(classes))
        config.label2id = {name: i for i, name in enumerate(classes)}
    loader = tf.AutoModelForImageClassification if classes else tf.AutoModel
    with quiet():
        loader.from_config(config).save_pretrained(folder)
    processor |= {"do_resize": True, "do_rescale": True, "do_normalize": True}
    processor |= {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.6, 0.7]}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def clip(folder: Path, *, seed: int = 0) -> Path:
    """Both halves of CLIP, with BERT's tokenizer: [SEP] ends a caption."""
    torch.manual_seed(seed)
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = small | {"vocab_size": len(PIECES), "max_position_embeddings": 24, "eos_token_id": 3, "pad_token_id": 0}
    config = tf.CLIPConfig(
        text_config=text, vision_config=small | {"image_size": 32, "patch_size": 8}, projection_dim=12
    )
    write_vocabulary(folder)
    with quiet():
        tf.CLIPModel(config).save_pretrained(folder)
    facts = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 32}, "do_center_crop": True}
    facts |= {"crop_size": {"height": 32, "width": 32}, "resample": 3, "do_resize": True, "do_rescale": True}
    facts |= {"do_normalize": True, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.6, 0.7]}
    (folder / "preprocessor_config.json").write_text(json.dumps(facts))
    return folder


def audio(folder: Path, kind: str, **options) -> Path:
    """An encoder of waves (wav2vec2, hubert, wavlm), AST or Whisper, with its feature extractor."""
    torch.manual_seed(0)
    small = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
    waves = small | {
        "conv_dim": (8, 8), "conv_kernel": (40, 4), "conv_stride": (40, 4), "num_conv_pos_embeddings": 8,
        "num_feat_extract_layers": 2, "num_conv_pos_embedding_groups": 2, "max_bucket_distance": 20, "num_buckets": 8,
        "apply_spec_augment": True, "mask_time_length": 2, "layerdrop": 0.5,
    }  # fmt: skip
    extractor = tf.Wav2Vec2FeatureExtractor(sampling_rate=16_000, do_normalize=True)
    if kind == "audio-spectrogram-transformer":
        config: tf.PreTrainedConfig = tf.ASTConfig(**small, patch_size=8, frequency_stride=8, time_stride=8,
                                                   max_length=64, num_mel_bins=16)  # fmt: skip
        extractor = tf.ASTFeatureExtractor(num_mel_bins=16, max_length=64)
    elif kind == "whisper":
        config = tf.WhisperConfig(
            d_model=16, encoder_layers=3, encoder_attention_heads=2, encoder_ffn_dim=32, decoder_layers=1,
            decoder_attention_heads=2, decoder_ffn_dim=32, num_mel_bins=16, max_source_positions=50, vocab_size=40,
            max_target_positions=8, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
        )  # fmt: skip
        extractor = tf.WhisperFeatureExtractor(feature_size=16, chunk_length=1)
    else:
        config = tf.AutoConfig.for_model(kind, **(waves | options))
    with quiet():
        tf.AutoModel.from_config(config).save_pretrained(folder)
        extractor.save_pretrained(folder)
    return folder
