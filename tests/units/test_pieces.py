import pytest
import torch
from torch.nn.functional import conv1d

from speechssl.units.pieces import FrameLayout


@pytest.mark.parametrize("samples", [0, 399, 400, 719, 720, 5000, 16000, 50123])
def test_frames_are_a_convolutions(samples: int) -> None:
    layout = FrameLayout(stride=320, window=400)
    expected = 0 if samples < 400 else conv1d(torch.zeros(1, 1, samples), torch.zeros(1, 1, 400), stride=320).shape[-1]
    assert layout.frames(samples) == expected


@pytest.mark.parametrize("context", [0, 3])
@pytest.mark.parametrize("samples", [100, 430, 999, 1000, 1030, 4321, 10_000])
def test_pieces_put_together_are_the_whole(samples: int, context: int) -> None:
    layout = FrameLayout(stride=40, window=100)
    audio = torch.randn(1, 1, samples, generator=torch.Generator().manual_seed(0))
    # Neighbours up to three frames away count, and the edges of what is computed at once are padded with zeros.
    blur = torch.randn(1, 1, 2 * context + 1, generator=torch.Generator().manual_seed(1))

    def front_end(waveform: torch.Tensor) -> torch.Tensor:
        frames = conv1d(waveform, torch.ones(1, 1, 100), stride=40)
        return conv1d(frames, blur, padding=context)[0, 0]

    pieces = list(layout.pieces(samples, most_frames=20, context=context))
    parts = [front_end(audio[..., piece.start : piece.stop])[piece.skip :][: piece.keep] for piece in pieces]
    assert max(len(part) for part in parts) <= 20
    torch.testing.assert_close(torch.cat(parts), front_end(audio))
