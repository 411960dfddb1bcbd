"""`speechssl COMMAND --help` shows usage, groups, and each setting with its default and meaning."""

from __future__ import annotations

import pytest

from speechssl.cli import app


@pytest.mark.parametrize("name", [name for name in app.COMMANDS if name != "doctor"])
def test_help_shows_examples_and_settings(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"speechssl {name}: ")
    assert f"\n  speechssl {name} " in shown
    assert "=(required)" in shown


def test_help_of_kmeans_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    app.main(["kmeans", "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert "  features=encoder|mfcc" in lines
    setting = lines.index("  k=100")
    assert lines[setting + 1] == "      Number of clusters (HuBERT: 100 on MFCC, 500 on an encoder layer)."
    assert "  features.kind=mfcc" in lines


def test_a_choice_is_shown_as_it_is_typed(capsys: pytest.CaptureFixture[str]) -> None:
    app.main(["evaluate", "benchmark=lape", "--help"])
    assert "  protocol=sound" in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("words", ["--cfg job k=7 out=x", "k=7 --cfg job out=x", "k=7 out=x --cfg job"])
def test_cfg_job_prints_a_configuration_that_can_be_read_back(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    from omegaconf import OmegaConf

    assert app.main(["kmeans", *words.split()]) == 0
    config = OmegaConf.create(capsys.readouterr().out)
    assert (config.k, config.out, config.features.kind) == (7, "x", "mfcc")


def test_cfg_takes_only_job(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["kmeans", "--cfg", "all"]) == 1
    assert "--cfg takes `job`" in capsys.readouterr().err
