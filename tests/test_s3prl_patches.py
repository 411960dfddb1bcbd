from __future__ import annotations

import argparse
import pickle
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchaudio

from speechssl.errors import UserError
from speechssl.s3prl_patches import apply_effects_tensor, guarded_s3prl, patch_torchaudio

SCRIPT = """
from speechssl.s3prl_patches import patch_torchaudio
patch_torchaudio()
import s3prl.hub
from torchaudio.sox_effects import apply_effects_tensor
print(s3prl.hub.hubert_local.__module__)
"""


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_s3prl_imports_with_the_patches_only():
    """Without them the import fails; when it no longer does, the patches can go."""
    bare = subprocess.run([sys.executable, "-c", "import s3prl.hub"], capture_output=True, text=True, check=False)
    assert "module 'torchaudio' has no attribute 'set_audio_backend'" in bare.stderr.splitlines()[-1]
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


def test_a_pickle_is_not_run_whatever_s3prl_asks_for(tmp_path):
    torch.save({"model": Touch(tmp_path / "ran")}, tmp_path / "bad.pt")
    torch.save({"paras": argparse.Namespace(lr=1.0), "model": torch.ones(2)}, tmp_path / "good.pt")
    before = torch.load
    with guarded_s3prl():
        with pytest.raises(pickle.UnpicklingError):
            torch.load(tmp_path / "bad.pt", weights_only=False)
        # The settings that s3prl's own training leaves in its checkpoints are read.
        assert torch.load(tmp_path / "good.pt", "cpu")["paras"].lr == 1.0
    assert not (tmp_path / "ran").exists() and torch.load is before
    torch.load(tmp_path / "bad.pt", weights_only=False)
    assert (tmp_path / "ran").exists()  # so it would have been seen above


def test_a_setting_of_a_checkpoint_is_not_run(tmp_path):
    """s3prl evaluates `conv_feature_layers` as Python."""
    from speechssl.export import s3prl
    from speechssl.models.hubert import HubertEncoder
    from speechssl.models.hubert_config import size_config

    s3prl.write(HubertEncoder(size_config("base", num_layers=1, dim=16, ffn_dim=16, num_heads=2)), None, tmp_path)
    checkpoint = torch.load(tmp_path / "model.pt", weights_only=True)
    before = eval
    for setting in (f"[(512, 10, 5)] + [open({str(tmp_path / 'ran')!r}, 'w')]", "[].__class__.__base__"):
        checkpoint["model_cfg"]["conv_feature_layers"] = setting
        torch.save(checkpoint, tmp_path / "model.pt")
        with guarded_s3prl(), pytest.raises(UserError, match="run as code, and it is not run"):
            from s3prl.upstream.hubert.hubconf import hubert_local

            hubert_local(ckpt=str(tmp_path / "model.pt"))
    assert not (tmp_path / "ran").exists()
    assert eval is before
    offset = 2
    with guarded_s3prl():  # other code evaluates what it likes, with the names that it sees
        assert eval("max(1, offset)") == 2 and eval("offset * 2", {"offset": 5}) == 10
    assert offset == 2


def test_nothing_is_downloaded_but_what_is_there_is_used(monkeypatch, tmp_path):
    with guarded_s3prl():
        from s3prl import hub
        from s3prl.util import download

        monkeypatch.setattr(download, "_download_url_to_file", lambda *_: pytest.fail("downloads"))
        monkeypatch.setattr(download, "_download_url_to_file_requests", lambda *_: pytest.fail("downloads"))
        monkeypatch.setattr(download, "_download_dir", tmp_path)
        with pytest.raises(UserError, match=r"would download https://\S+hubert_base_ls960.pt; .* save it as") as caught:
            hub.hubert()
        assert Path(str(caught.value).rpartition(" save it as ")[2]).parent == tmp_path
        url = "https://example.org/model.pt"
        Path(download._urls_to_filepaths(url, download=False)).touch()
        assert Path(download._urls_to_filepaths(url)).parent == tmp_path


def test_s3prl_says_nothing_and_leaves_random_numbers_alone(capfd):
    torch_state, python_state = torch.random.get_rng_state(), random.getstate()
    with guarded_s3prl():
        from s3prl import hub
        from s3prl.util.pseudo_data import get_pseudo_wavs

        get_pseudo_wavs()  # seeds both
        hub.customized_upstream()  # prints
    assert torch.equal(torch.random.get_rng_state(), torch_state) and random.getstate() == python_state
    assert capfd.readouterr().out == ""


def test_random_numbers_of_gpus_in_use_are_left_alone(monkeypatch):
    states = [torch.tensor([1]), torch.tensor([2])]
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(states))
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: states[device])
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: states.__setitem__(device, state))
    with guarded_s3prl():
        states[:] = [torch.tensor([0])] * 2
    assert [state.item() for state in states] == [1, 2]
