import pytest
import torch

from graft.core.errors import UsageError
from graft.nn.averaging import average_weights, sharing


def network(value, frozen=0.1):
    return {"w": torch.full((2, 3), value), "frozen": torch.full((2,), frozen), "steps": torch.tensor(int(value))}


def test_what_differs_is_averaged_and_the_rest_stays_as_it_is():
    networks = [network(1.0), network(2.0), network(6.0)]
    averaged = average_weights(networks)
    assert torch.equal(averaged["w"], torch.full((2, 3), 3.0))
    assert torch.equal(averaged["frozen"], networks[0]["frozen"])  # the mean of three times 0.1 is not 0.1
    assert averaged["steps"] == 1
    assert torch.equal(average_weights(networks[:1])["w"], networks[0]["w"])


def test_networks_of_other_shapes_are_refused():
    other = network(2.0) | {"w": torch.zeros(3, 3)}
    with pytest.raises(UsageError, match="networks of other shapes cannot be averaged: w differs; members must be"):
        average_weights([network(1.0), other])
    less = {"w": torch.zeros(2, 3)}
    with pytest.raises(UsageError, match="frozen differs"):
        average_weights([network(1.0), less])


def test_equal_tensors_are_kept_once():
    first, second = network(1.0), network(2.0)
    shared = sharing(second, first)
    assert shared["frozen"] is first["frozen"]
    assert shared["w"] is second["w"]
