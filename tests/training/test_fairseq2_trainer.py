"""fairseq2's trainer without its package of recipes."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from speechssl.training.fairseq2_trainer import bare_package, loaded_when_used


def test_the_trainer_leaves_fairseq2_whole() -> None:
    """Nothing that is not used is loaded, and whoever wants fairseq2's recipes afterwards has all of them."""
    code = """
import sys
import speechssl.training.loop
assert not {"transformers", "fairseq2.recipe", "torchvision", "wandb"} & set(sys.modules)
import fairseq2.recipe, fairseq2.trainer
from fairseq2.recipe.error import MinimumLossScaleReachedError
assert fairseq2.recipe.train_main and fairseq2.recipe.Trainer is speechssl.training.loop.Trainer
assert fairseq2.trainer.MinimumLossScaleReachedError is MinimumLossScaleReachedError

import torchvision, wandb
from fairseq2.metrics.recorders import WandbRecorder
from torcheval.metrics.image import fid
assert fid.models.inception_v3 is torchvision.models.inception_v3 and wandb.Run
assert fid.models.inception_v3(weights=None, init_weights=False)
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


def test_a_package_is_loaded_when_something_of_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow_package.py").write_text("def double(number):\n    return 2 * number\n")
    (tmp_path / "its_user.py").write_text("from slow_package import double\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with loaded_when_used("slow_package"):
        user = importlib.import_module("its_user")
    assert "slow_package" not in sys.modules
    assert user.double(3) == 6 and user.double.__name__ == "double"
    assert "slow_package" in sys.modules


def test_a_package_that_is_not_there_is_missing_at_once() -> None:
    with loaded_when_used("no_such_package"), pytest.raises(ModuleNotFoundError):
        importlib.import_module("no_such_package")
