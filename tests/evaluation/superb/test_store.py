"""The store of hidden states: what is read back, what is thrown away, and when it is made anew."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import multiprocessing
import os
import shutil
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from speechssl.errors import UserError
from speechssl.evaluation.superb import disk
from speechssl.evaluation.superb import store as module
from speechssl.evaluation.superb.data import read_task
from speechssl.evaluation.superb.states import FreshStates, FrozenEncoder
from speechssl.evaluation.superb.store import StateStore, StoredStates
from speechssl.locks import Lock
from speechssl.models.hubert import HubertEncoder
from speechssl.models.load import load_encoder
from tests.evaluation.superb.conftest import write_task

CPU = torch.device("cpu")


@pytest.fixture
def frozen(encoder_dir: Path) -> FrozenEncoder:
    return FrozenEncoder(load_encoder(encoder_dir), "tiny", CPU, batch_seconds=2.0)


@pytest.fixture
def locks_of_nfs(monkeypatch):
    """A folder's lock keeps out nobody on another machine, and a file's needs that it is open for writing."""
    flock = fcntl.flock

    def lock(handle, how):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            return
        if how & fcntl.LOCK_EX and fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        flock(handle, how)

    monkeypatch.setattr(fcntl, "flock", lock)


def entries(folder: Path) -> set[Path]:
    return {file.parent for file in folder.glob("[!.]*/description.json")}


@pytest.mark.parametrize("pooled", [False, True])
def test_what_is_read_back_is_what_the_encoder_gives_alone(task_dir, frozen, tmp_path, pooled):
    utterances = read_task(task_dir, ["label"]).parts["test"]
    states = StateStore(tmp_path, 1e9).states(frozen, utterances, pooled, "test")
    assert isinstance(states, StoredStates)
    read, lengths = states.batch([4, 0])
    assert read.dtype == torch.float16
    for row, utterance, length in zip(read, (utterances[4], utterances[0]), lengths, strict=True):
        with torch.no_grad():
            expected = torch.stack(frozen.encoder(utterance.read()[None]).hidden_states, dim=2)[0]
        expected = expected.mean(dim=0, keepdim=True) if pooled else expected
        assert length == len(expected)
        torch.testing.assert_close(row[:length].float(), expected, rtol=1e-3, atol=1e-3)
        assert not row[length:].any()


def test_a_second_look_reads_and_other_weights_compute(task_dir, frozen, tmp_path, monkeypatch):
    utterances = read_task(task_dir, ["label"]).parts["test"]
    store = StateStore(tmp_path, 1e9)
    store.states(frozen, utterances, True, "test")
    calls = []
    monkeypatch.setattr(FrozenEncoder, "encode", lambda self, *given: calls.append(given))
    store.states(frozen, utterances, True, "test")
    assert not calls and len(entries(tmp_path)) == 1
    monkeypatch.undo()
    with torch.no_grad():
        next(frozen.encoder.parameters()).add_(1.0)
    store.states(FrozenEncoder(frozen.encoder, "tiny", CPU), utterances, True, "test")
    assert len(entries(tmp_path)) == 2


def test_another_configuration_of_the_same_weights_computes(task_dir, frozen, tmp_path):
    utterances = read_task(task_dir, ["label"]).parts["test"]
    other = HubertEncoder(dataclasses.replace(frozen.encoder.config, layer_norm_first=True))
    other.load_state_dict(frozen.encoder.state_dict())
    for encoder in (frozen.encoder, other):
        StateStore(tmp_path, 1e9).states(FrozenEncoder(encoder, "tiny", CPU), utterances, True, "test")
    assert len(entries(tmp_path)) == 2


def test_changed_audio_is_encoded_again(tmp_path, frozen):
    folder = write_task(tmp_path / "task")
    store = StateStore(tmp_path / "cache", 1e9)
    store.states(frozen, read_task(folder, ["label"]).parts["test"], True, "test")
    os.utime(folder / "test-3.wav", (1, 1))
    store.states(frozen, read_task(folder, ["label"]).parts["test"], True, "test")
    assert len(entries(tmp_path / "cache")) == 2


def test_what_was_used_longest_ago_goes_first_and_whole(task_dir, frozen, tmp_path):
    parts = read_task(task_dir, ["label"]).parts
    first = StateStore(tmp_path, 1e9)
    first.states(frozen, parts["valid"], False, "valid")
    (old,) = entries(tmp_path)
    first.states(frozen, parts["test"], False, "test")
    (new,) = entries(tmp_path) - {old}
    os.utime(old, (1, 1))
    os.utime(new, (2, 2))
    sizes = {folder: sum(file.stat().st_size for file in folder.glob("*.npy")) for folder in (old, new)}
    limit = sizes[old] + 1.2 * sizes[new]
    StateStore(tmp_path, limit).states(frozen, parts["test"][:6], False, "six")
    assert old not in entries(tmp_path) and new in entries(tmp_path) and not old.exists()


def test_a_part_that_does_not_fit_is_computed_each_time_and_is_the_same(task_dir, frozen, tmp_path, capsys):
    utterances = read_task(task_dir, ["label"]).parts["test"]
    fresh = StateStore(tmp_path / "small", 100).states(frozen, utterances, False, "test")
    assert isinstance(fresh, FreshStates) and "computed anew" in capsys.readouterr().out
    assert not entries(tmp_path / "small")
    stored = StateStore(tmp_path / "large", 1e9).states(frozen, utterances, False, "test")
    assert np.array_equal(fresh.frames, stored.frames)
    for ours, theirs in zip(fresh.batch([1, 2]), stored.batch([1, 2]), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def test_states_computed_each_time_keep_to_the_encoder_s_batch(task_dir, encoder_dir, tmp_path, monkeypatch):
    one_by_one = FrozenEncoder(load_encoder(encoder_dir), "tiny", CPU, batch_seconds=0.1)
    utterances = read_task(task_dir, ["label"]).parts["test"]
    fresh = StateStore(tmp_path, 100).states(one_by_one, utterances, False, "test")
    sizes = []
    encode = FrozenEncoder.encode
    monkeypatch.setattr(
        FrozenEncoder, "encode", lambda self, given, pooled: sizes.append(len(given)) or encode(self, given, pooled)
    )
    ((states, lengths),) = fresh.batches([[3, 1, 3]])
    assert sizes == [1, 1, 1] and torch.equal(states[0], states[2])
    assert lengths.tolist() == [fresh.frames[3], fresh.frames[1], fresh.frames[3]]


def test_one_batch_is_read_while_the_last_is_used_and_no_more(task_dir, frozen, tmp_path, monkeypatch):
    states = StateStore(tmp_path, 1e9).states(frozen, read_task(task_dir, ["label"]).parts["test"], False, "test")
    chosen, read, batch = [[3, 1], [0], [2, 5, 4], [6]], [], StoredStates.batch
    expected = [states.batch(rows) for rows in chosen]
    other = threading.Event()

    def watched(self, rows):
        assert threading.current_thread() is not threading.main_thread()
        read.append(rows)
        if rows == chosen[1]:
            other.set()
        return batch(self, rows)

    monkeypatch.setattr(StoredStates, "batch", watched)
    for number, (ours, theirs) in enumerate(zip(states.batches(chosen), expected, strict=True)):
        assert other.wait(30) and len(read) <= number + 2
        assert all(torch.equal(one, another) for one, another in zip(ours, theirs, strict=True))
    assert read == chosen


@pytest.mark.usefixtures("locks_of_nfs")
def test_a_part_in_use_is_not_thrown_away(task_dir, frozen, tmp_path):
    parts = read_task(task_dir, ["label"]).parts
    measured = StateStore(tmp_path / "measure", 1e9)
    measured.states(frozen, parts["valid"], False, "valid")
    (folder,) = entries(tmp_path / "measure")
    size = sum(file.stat().st_size for file in folder.iterdir())
    store = StateStore(tmp_path / "cache", 1.5 * size)
    used = store.states(frozen, parts["valid"], False, "valid")
    assert isinstance(store.states(frozen, parts["test"], False, "test"), FreshStates)
    del used
    assert isinstance(store.states(frozen, parts["test"], False, "test"), StoredStates)
    # Of what is gone no lock is left.
    (left,) = entries(tmp_path / "cache")
    assert {file.name for file in (tmp_path / "cache").iterdir()} == {left.name, ".lock", f".lock-{left.name}"}


@pytest.mark.parametrize(("free", "code"), [(1 << 40, errno.ENOSPC), (1 << 40, errno.EDQUOT), (100, None)])
def test_a_full_disk_is_told_before_anything_is_encoded(task_dir, frozen, tmp_path, monkeypatch, free, code):
    def refuse(handle, size):
        raise OSError(code, os.strerror(code))

    rmtree = shutil.rmtree

    def closed(folder):
        # NFS keeps what is deleted while it is open.
        opened = [os.path.realpath(handle) for handle in Path("/proc/self/fd").iterdir()]
        assert not [file for file in opened if file.startswith(str(folder))]
        rmtree(folder)

    monkeypatch.setattr(shutil, "rmtree", closed)
    monkeypatch.setattr(disk, "_allocate", refuse)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    monkeypatch.setattr(FrozenEncoder, "encode", None)
    parts = read_task(task_dir, ["label"]).parts
    with pytest.raises(UserError, match=r"of test take 0\.0 GB, and the disk of .* has no room .*cache_dir.*cache_gb"):
        StateStore(tmp_path, 1e9).states(frozen, parts["test"], False, "test")
    assert [file.name for file in tmp_path.iterdir()] == [".lock"]


def test_room_is_taken_where_the_file_system_can(task_dir, frozen, tmp_path, monkeypatch):
    utterances, taken = read_task(task_dir, ["label"]).parts["test"], []
    monkeypatch.setattr(disk, "_allocate", lambda handle, size: taken.append(size))
    StateStore(tmp_path / "can", 1e9).states(frozen, utterances, False, "test")
    (file,) = (tmp_path / "can").glob("*/states.npy")
    assert taken == [file.stat().st_size]

    def refuse(handle, size):
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(disk, "_allocate", refuse)
    states = StateStore(tmp_path / "cannot", 1e9).states(frozen, utterances, False, "test")
    assert isinstance(states, StoredStates)
    monkeypatch.setattr(disk, "_allocate", lambda *given: (_ for _ in ()).throw(PermissionError(errno.EPERM, "no")))
    with pytest.raises(PermissionError):
        StateStore(tmp_path / "other", 1e9).states(frozen, utterances, False, "test")


def test_a_file_system_without_locks_keeps_nobody_out(task_dir, frozen, tmp_path, monkeypatch):
    def refuse(handle, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    utterances = read_task(task_dir, ["label"]).parts["test"]
    assert isinstance(StateStore(tmp_path, 1e9).states(frozen, utterances, True, "test"), StoredStates)


def test_another_version_encodes_anew(task_dir, frozen, tmp_path, monkeypatch):
    utterances = read_task(task_dir, ["label"]).parts["test"]
    for version in ("1", "2", "2"):
        monkeypatch.setattr(module, "__version__", version)
        StateStore(tmp_path, 1e9).states(frozen, utterances, True, "test")
    assert len(entries(tmp_path)) == 2


def use_in_turn(cache: Path, task: Path, encoder: Path, limit: int, turns: int) -> None:
    """Ask for one part after the other, of which the limit has room for two, and read each as it is there."""
    frozen, parts = FrozenEncoder(load_encoder(encoder), "tiny", CPU), read_task(task, ["label"]).parts
    for turn in range(turns):
        states = StateStore(cache, limit).states(frozen, parts["test"][turn % 7 :], False, "test")
        assert states.batch(range(len(states.frames)))[0].any()
        sizes = [file.stat().st_size for file in cache.glob("[!.]*/states.npy")]
        assert sum(sizes) < 1.1 * limit


def test_two_processes_share_a_small_folder(task_dir, encoder_dir, frozen, tmp_path):
    StateStore(tmp_path / "measure", 1e9).states(frozen, read_task(task_dir, ["label"]).parts["test"], False, "test")
    (file,) = (tmp_path / "measure").glob("*/states.npy")
    given = (tmp_path / "cache", task_dir, encoder_dir, 2 * file.stat().st_size, 20)
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=use_in_turn, args=given) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(100)
    assert [process.exitcode for process in processes] == [0, 0]
    assert not list((tmp_path / "cache").glob(".new-*"))


@pytest.mark.usefixtures("locks_of_nfs")
def test_what_another_process_computes_is_waited_for(task_dir, frozen, tmp_path, monkeypatch, capsys):
    utterances = read_task(task_dir, ["label"]).parts["test"]
    store = StateStore(tmp_path, 1e9)
    encode, calls, others = FrozenEncoder.encode, [], []
    # Threads hold locks of their own, as processes do.
    with ThreadPoolExecutor(1) as pool:

        def beside(self, given, pooled):
            calls.append(len(given))
            if not others:
                others.append(pool.submit(store.states, frozen, utterances, True, "test"))
                with pytest.raises(TimeoutError):
                    others[0].result(0.5)
            return encode(self, given, pooled)

        monkeypatch.setattr(FrozenEncoder, "encode", beside)
        ours = store.states(frozen, utterances, True, "test")
        theirs = others[0].result(30)
    assert sum(calls) == len(utterances) and "waiting for it" in capsys.readouterr().out
    assert torch.equal(ours.batch([0])[0], theirs.batch([0])[0])


def test_a_killed_run_leaves_no_half_entry(task_dir, frozen, tmp_path, monkeypatch):
    utterances = read_task(task_dir, ["label"]).parts["test"]
    store = StateStore(tmp_path, 1e9)

    def stop(self, *given):
        raise KeyboardInterrupt

    monkeypatch.setattr(FrozenEncoder, "encode", stop)
    with pytest.raises(KeyboardInterrupt):
        store.states(frozen, utterances, True, "test")
    assert not entries(tmp_path)
    monkeypatch.undo()
    assert isinstance(store.states(frozen, utterances, True, "test"), StoredStates)
    assert entries(tmp_path) == {file for file in tmp_path.iterdir() if file.is_dir()}


def killed_in_the_middle(store: StateStore, frozen: FrozenEncoder, utterances, monkeypatch) -> list[str]:
    """Encode until the third batch; return the names of what was encoded before it."""
    encode, names = FrozenEncoder.encode, []

    def stop(self, given, pooled):
        if len(names) > 3:
            raise KeyboardInterrupt
        names.extend(item.name for item in given)
        return encode(self, given, pooled)

    with monkeypatch.context() as patch:
        patch.setattr(FrozenEncoder, "encode", stop)
        with pytest.raises(KeyboardInterrupt):
            store.states(frozen, utterances, False, "test")
    return names


def test_a_killed_run_goes_on_with_the_utterances_that_are_left(task_dir, frozen, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_NOTE_SECONDS", 0.0)
    utterances = read_task(task_dir, ["label"]).parts["test"]
    whole = StateStore(tmp_path / "whole", 1e9).states(frozen, utterances, False, "test")
    # There is room for one, so what is half there does not count beside itself.
    (file,) = (tmp_path / "whole").glob("*/states.npy")
    store = StateStore(tmp_path / "killed", file.stat().st_size)
    before = killed_in_the_middle(store, frozen, utterances, monkeypatch)
    encode, after = FrozenEncoder.encode, []
    monkeypatch.setattr(
        FrozenEncoder,
        "encode",
        lambda self, given, pooled: after.extend(item.name for item in given) or encode(self, given, pooled),
    )
    again = store.states(frozen, utterances, False, "test")
    assert len(before) > 3 and sorted(before + after) == sorted(item.name for item in utterances)
    rows = range(len(utterances))
    torch.testing.assert_close(again.batch(rows)[0], whole.batch(rows)[0], rtol=1e-3, atol=1e-3)
    assert {path.name for path in (tmp_path / "killed").rglob("*.npy")} == {"states.npy", "frames.npy"}


def test_what_is_half_there_gives_way(task_dir, frozen, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_NOTE_SECONDS", 0.0)
    parts = read_task(task_dir, ["label"]).parts
    StateStore(tmp_path / "measure", 1e9).states(frozen, parts["test"], False, "test")
    (file,) = (tmp_path / "measure").glob("*/states.npy")
    store = StateStore(tmp_path / "cache", 1.2 * file.stat().st_size)
    assert killed_in_the_middle(store, frozen, parts["test"], monkeypatch)
    assert isinstance(store.states(frozen, parts["valid"], False, "valid"), StoredStates)
    assert entries(tmp_path / "cache") == {file for file in (tmp_path / "cache").iterdir() if file.is_dir()}


def test_what_a_process_left_that_was_killed_outright_goes_and_what_another_fills_stays(task_dir, frozen, tmp_path):
    left, filled = tmp_path / ".new-left", tmp_path / ".new-filled"
    for folder in (left, filled):
        folder.mkdir()
        (folder / "states.npy").write_bytes(b"half")
    # A lock through a handle of its own keeps others out, also in this process.
    with Lock(tmp_path / ".lock-filled"):
        StateStore(tmp_path, 1e9).states(frozen, read_task(task_dir, ["label"]).parts["test"], True, "test")
    assert not left.exists() and (filled / "states.npy").exists()
    assert [folder.name for folder in tmp_path.glob(".new-*")] == [".new-filled"]


def test_an_utterance_shorter_than_a_frame_is_named(tmp_path, frozen):
    import soundfile

    folder = write_task(tmp_path / "task")
    for number in range(2, 7):
        soundfile.write(folder / f"test-{number}.wav", np.zeros(100), 16000)
    named = r"\S*test-2\.wav; \S*test-3\.wav; \S*test-4\.wav and 2 more"
    with pytest.raises(UserError, match=rf"tiny: 5 utterances are shorter than a frame of it: {named}; take them out"):
        StateStore(tmp_path / "cache", 1e9).states(frozen, read_task(folder, ["label"]).parts["test"], True, "test")
