"""fairseq2's trainer without its package of recipes."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from speechssl.training.fairseq2_trainer import bare_package


def test_the_trainer_leaves_fairseq2_whole() -> None:
    """Nothing that is not used is loaded, and whoever wants fairseq2's recipes afterwards has all of them."""
    code = """
import sys
import speechssl.training.loop
assert not {"transformers", "fairseq2.recipe"} & set(sys.modules)
import fairseq2.recipe, fairseq2.trainer
from fairseq2.recipe.error import MinimumLossScaleReachedError
assert fairseq2.recipe.train_main and fairseq2.recipe.Trainer is speechssl.training.loop.Trainer
assert fairseq2.trainer.MinimumLossScaleReachedError is MinimumLossScaleReachedError
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_init_of_a_bare_package_runs_later_or_has_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "heavy_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("from heavy_package.part import VALUE\n")
    (folder / "part.py").write_text("VALUE = [1]\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with bare_package("heavy_package", folder):
        part = importlib.import_module("heavy_package.part")
        assert not hasattr(sys.modules["heavy_package"], "VALUE")
    whole = importlib.import_module("heavy_package")
    assert whole.VALUE is part.VALUE
    with bare_package("heavy_package", folder):
        assert sys.modules["heavy_package"] is whole
    assert sys.modules["heavy_package"] is whole
