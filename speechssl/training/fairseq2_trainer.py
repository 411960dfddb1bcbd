"""fairseq2's trainer and what it calls, without the package of recipes around it.

`fairseq2.trainer` and `fairseq2.evaluator` take two small modules from `fairseq2.recipe`. Its `__init__` loads
transformers and every model family of fairseq2, for seconds, and needs the trainer itself. So it is not run here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import fairseq2


@contextmanager
def bare_package(name: str, folder: Path) -> Iterator[None]:
    """Import modules of a package without its `__init__`, which is left for whoever imports the package afterwards."""
    if name in sys.modules:
        yield
        return
    package = ModuleType(name)
    package.__path__ = [str(folder)]
    sys.modules[name] = package
    try:
        yield
    finally:
        del sys.modules[name]


with bare_package("fairseq2.recipe", Path(fairseq2.__file__).parent / "recipe"):
    from fairseq2.evaluator import EvalUnit
    from fairseq2.trainer import Trainer, TrainUnit
    from fairseq2.validator import StandardValidator, Validator

__all__ = ["EvalUnit", "StandardValidator", "TrainUnit", "Trainer", "Validator"]
