"""The SUPERB recipe: what is needed, what is checked, csv files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from speechssl.cli.configuration import load_settings
from speechssl.evaluation.superb.settings import _UNTRAINED
from tests.recipes.conftest import command_named


def test_superb_says_what_is_there_before_it_evaluates(checkout: Any) -> None:
    done = checkout.run("superb", "--corpus-root", ".", "--encoders", "one: a, two: [b, c]", "--seeds", "2")
    assert done.returncode == 0, done.stderr
    first, second = checkout.calls
    assert "check=true" in first and "check=true" not in second
    for _, name, *words in checkout.calls:
        load_settings(command_named(name), words)
    assert "encoders={one: a, two: [b, c]}" in second and "seeds=[1,2]" in second


def test_superb_takes_a_corpus_of_csv_files_instead(checkout: Any) -> None:
    done = checkout.run("superb", "--data-dir", ".", "--task", "ks", "--encoders", "one: a", "--exp", "exp/mine")
    assert done.returncode == 0, done.stderr
    for _, name, *words in checkout.calls:
        settings = load_settings(command_named(name), words)
        assert settings.data_dir == "." and settings.corpus_dir is None
    assert settings.cache_dir == "exp/mine/cache"


def test_superb_leaves_out_what_a_search_does_not_take(checkout: Any, tmp_path: Path) -> None:
    given = {
        "labels": "[a]",
        "preset": "quick",
        "steps": "9",
        "check_every": "3",
        "batch_size": "2",
        "lr": "[1]",
        "seeds": "[3]",
        "head_width": "64",
        "head_bf16": "true",
    }
    assert set(given) == set(_UNTRAINED)
    conf = tmp_path / "mine.conf"
    conf.write_text("".join(f"evaluate  {name}={value}\n" for name, value in given.items()) + "evaluate cache_gb=3\n")
    options = ("--corpus-root", ".", "--encoders", "one: a", "--seeds", "2", "--config", str(conf))
    done = checkout.run("superb", *options, "--task", "qbe")
    assert done.returncode == 0, done.stderr
    for _, name, *words in checkout.calls:
        assert load_settings(command_named(name), words).cache_gb == 3
    assert all(f"left out of evaluate here: {name}={value}\n" in done.stderr for name, value in given.items())
    conf.write_text("evaluate batch_size=4\nevaluate steps=9\n")
    checkout.run("superb", *options, "--task", "ks")
    assert {"batch_size=4", "steps=9", "seeds=[1,2]"} <= set(checkout.calls[1])


@pytest.mark.parametrize(
    ("options", "needed"),
    [
        ((), "--corpus-root or --data-dir is needed by stage 1"),
        (("--stage", "2", "--encoders", "one: a"), "--corpus-root or --data-dir is needed by stage 2"),
        (("--corpus-root", "."), "--encoders is needed by stage 2"),
        (("--data-dir", "."), "--encoders is needed by stage 2"),
        (("--corpus-root", ".", "--stop-stage", "1"), ""),
        (("--data-dir", ".", "--stop-stage", "1"), ""),
    ],
)
def test_superb_says_at_once_what_is_needed(checkout: Any, options: tuple[str, ...], needed: str) -> None:
    done = checkout.run("superb", *options)
    assert done.returncode == (2 if needed else 0)
    assert needed in done.stderr and ("setup: ready" in done.stdout) == (not needed)
