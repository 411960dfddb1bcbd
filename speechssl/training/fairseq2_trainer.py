"""fairseq2's trainer and what it calls, without what it brings along and nothing here uses.

`fairseq2.trainer` and `fairseq2.evaluator` take two small modules from `fairseq2.recipe`. Its `__init__` loads
transformers and every model family of fairseq2, for seconds, and needs the trainer itself. So it is not run here.
Its metrics bring wandb, and torchvision for scores of images, for seconds too: both are loaded when they are used.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import fairseq2


@contextmanager
def bare_package(name: str, folder: Path) -> Iterator[None]:
    """Import modules of a package without its `__init__`, which is left for whoever imports the package afterwards."""
    package = ModuleType(name)
    package.__path__ = [str(folder)]
    with _in_its_place(name, package):
        yield


@contextmanager
def loaded_when_used(name: str) -> Iterator[None]:
    """Import modules that take something from a package, without that package: it is loaded when they use it."""
    package = _LaterPackage(name)
    package.__spec__ = importlib.util.find_spec(name)
    if package.__spec__ is None:  # whoever asks for it is to learn that it is not installed
        yield
        return
    with _in_its_place(name, package):
        yield


class _Later:
    """Something of a package that is not loaded yet."""

    def __init__(self, package: str, name: str) -> None:
        self._place = (package, name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._found(), name)

    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        return self._found()(*arguments, **settings)

    def _found(self) -> Any:
        package, name = self._place
        return getattr(importlib.import_module(package), name)


class _LaterPackage(ModuleType):
    def __getattr__(self, name: str) -> _Later:
        # Python looks at what all modules have, such as `__file__`: that is no use.
        if name.startswith("__"):
            raise AttributeError(name)
        return _Later(self.__name__, name)


@contextmanager
def _in_its_place(name: str, module: ModuleType) -> Iterator[None]:
    """Have `module` imported by that name, unless the package is there already."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = module
    try:
        yield
    finally:
        del sys.modules[name]


with (
    bare_package("fairseq2.recipe", Path(fairseq2.__file__).parent / "recipe"),
    loaded_when_used("torchvision"),
    loaded_when_used("wandb"),
):
    from fairseq2.evaluator import EvalUnit
    from fairseq2.metrics import Mean, MetricBag
    from fairseq2.metrics.recorders import (
        NOOP_METRIC_DESCRIPTOR,
        NOOP_METRIC_RECORDER,
        MetricDescriptorRegistry,
        MetricRecorder,
        TensorBoardRecorder,
    )
    from fairseq2.trainer import Trainer, TrainUnit
    from fairseq2.validator import StandardValidator, Validator

__all__ = [
    "NOOP_METRIC_DESCRIPTOR",
    "NOOP_METRIC_RECORDER",
    "EvalUnit",
    "Mean",
    "MetricBag",
    "MetricDescriptorRegistry",
    "MetricRecorder",
    "StandardValidator",
    "TensorBoardRecorder",
    "TrainUnit",
    "Trainer",
    "Validator",
]
