"""What one pass keeps: the same for any batch size and order, the frames and phones that were asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
import torch

from speechssl.audio.fbank import log_mel_fbank
from speechssl.errors import UserError
from speechssl.evaluation.encoders.baselines import FilterbankEncoder
from speechssl.evaluation.extract import Request, WaveformCache, batches, extract
from speechssl.evaluation.recordings import Recording, read_recordings
from speechssl.models.hubert import HubertEncoder
from speechssl.models.hubert_config import HubertConfig


@pytest.fixture
def requests(corpus: Path) -> list[Request]:
    found = read_recordings(corpus)
    return [Request(recording, pooled=True, sequence=True, phone_frames=9, rank_frames=5) for recording in found]


def test_batch_size_and_file_order_change_nothing(requests: list[Request]) -> None:
    torch.manual_seed(0)
    encoder = HubertEncoder(HubertConfig(front_end="fbank", num_layers=2, dim=16, ffn_dim=32, num_heads=2, conv_pos=8))
    alone = extract(encoder, requests, WaveformCache(20), 0.01, seed=1, description="alone")
    together = extract(encoder, requests[::-1], WaveformCache(20, limit=1), 60, seed=1, description="together")
    for audio, pooled in alone.pooled.items():
        torch.testing.assert_close(together.pooled[audio], pooled, atol=1e-4, rtol=1e-4)
        assert together.phones[audio][1] == alone.phones[audio][1]
        torch.testing.assert_close(together.phones[audio][0], alone.phones[audio][0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(together.gram, alone.gram, atol=1e-3, rtol=1e-4)
    assert alone.gram_frames == together.gram_frames == 5 * len(requests)


def test_frames_are_kept_with_the_phone_at_their_centre(corpus: Path) -> None:
    recording = read_recordings(corpus)[0]
    hidden = extract(FilterbankEncoder(50.0), [Request(recording, phone_frames=6)], WaveformCache(20), 60, 1, "fbank")
    vectors, phones = hidden.phones[recording.audio]
    assert vectors.shape == (1, 6, 160) and len(phones) == 6
    waveform = torch.from_numpy(soundfile.read(recording.audio, dtype="float32")[0])
    fbank = log_mel_fbank(waveform[None])[0]
    for vector, phone in zip(vectors[0], phones, strict=True):
        # Find the frame again by its numbers, and look up its centre by hand.
        first = [f for f in range(0, len(fbank) - 1, 2) if torch.equal(torch.cat([fbank[f], fbank[f + 1]]), vector)]
        centre = (first[0] // 2 + 0.5) / 50
        assert phone == next(p.phone for p in recording.phones if p.start <= centre < p.end)


def test_encoders_of_one_rate_are_probed_on_the_same_phones(requests: list[Request]) -> None:
    class OneFrameLess(FilterbankEncoder):
        def frame_lengths(self, lengths: torch.Tensor) -> torch.Tensor:
            return super().frame_lengths(lengths) - 1

    full, less = (extract(e, requests, WaveformCache(20), 9, 1, "e") for e in (FilterbankEncoder(), OneFrameLess()))
    same = sum(full.phones[audio][1] == less.phones[audio][1] for audio in full.phones)
    assert same > 0.6 * len(full.phones)


def test_long_recordings_are_cut(corpus: Path) -> None:
    recording = read_recordings(corpus)[0]
    hidden = extract(FilterbankEncoder(), [Request(recording, sequence=True)], WaveformCache(0.5), 60, 1, "fbank")
    assert hidden.sequences[recording.audio].shape[1] == (8000 - 400) // 160 // 2 + (8000 - 400) // 160 % 2


@pytest.mark.parametrize("samples", [399, 400, 559, 560, 719, 720, 880])
def test_filterbanks_have_whole_stacks_only(samples: int) -> None:
    encoder = FilterbankEncoder(50.0)
    frames = encoder(torch.zeros(1, samples)).hidden_states[0].shape[1]
    assert (
        frames == int(encoder.frame_lengths(torch.tensor([samples]))) == (0 if samples < 560 else 1 + (samples > 879))
    )


@pytest.mark.parametrize(
    ("longest", "remedy"), [(20.0, "remove it from the manifest"), (0.15, "it is cut there: raise max_seconds")]
)
def test_what_is_too_short_for_a_frame_is_named_with_what_made_it_so(corpus: Path, longest: float, remedy: str) -> None:
    slow = FilterbankEncoder(5.0 if longest < 1 else 0.1)
    with pytest.raises(UserError, match=f"is too short for a frame of the encoder; {remedy}"):
        extract(slow, [Request(read_recordings(corpus)[0])], WaveformCache(longest), 60, 1, "fbank")


def test_a_recording_whose_states_are_not_finite_is_named(requests: list[Request]) -> None:
    """In a batch of several, and not by what an encoder makes of padding."""

    class Broken(FilterbankEncoder):
        def forward(self, waveforms, lengths=None, mask=None):
            output = super().forward(waveforms, lengths, mask)
            row = int(output.lengths.argmin()) if self.inside else int(output.lengths.argmax())
            output.hidden_states[-1][row, 0 if self.inside else int(output.lengths[row]) :] = float("nan")
            return output

    encoder = Broken(100)
    encoder.inside = False
    extract(encoder, requests, WaveformCache(20), 60, seed=1, description="it")
    encoder.inside = True
    shortest = min(requests, key=lambda request: request.recording.samples).recording.audio
    with pytest.raises(UserError, match=f"it: hidden states are not finite on {shortest}"):
        extract(encoder, requests, WaveformCache(20), 60, seed=1, description="it")


def test_batches_hold_similar_lengths_within_the_limit() -> None:
    lengths = [16000 * seconds for seconds in (9, 1, 5, 1, 2, 30)]
    recordings = [Recording(f"{n}", Path("/"), length, "train", {}) for n, length in enumerate(lengths)]
    groups = [[r.samples // 16000 for r in group] for group in batches(recordings, 10.0, 20 * 16000)]
    assert groups == [[1, 1, 2], [5], [9], [30]]


def test_audio_that_is_not_what_the_manifest_says_is_one_clear_line(corpus: Path, tmp_path: Path) -> None:
    audio = tmp_path / "a.wav"
    soundfile.write(audio, torch.zeros(900).numpy(), 16000)
    recording = Recording("a.wav", tmp_path, 1000, "train", {})
    with pytest.raises(UserError, match="has 900 samples at 16 kHz, but 1000 in "):
        WaveformCache(20).read(recording)
