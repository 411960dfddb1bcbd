"""The number format of a run: bf16 where the machine has it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from speechssl.errors import UserError
from speechssl.models.device import cpu_has_bf16
from speechssl.training import device
from speechssl.training.device import compute_type
from speechssl.training.settings import Precision

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(("has_bf16", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_is_bf16_where_the_machine_has_it(monkeypatch, has_bf16, expected):
    monkeypatch.setattr(device, "cpu_has_bf16", lambda: has_bf16)
    monkeypatch.setattr(device, "gpu_has_bf16", lambda: has_bf16)
    assert compute_type(Precision.auto, CPU) is expected
    assert compute_type(Precision.auto, GPU) is expected
    assert compute_type(Precision.fp32, CPU) is torch.float32


@pytest.mark.parametrize(("capability", "expected"), [(7, torch.float32), (8, torch.bfloat16), (9, torch.bfloat16)])
def test_bf16_that_a_gpu_only_emulates_does_not_count(monkeypatch, capability, expected):
    """A T4 (7.5) can hold bf16 and has no instructions for it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: SimpleNamespace(major=capability))
    monkeypatch.setattr(torch.cuda, "_check_bf16_tensor_supported", lambda number: True)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    assert compute_type(Precision.auto, GPU) is expected


def test_a_gpu_without_bf16_refuses_it(monkeypatch):
    monkeypatch.setattr(device, "gpu_has_bf16", lambda: False)
    with pytest.raises(UserError, match=r"has no bf16.* run\.precision=fp32 in another out="):
        compute_type(Precision.bf16, GPU)


def test_bf16_of_the_processor_is_what_the_kernel_says():
    with open("/proc/cpuinfo") as file:
        flags = next((line for line in file if line.startswith("flags")), "").split()
    if not flags:
        pytest.skip("this processor does not list its instructions as flags")
    assert cpu_has_bf16() == ("avx512_bf16" in flags or "amx_tile" in flags)
