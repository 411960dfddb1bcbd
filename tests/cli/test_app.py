"""The `speechssl` command: exit status, and one line for what a user can mend."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from fairseq2.error import raise_operational_system_error

from speechssl import __version__
from speechssl.cli import app, configuration
from speechssl.cli.command import Command
from speechssl.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Settings:
    """Nothing to set."""

    out: str = "x"
    """Somewhere."""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Replace the command `manifest` by one that does what the test says."""

    def install(work: Any) -> None:
        (tmp_path / "manifest.yaml").write_text("defaults: [manifest_schema, _self_]\n")
        monkeypatch.setattr(configuration, "config_dir", lambda: tmp_path)
        command = Command("manifest", "A stand-in.", Settings, lambda settings: work(), ())
        monkeypatch.setattr(app, "_load", lambda name: command)

    return install


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main([]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in app.COMMANDS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


def test_each_change_of_scores_raises_the_version() -> None:
    changed = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").split("### Scores that changed")[1]
    assert re.findall(r"^#### (\S+?),? ", changed, re.M)[0] == __version__
    shown = subprocess.run(
        [sys.executable, "setup.py", "--quiet", "--version"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == __version__


def test_an_unknown_command_offers_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["pretain"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "did you mean 'pretrain'?" in error


def test_an_option_that_is_no_setting_is_refused(stand_in: Any, capsys: pytest.CaptureFixture[str]) -> None:
    stand_in(lambda: None)
    assert app.main(["manifest", "--out", "x"]) == 1
    assert "unknown option '--out': settings are given as key=value" in capsys.readouterr().err


def test_a_setting_of_another_variant_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["evaluate", "label_fractions=[1]"]) == 1
    assert "unknown setting 'label_fractions' of `speechssl evaluate`; it is one of benchmark=lape" in (
        capsys.readouterr().err
    )


def test_a_mistake_of_the_user_is_one_line_without_traceback(stand_in: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise UserError("train.tsv does not exist; run `speechssl manifest` first")

    stand_in(fail)
    assert app.main(["manifest"]) == 1
    expected = "speechssl manifest: train.tsv does not exist; run `speechssl manifest` first\n"
    assert capsys.readouterr().err == expected


def test_a_full_disk_is_one_line(stand_in: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "exp/units/train.km")

    stand_in(fail)
    assert app.main(["manifest"]) == 1
    assert "the disk is full while writing exp/units/train.km" in capsys.readouterr().err


def test_a_full_disk_is_found_behind_an_error_of_fairseq2(stand_in: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device", "exp/hubert/checkpoints/step_1/model.pt")
        except OSError as error:
            raise_operational_system_error(error)

    stand_in(fail)
    assert app.main(["manifest"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "the disk is full while writing exp/hubert/checkpoints/step_1/model.pt" in error


def test_after_a_full_disk_no_half_written_file_is_left_and_the_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    generator = np.random.default_rng(0)
    (tmp_path / "audio").mkdir()
    for number in range(4):
        soundfile.write(tmp_path / "audio" / f"{number}.wav", generator.uniform(-0.5, 0.5, 8000), 16000)
    arguments = ["manifest", f"corpus.audio_dir={tmp_path / 'audio'}", f"out={tmp_path / 'out'}"]

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert app.main(arguments) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "speechssl manifest: the disk is full while writing" in error
    assert list((tmp_path / "out").iterdir()) == []
    assert app.main(arguments) == 0
    assert (tmp_path / "out" / "train.tsv").is_file()


@pytest.mark.parametrize(
    ("command", "told"),
    [("pretrain", "lower batch.seconds"), ("finetune", "lower clips"), ("cluster", "give smaller batches")],
)
def test_a_gpu_that_is_too_small_is_one_line(
    command: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(app, "_run", fail)
    assert app.main([command]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"speechssl {command}: the GPU's memory is full: {told}" in error


def test_a_forbidden_folder_is_one_line(stand_in: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/corpora/out")

    stand_in(fail)
    assert app.main(["manifest"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "/corpora/out: Permission denied" in error


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.EEXIST, "File exists; give a folder"),
        (errno.ENOTDIR, "Not a directory; give a folder"),
        (errno.EISDIR, "Is a directory; give a folder, or a path that is not taken"),
        (errno.ENOTEMPTY, "Directory not empty; give a folder, or a path that is not taken"),
        (errno.ENAMETOOLONG, "File name too long; give a shorter one"),
    ],
)
def test_a_path_that_cannot_be_is_one_line(
    number: int, told: str, stand_in: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise OSError(number, os.strerror(number), "/exp/notes.txt")

    stand_in(fail)
    assert app.main(["manifest"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"/exp/notes.txt: {told}" in error


def test_other_system_errors_keep_their_traceback(stand_in: Any) -> None:
    def fail() -> None:
        raise OSError(errno.EIO, "Input/output error", "x")

    stand_in(fail)
    with pytest.raises(OSError, match="Input/output"):
        app.main(["manifest"])


def test_an_interrupted_command_says_so(stand_in: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise KeyboardInterrupt

    stand_in(fail)
    assert app.main(["manifest"]) == 130
    assert "run the same command again: what is finished stays" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["gensim", "gensim.models"])
def test_a_package_that_is_not_installed_is_named(name: str, stand_in: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def missing() -> None:
        raise ModuleNotFoundError(f"No module named '{name}'", name=name)

    stand_in(missing)
    assert app.main(["manifest"]) == 1
    error = capsys.readouterr().err
    assert "the package 'gensim' is not installed" in error
    assert error.count("\n") == 1


def test_a_module_of_ours_that_is_missing_is_a_defect(stand_in: Any) -> None:
    def missing() -> None:
        raise ModuleNotFoundError("No module named 'speechssl.units.unti'", name="speechssl.units.unti")

    stand_in(missing)
    with pytest.raises(ModuleNotFoundError, match="unti"):
        app.main(["manifest"])


def test_the_command_line_starts_without_torch() -> None:
    script = "import sys, speechssl.cli.app as app; app.main([]); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_help_and_errors_do_without_what_is_slow_to_import() -> None:
    # The libraries that a command runs with take two thirds of its start.
    script = (
        "import sys; from speechssl.cli import distill, evaluate, finetune, pretrain, pretrain_clips; "
        "sys.exit(' '.join({'fairseq2', 'matplotlib', 'numba', 'scipy', 'sklearn'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_reader_that_leaves_early_gets_no_traceback() -> None:
    command = f"{sys.executable} -m speechssl kmeans --help | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("speechssl kmeans")
    assert done.stderr == ""
