from __future__ import annotations

import pytest
import torch

from speechssl.errors import UserError
from speechssl.models.device import pick_device

CPU = torch.device("cpu")


def test_auto_is_a_gpu_of_this_process_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == pick_device("cpu") == CPU
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert pick_device("auto") == pick_device("cuda") == torch.device("cuda:3")
    assert pick_device("cuda:1") == chosen[-1] == torch.device("cuda:1")
    assert pick_device("cpu") == CPU and len(chosen) == 3


@pytest.mark.parametrize("name", ["tpu", "meta", "cuda:99"])
def test_another_device_is_refused(name):
    with pytest.raises(UserError, match=f"^device={name} cannot be used here; give cpu, cuda or auto"):
        pick_device(name)
