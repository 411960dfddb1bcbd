"""Where encoders run."""

from __future__ import annotations

import os

import torch

from speechssl.errors import UserError


def pick_device(name: str, setting: str = "device") -> torch.device:
    """Return the device of that name, which `setting` gives; `auto` is a GPU where there is one.

    A GPU without a number is this process's, as torchrun counts them. It becomes torch's own choice. Its convolutions
    and LSTMs compute float32 as float32 from then on, as its products do: by default cuDNN rounds to TF32, 10 bits.

    Raises:
        UserError: it cannot be used here.
    """
    wrong = UserError(f"{setting}={name} cannot be used here; give cpu, cuda or auto")
    try:
        device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
        if device.type == "cuda":
            local_rank = int(os.environ.get("LOCAL_RANK", "0"))
            device = torch.device("cuda", local_rank if device.index is None else device.index)
            torch.cuda.set_device(device)
            torch.backends.cudnn.allow_tf32 = False
    except (RuntimeError, AssertionError) as error:
        raise wrong from error
    if device.type not in ("cpu", "cuda"):
        raise wrong
    return device


def gpu_has_bf16() -> bool:
    """Return whether the GPU has bf16 instructions: older ones only hold it, and compute by way of fp32."""
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def cpu_has_bf16() -> bool:
    """Return whether the processor has bf16 instructions: without them bf16 is slower than fp32."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
