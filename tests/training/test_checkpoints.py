"""Checkpoints between kinds of devices (a processor's has one random generator, a GPU's has two), and damaged ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fairseq2.checkpoint import CheckpointError
from fairseq2.io import CorruptFileError
from fairseq2.utils.rng import RngBag

from speechssl.errors import UserError
from speechssl.training.checkpoints import SafeLoader, WholeDumper, damage_is_told

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


def drawn_after(states: list[torch.Tensor], generators: list[torch.Generator]) -> list[float]:
    """Return a number of each generator when fairseq2 has read the states."""
    RngBag(*generators).load_state_dict({"generators": states})
    return [float(torch.rand((), generator=generator)) for generator in generators]


@pytest.mark.parametrize(("saved", "now"), [(1, 1), (1, 2), (2, 1), (2, 2)])
def test_a_run_goes_on_on_another_kind_of_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saved: int, now: int
) -> None:
    before = [torch.Generator().manual_seed(seed) for seed in range(saved)]
    WholeDumper().dump({"_rng_bag": RngBag(*before).state_dict(), "_step_nr": 3}, tmp_path / "rank_00.pt")
    of_the_gpu = torch.Generator().manual_seed(7)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: of_the_gpu.get_state())

    state = SafeLoader(CPU if now == 1 else GPU).load(tmp_path / "rank_00.pt")

    assert state["_step_nr"] == 3
    found = drawn_after(state["_rng_bag"]["generators"], [torch.Generator() for _ in range(now)])
    expected = [*before, of_the_gpu][:now]
    assert found == [float(torch.rand((), generator=generator)) for generator in expected]


def test_other_files_are_read_as_they_are(tmp_path: Path) -> None:
    WholeDumper().dump({"weight": torch.ones(2)}, tmp_path / "sdp_00.pt")
    assert list(SafeLoader(CPU).load(tmp_path / "sdp_00.pt")) == ["weight"]


@pytest.mark.parametrize(
    ("cause", "kind", "words"),
    [
        (CorruptFileError(Path("model.pt")), UserError, "step_3 is damaged or not complete: delete it"),
        (torch.OutOfMemoryError("CUDA out of memory"), torch.OutOfMemoryError, "CUDA out of memory"),
        (ValueError("no such key"), UserError, "step_3 does not fit this run"),
    ],
)
def test_only_a_damaged_checkpoint_is_to_be_deleted(
    tmp_path: Path, cause: Exception, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words), damage_is_told(tmp_path):
        raise CheckpointError(3, "model", "cannot be restored") from cause
