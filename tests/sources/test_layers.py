import torch

from graft.sources.base import open_model


def test_attention_is_written_out_only_while_training(tiny_bert):
    backbone = open_model(f"hf:{tiny_bert}")
    kind = lambda: backbone.model.config._attn_implementation  # noqa: E731
    batch = backbone.collate(backbone.preprocess(["one two", "three"]))
    with torch.inference_mode():
        before = backbone(batch)
    assert kind() == "sdpa"
    assert backbone.train() is backbone
    assert kind() == "eager"
    backbone.eval()
    assert kind() == "sdpa"
    with torch.inference_mode():
        assert torch.equal(backbone(batch), before)
