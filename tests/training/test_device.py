"""The number format of a run: bf16 where the machine has it."""

from __future__ import annotations

import pytest
import torch

from speechssl.errors import UserError
from speechssl.training import device
from speechssl.training.device import compute_type, cpu_has_bf16, this_device
from speechssl.training.settings import Precision

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(("has_bf16", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_is_bf16_where_the_machine_has_it(monkeypatch, has_bf16, expected):
    monkeypatch.setattr(device, "cpu_has_bf16", lambda: has_bf16)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: has_bf16)
    assert compute_type(Precision.auto, CPU) is expected
    assert compute_type(Precision.auto, GPU) is expected
    assert compute_type(Precision.fp32, CPU) is torch.float32


def test_a_gpu_without_bf16_refuses_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    with pytest.raises(UserError, match=r"use run\.precision=fp32"):
        compute_type(Precision.bf16, GPU)


def test_bf16_of_the_processor_is_what_the_kernel_says():
    with open("/proc/cpuinfo") as file:
        flags = next((line for line in file if line.startswith("flags")), "").split()
    if not flags:
        pytest.skip("this processor does not list its instructions as flags")
    assert cpu_has_bf16() == ("avx512_bf16" in flags or "amx_tile" in flags)


def test_auto_is_a_gpu_of_this_process_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert this_device("auto") == this_device("cpu") == CPU
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert this_device("auto") == this_device("cuda") == torch.device("cuda:3")
    assert this_device("cuda:1") == chosen[-1] == torch.device("cuda:1")
    assert this_device("cpu") == CPU and len(chosen) == 3


@pytest.mark.parametrize("name", ["tpu", "meta"])
def test_another_device_is_refused(name):
    with pytest.raises(UserError, match=f"run.device={name} cannot be used here; give cpu, cuda or auto"):
        this_device(name)
