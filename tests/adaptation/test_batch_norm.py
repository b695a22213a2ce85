"""Batch statistics of the target."""

import pytest
import torch
from adaptation.networks import accuracy, fitted, picture_domains
from adaptation.shifts import rotated

from graft.adaptation.networks import normalisations
from graft.core.errors import UsageError


def test_the_targets_statistics_are_all_that_changes():
    domains, y = picture_domains(0.6)
    plain, adapted = (fitted(name, domains, epochs=12, augment=False) for name in ("network", "batch_norm"))
    layers = {id(layer) for layer in normalisations(adapted.backbone_)}
    assert layers
    for key, one in plain.backbone_.state_dict().items():
        same = torch.equal(one, adapted.backbone_.state_dict()[key])
        assert same != ("running" in key) or "num_batches" in key, key
    assert accuracy(plain, domains.target, y) < 0.8
    assert accuracy(adapted, domains.target, y) > 0.9


def test_a_network_without_batch_normalisation_is_refused():
    with pytest.raises(UsageError, match="no batch normalisation to adapt"):
        fitted("batch_norm", rotated()[0])
