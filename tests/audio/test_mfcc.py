import numpy as np
import torch
from torchaudio.compliance import kaldi

from speechssl.audio.fbank import log_mel_fbank
from speechssl.audio.mfcc import MFCC_DIM, mfcc


def test_static_part_is_the_cosine_transform_of_the_filterbank():
    """Kaldi's MFCC worked out from 23 log-mel bands: orthonormal DCT-II, then the cepstral lifter of 22."""
    waveform = 0.1 * torch.randn(8000, generator=torch.Generator().manual_seed(1))
    bands = log_mel_fbank(waveform[None], num_mels=23)[0].double().numpy()
    order, band = np.arange(13)[:, None], np.arange(23)[None]
    transform = np.sqrt(2 / 23) * np.cos(np.pi * order * (band + 0.5) / 23)
    transform[0] = np.sqrt(1 / 23)
    lifter = 1 + 11 * np.sin(np.pi * np.arange(13) / 22)
    np.testing.assert_allclose(mfcc(waveform)[:, :13].numpy(), bands @ transform.T * lifter, atol=2e-3)


def test_deltas_are_regression_slopes_over_five_frames():
    waveform = 0.1 * torch.randn(8000, generator=torch.Generator().manual_seed(2))
    features = mfcc(waveform).double().numpy()
    static, deltas, delta_deltas = features[:, :13], features[:, 13:26], features[:, 26:]
    for source, target in [(static, deltas), (deltas, delta_deltas)]:
        slopes = (source[3:-1] - source[1:-3] + 2 * (source[4:] - source[:-4])) / 10
        np.testing.assert_allclose(target[2:-2], slopes, atol=1e-4)


def test_shape_follows_kaldi_s_snip_edges():
    for samples in (0, 399, 400, 560, 16000):
        frames = kaldi.mfcc(torch.randn(1, samples)).shape[0] if samples >= 400 else 0
        assert mfcc(torch.randn(samples)).shape == (frames, MFCC_DIM)
