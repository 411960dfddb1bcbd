from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import torchaudio

from speechssl.export.s3prl_patches import apply_effects_tensor, patch_torchaudio

SCRIPT = """
from speechssl.export.s3prl_patches import patch_torchaudio
patch_torchaudio()
import s3prl.hub
from torchaudio.sox_effects import apply_effects_tensor
print(s3prl.hub.hubert_local.__module__)
"""


def test_s3prl_imports_with_the_patches_only():
    """Without them the import fails; when it no longer does, the patches can go."""
    bare = "import torchaudio; torchaudio.set_audio_backend"
    assert subprocess.run([sys.executable, "-c", bare], capture_output=True, check=False).returncode != 0
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "s3prl.upstream.hubert.hubconf"


def test_what_torchaudio_has_is_kept(monkeypatch):
    marker = object()
    monkeypatch.setattr(torchaudio, "set_audio_backend", marker, raising=False)
    monkeypatch.setattr(torchaudio, "sox_effects", marker, raising=False)
    patch_torchaudio()
    assert torchaudio.set_audio_backend is marker and torchaudio.sox_effects is marker


def test_effects_by_hand():
    stereo = torch.tensor([[0.2, -0.4, 0.9, 0.0], [0.0, 0.0, 0.9, 0.2]])
    mono, rate = apply_effects_tensor(stereo, 16_000, [["channels", "1"], ["gain", "-6.0206"]])
    assert rate == 16_000
    torch.testing.assert_close(mono, torch.tensor([[0.05, -0.1, 0.45, 0.05]]))
    loud, _ = apply_effects_tensor(stereo, 16_000, [["gain", "20"]])
    assert loud.abs().max() == 1
    half, rate = apply_effects_tensor(torch.rand(1600, 2), 16_000, [["rate", "8000"]], channels_first=False)
    assert rate == 8_000 and half.shape == (800, 2)
    with pytest.raises(ValueError, match="reverb"):
        apply_effects_tensor(stereo, 16_000, [["reverb", "50"]])
