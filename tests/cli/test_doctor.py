"""`speechssl doctor` finds what is broken and says what to do."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from importlib.metadata import Distribution
from typing import Any

import pytest
import torch

from speechssl.cli import app, doctor
from speechssl.models import agreement, device


class Package(Distribution):
    """An installed package that this test makes up."""

    def __init__(self, name: str, version: str, requires: list[str]) -> None:
        head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        self.text = head + "".join(f"Requires-Dist: {line}\n" for line in requires)

    def read_text(self, filename: str) -> str | None:
        return self.text if filename == "METADATA" else None

    def locate_file(self, path: Any) -> Any:
        raise NotImplementedError


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make `install(name=(version, requires))` the only packages there are."""

    def replace(**packages: tuple[str, list[str]]) -> None:
        def distribution(name: str) -> Package:
            if name not in packages:
                raise doctor.PackageNotFoundError(name)
            return Package(name, *packages[name])

        monkeypatch.setattr(doctor, "distribution", distribution)
        monkeypatch.setattr(doctor, "version", lambda name: distribution(name).version)

    return replace


def test_this_installation_is_sound(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert "problem" not in shown
    assert "doctor: nothing is broken" in shown


def test_it_has_help_and_no_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["doctor", "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("speechssl doctor: say what is installed") and shown.count("\n") == 1
    assert app.main(["doctor", "foo=bar"]) == 1
    shown = capsys.readouterr()
    assert "it has no settings, so 'foo=bar' means nothing: leave it out" in shown.err and not shown.out


def test_a_clash_of_a_package_of_a_package_is_found(install: Callable[..., None]) -> None:
    install(
        speechssl=("0.1.0", ['fairseq2n==0.8.1; extra == "train"', "numpy"]),
        fairseq2n=("0.8.1", ["torch==2.9.1"]),
        torch=("2.10.0", []),
        numpy=("2.2.6", []),
    )
    (finding,) = doctor._clashes()
    assert (finding.status, finding.subject) == ("problem", "torch")
    assert finding.detail == "2.10.0 is installed, fairseq2n needs ==2.9.1"
    assert "pip install 'torch==2.9.1'" in finding.advice


def test_what_an_extra_would_add_is_listed(install: Callable[..., None]) -> None:
    install(speechssl=("0.1.0", ['fairseq2==0.8.1; extra == "train"', "torch", 'hydra-core; extra == "train"']))
    train = next(finding for finding in doctor._extras() if finding.subject == "extra train")
    assert (train.status, train.detail) == ("missing", "would add fairseq2, hydra-core")
    assert "pip install -e '.[train]' in the project's folder" in train.advice


def test_a_broken_engine_ends_with_a_failure_and_advice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = importlib.import_module

    def broken(name: str) -> Any:
        if name == "fairseq2n.bindings":
            raise OSError("fairseq2 requires libsndfile.")
        return real(name)

    monkeypatch.setattr(importlib, "import_module", broken)
    assert app.main(["doctor"]) == 1
    captured = capsys.readouterr()
    assert "apt-get install libsndfile1" in captured.out
    assert "1 problem(s): fairseq2n" in captured.err


def test_without_a_base_package_the_rest_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = importlib.import_module

    def broken(name: str) -> Any:
        if name == "soundfile":
            raise OSError("no libsndfile")
        return real(name)

    monkeypatch.setattr(importlib, "import_module", broken)
    monkeypatch.setitem(sys.modules, "soundfile", None)
    assert app.main(["doctor"]) == 1
    captured = capsys.readouterr()
    assert "OSError: no libsndfile" in captured.out and "apt-get" in captured.out
    assert "1 problem(s): soundfile" in captured.err


def test_a_finding_is_printed_before_the_next_is_looked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def crash() -> Any:
        raise RuntimeError("it broke")

    monkeypatch.setattr(doctor, "_engine", crash)
    with pytest.raises(RuntimeError, match="it broke"):
        doctor.run(None)
    assert "ok       python" in capsys.readouterr().out


def test_a_checkout_that_is_not_installed_is_a_finding(
    install: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    install(torch=("2.9.1", []), numpy=("2", []), soundfile=("1", []), safetensors=("1", []))
    doctor.run(None)
    shown = capsys.readouterr().out
    assert "missing  speechssl" in shown and "not installed, only found in a folder" in shown


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(device, "pick_device", lambda name: torch.device("cpu"))


def test_a_gpu_that_gives_the_processors_numbers_is_sound(gpu: None) -> None:
    (found,) = doctor._gpus()
    assert found.status == "ok" and found.detail.endswith("numbers to 0e+00")


def test_a_gpu_that_computes_something_else_is_a_problem(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter([1.0, 1.01])
    gelu = torch.nn.functional.gelu
    outputs = agreement._outputs

    def rounded(*given: Any) -> Any:
        factor = next(calls)
        monkeypatch.setattr(torch.nn.functional, "gelu", lambda x, **how: gelu(x, **how) * factor)
        return outputs(*given)

    monkeypatch.setattr(agreement, "_outputs", rounded)
    (found,) = doctor._gpus()
    assert found.status == "problem" and "device=cpu" in found.advice


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (
            RuntimeError("CUDA error: no kernel image is available\nfor execution"),
            "problem",
            "no kernel image is available",
        ),
        (torch.OutOfMemoryError("CUDA out of memory"), "missing", "its memory is full"),
    ],
)
def test_a_gpu_that_cannot_work_is_told(
    error: Exception, status: str, told: str, gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: torch.device) -> float:
        raise error

    monkeypatch.setattr(agreement, "largest_difference", fail)
    (found,) = doctor._gpus()
    assert found.status == status and told in found.detail and found.advice


def test_the_other_device_gives_the_processors_numbers(other_device: Callable[..., Any]) -> None:
    with other_device():
        assert agreement.largest_difference(torch.device("lazy:0")) < 1e-5
