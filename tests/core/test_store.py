"""The cache: whole entries or none, damage noticed, size kept."""

from __future__ import annotations

import errno
import multiprocessing
import os
import time

import numpy as np
import pytest

from graft.core import store as module
from graft.core.errors import OutputError
from graft.core.store import MANIFEST, Store


def fill(store, key, value=1.0, rows=10, kind="features"):
    with store.create(key, kind=kind) as draft:
        draft.array("values", (rows, 4), "float16")[:] = value
        draft.meta = {"sizes": [4]}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "cache")


def test_an_entry_is_read_back_memory_mapped_and_read_only(store):
    fill(store, "k1", 2.0)
    entry = store.open("k1")
    values = entry.array("values")
    assert isinstance(values, np.memmap)
    assert (values == 2).all()
    assert entry.meta == {"sizes": [4]}
    with pytest.raises(ValueError, match="read-only"):
        values[0] = 1


def test_an_absent_key_is_none(store):
    assert store.open("k1") is None
    assert store.entries() == []
    assert store.size() == 0


def test_nothing_appears_when_the_block_raises(store):
    with pytest.raises(OutputError), store.create("k1") as draft:
        draft.array("values", (3,), object)
    with pytest.raises(ZeroDivisionError), store.create("k1") as draft:
        draft.array("values", (3 // 0,), "float32")
    assert store.open("k1") is None
    assert list((store.folder / "entries").iterdir()) == []


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "manifest", "no manifest"])
def test_a_damaged_entry_is_dropped_and_can_be_made_again(store, damage):
    fill(store, "k1")
    file = store.folder / "entries" / "k1" / "values.npy"
    manifest = file.with_name(MANIFEST)
    if damage == "flip":
        data = bytearray(file.read_bytes())
        data[-1] ^= 255
        file.write_bytes(data)
    elif damage == "cut":
        os.truncate(file, 100)
    elif damage == "remove":
        file.unlink()
    elif damage == "manifest":
        manifest.write_text('{"files": ')
    else:
        manifest.unlink()
    assert store.open("k1") is None
    assert not file.parent.exists()
    fill(store, "k1", 3.0)
    assert (store.open("k1").array("values") == 3).all()


def test_verify_finds_a_flipped_byte_that_opening_does_not_sample(store):
    fill(store, "big", rows=2_000_000)  # 16 MB: sixteen blocks of 64 KiB do not cover it
    file = store.folder / "entries" / "big" / "values.npy"
    with file.open("r+b") as handle:
        handle.seek(700_000)
        handle.write(b"\xff")
    assert store.open("big") is not None
    assert store.verify() == ["big"]
    assert store.open("big") is None


def test_the_least_recently_used_entries_go(tmp_path):
    store = Store(tmp_path, max_bytes=3 * 300)
    for number, key in enumerate(["a", "b", "c"]):
        fill(store, key, rows=10)  # 80 bytes of values and a header of 128
        os.utime(tmp_path / "entries" / key / MANIFEST, (number + 1, number + 1))
    assert store.open("a") is not None  # now the latest
    fill(store, "d")
    fill(store, "e")
    assert [facts.key for facts in store.entries()] == ["c", "a", "d", "e"][-len(store.entries()) :]
    assert store.open("b") is None
    assert store.size() <= 3 * 300


def test_an_entry_larger_than_the_cache_stays_until_the_next_one(tmp_path):
    store = Store(tmp_path, max_bytes=10)
    fill(store, "a")
    assert store.open("a") is not None
    fill(store, "b")
    assert store.open("a") is None


def test_clear_by_kind(store):
    fill(store, "a", kind="features")
    fill(store, "b", kind="digest")
    assert store.clear("digest") > 0
    assert [facts.kind for facts in store.entries()] == ["features"]
    store.clear()
    assert store.entries() == []


@pytest.mark.parametrize("key", ["../x", "a/b", "", ".hidden"])
def test_a_key_cannot_leave_the_folder(store, key):
    with pytest.raises(OutputError, match="cannot be a key"):
        store.open(key)


def test_objects_and_other_files_are_refused(store):
    with pytest.raises(OutputError, match="Python objects"), store.create("k") as draft:
        draft.array("values", (2,), object)
    with pytest.raises(OutputError, match="cannot be a file"), store.create("k") as draft:
        (draft.folder / "model.pkl").write_bytes(b"")
    assert store.entries() == []


def test_a_full_disk_is_one_line(store):
    with pytest.raises(OutputError, match="the disk is full") as caught, store.create("k") as draft:
        draft.array("values", (10**13,), "float64")
    assert "\n" not in str(caught.value)
    assert list((store.folder / "entries").iterdir()) == []


def test_errors_of_the_disk_are_one_line(tmp_path):
    with pytest.raises(OutputError, match="disk is full"), module.writing(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"), Store(tmp_path / "file").create("k"):
        pass


def test_the_second_writer_of_a_key_loses_gracefully(store):
    with store.create("k") as first:
        first.array("values", (1,), "float32")[:] = 1
        fill(store, "k", 2.0, rows=1)
    assert (store.open("k").array("values") == 2).all()
    assert [path.name for path in (store.folder / "entries").iterdir()] == ["k"]


def _hold(folder, ready, go):
    with Store(folder).lock("k") as got:
        assert got
        ready.set()
        go.wait(10)


def test_the_lock_keeps_a_second_process_out_and_dies_with_its_owner(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, go = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path, ready, go))
    other.start()
    assert ready.wait(20)
    with Store(tmp_path).lock("k", wait=0.1) as got:
        assert not got
    other.kill()
    other.join()
    with Store(tmp_path).lock("k", wait=5) as got:
        assert got


def test_remember_and_recall(store):
    assert store.recall("k") is None
    store.remember("k", {"sha256": "ab"}, kind="digest")
    assert store.recall("k") == {"sha256": "ab"}


def test_remembering_in_a_folder_that_cannot_be_written_is_forgotten(tmp_path):
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file")
    store.remember("k", {}, kind="digest")
    assert store.recall("k") is None


def test_drafts_of_dead_processes_are_removed(store):
    fill(store, "a")
    stale = store.folder / "entries" / ".123-old"
    stale.mkdir()
    long_ago = time.time() - 3 * 24 * 3600
    os.utime(stale, (long_ago, long_ago))
    store.trim()
    assert not stale.exists()


def test_folder_and_size_come_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "there"))
    monkeypatch.setenv("GRAFT_CACHE_SIZE", "5MB")
    assert Store().folder == tmp_path / "there"
    assert Store().max_bytes == 5_000_000
