"""What a run keeps when it goes on, and what it says of a checkpoint that it cannot go on from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from speechssl import __version__
from speechssl.cli.app import main
from speechssl.training import device, run_folder
from speechssl.training.pretrain import MaskedPretraining
from tests.training.conftest import Corpus


def interrupted(corpus: Corpus, out: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> list[str]:
    """Stop a run of 8 updates at its first validation; return the arguments with which it goes on."""
    arguments = ["pretrain", *corpus.settings("schedule.steps=8", f"out={out}", *more)]

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MaskedPretraining, "after_validation", interrupt)
        assert main(arguments) == 130
    return arguments


def checkpoint(out: Path) -> Path:
    [only] = (out / "checkpoints").glob("step_[0-9]")
    return only


def test_the_number_format_is_that_of_the_beginning(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(device, "cpu_has_bf16", lambda: True)
    arguments = interrupted(corpus, tmp_path / "run", monkeypatch, "run.precision=auto")
    shutil.copytree(tmp_path / "run", tmp_path / "old")
    monkeypatch.setattr(device, "cpu_has_bf16", lambda: False)
    caplog.set_level("INFO")
    assert main(arguments) == 0
    assert "bfloat16 on cpu, going on from update" in caplog.text

    begun = json.loads((tmp_path / "old" / "run.json").read_text())
    assert begun.pop("precision") == "bf16"
    (tmp_path / "old" / "run.json").write_text(json.dumps(begun))
    assert main([*arguments, f"out={tmp_path}/old"]) == 0
    assert "float32 on cpu, going on from update" in caplog.text, "an older run.json does not hold it"


def test_another_version_that_goes_on_is_told_and_noted(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    arguments = interrupted(corpus, tmp_path / "run", monkeypatch)
    monkeypatch.setattr(run_folder, "__version__", "99")
    assert main(arguments) == 0
    assert f"the run goes on with speechssl 99, after {__version__}" in caplog.text
    assert json.loads((tmp_path / "run" / "run.json").read_text())["speechssl"] == [__version__, "99"]


@pytest.mark.parametrize(
    ("part", "cut"), [("trainer", False), ("trainer", True), ("optimizer", False), ("model", True)]
)
def test_a_checkpoint_that_cannot_be_read_is_named(
    corpus: Corpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    part: str,
    cut: bool,
) -> None:
    arguments = interrupted(corpus, tmp_path, monkeypatch)
    found = checkpoint(tmp_path)
    [file] = (found / part).rglob("*.pt")
    if cut:
        file.write_bytes(file.read_bytes()[:-100])
    else:
        file.unlink()
    capsys.readouterr()
    assert main(arguments) == 1
    told = capsys.readouterr().err
    assert f"{found} is damaged or not complete: delete it" in told and told.count("\n") == 1
    shutil.rmtree(found)
    assert main(arguments) == 0
    assert (tmp_path / "encoder" / "encoder.json").is_file()
