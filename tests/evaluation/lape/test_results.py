"""What the results say of a task, against cases worked by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from speechssl.evaluation.lape.results import LapeResults
from speechssl.evaluation.lape.splits import Division
from tests.evaluation.lape.test_protocols import settings, task_data


def test_chance_is_that_of_the_test_part(tmp_path: Path) -> None:
    """Class 0 has most clips, but of the test parts only one clip: two of three, then three of four, are of class 1."""
    labels = torch.tensor([0] * 8 + [1, 1, 0] + [1, 1, 1, 2])
    train, first, second = np.arange(8), np.arange(8, 11), np.arange(11, 15)
    divisions = [Division("one", train, train[:0], first), Division("other", train, train[:0], second)]
    task = LapeResults(settings(lr=[0.1]), task_data(labels), divisions, tmp_path, []).to_json()["task"]
    assert task["most_frequent_class"] == pytest.approx((2 / 3 + 3 / 4) / 2)
