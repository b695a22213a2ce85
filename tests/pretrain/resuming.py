"""A training that is killed and taken up again, beside one that is not."""

import pytest

from graft.engine import callbacks


class KilledError(Exception):
    """The machine went down."""


def straight_and_resumed(make, data, folder, *, saved=7, killed=9):
    """Two fitted objectives: one trained in one go, one killed after a checkpoint and fitted again."""
    straight = make().fit(data, work=folder / "straight")
    step = callbacks.Checkpoint.on_step

    def die(self, state):
        if state.step == saved:
            self.save(state)
        if state.step == killed:
            raise KilledError
        return step(self, state)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(callbacks.Checkpoint, "on_step", die)
        with pytest.raises(KilledError):
            make().fit(data, work=folder / "resumed")
    assert (folder / "resumed" / "training.safetensors").exists()
    return straight, make().fit(data, work=folder / "resumed")


def same_bytes(one, two, folder, *, names=("model.safetensors",)):
    """Whether two objectives save the same files."""
    for made, name in ((one, "one"), (two, "two")):
        made.save(folder / name)
    return all((folder / "one" / name).read_bytes() == (folder / "two" / name).read_bytes() for name in names)
