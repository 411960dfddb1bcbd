import numpy as np
import pytest
import soundfile


@pytest.fixture
def write_noise():
    """Return a function that writes a recording of noise and makes its folder."""

    def write(path, seconds=0.5, rate=8000, seed=0, **options):
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * np.random.default_rng(seed).uniform(-1, 1, round(seconds * rate)), rate, **options)

    return write
