from __future__ import annotations

import pytest

from speechssl.evaluation.spread import mean_and_spread


def test_by_hand() -> None:
    assert mean_and_spread([1.0, 2.0, 6.0]) == {"mean": 3.0, "spread": pytest.approx(7**0.5), "runs": 3}
    assert mean_and_spread([0.5]) == {"mean": 0.5, "spread": 0.0, "runs": 1}
