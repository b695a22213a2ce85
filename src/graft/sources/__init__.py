"""Pretrained models, one file per URI scheme."""
