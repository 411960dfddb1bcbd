"""SE and SS: masks on the spectrum of a mixture that leave its sources."""

from __future__ import annotations

import statistics
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

from speechssl.errors import UserError
from speechssl.evaluation.superb.data import PARTS, TaskData, Utterance
from speechssl.evaluation.superb.packed_lstm import with_packed_lstms
from speechssl.evaluation.superb.problems import quality
from speechssl.evaluation.superb.problems.mixtures import Mixture, mixtures_of
from speechssl.evaluation.superb.problems.problem import Problem
from speechssl.evaluation.superb.problems.spectra import BINS, matched, signals, spectrum
from speechssl.evaluation.superb.units import label, shown
from speechssl.progress import progress
from speechssl.s3prl_patches import guarded_s3prl
from speechssl.threads import available_cores

_WIDTH = 896
"""Of each direction of an LSTM, as published."""
_LONGEST_HOP = 320
"""Most samples from one spectrum to the next, those of an encoder of 50 frames a second."""


class MaskHead(nn.Module):
    """A mask for each source.

    Args:
        network: s3prl's `SepRNN`.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Return masks `(batch, sources, frames, bins)`, 0 or more, of features `(batch, frames, dim)`."""
        packed = pack_padded_sequence(features, lengths.cpu(), batch_first=True, enforce_sorted=False)
        return torch.stack(self.network(packed), dim=1)


class Separation(Problem):
    """Three BLSTM of 896 (`SepRNN` of s3prl's downstream) make masks; what SE and SS share.

    After s3prl's `separation_stft` and `enhancement_stft`, the first versions, which SUPERB-SG uses: spectra of 512
    samples, one a frame of the encoder; features that are missing at the end are zero. The mask of a source, times the
    magnitudes of the mixture, is to be the source's magnitudes times the cosine of the phase between the two where that
    is above 0 (arXiv 1703.06284). The loss is the square of the difference in the better order of sources, summed over
    the bins, the mean over frames, sources and utterances. Whole utterances are learnt from, none is cut.

    An encoder with fewer than 50 frames a second has them repeated: s3prl would leave samples between the spectra.
    Hidden states are stored; recordings are read whenever they are needed.

    Args:
        data: of the task.
        columns: the recordings of the sources.
        width: of each direction of an LSTM.
        bf16: whether the products in them are in bf16.
    """

    pooled = False
    lower_is_better = False
    sources: int
    """Of a mixture."""
    threaded = False
    """Whether mixtures are scored in threads."""

    def __init__(self, data: TaskData, columns: Sequence[str], width: int = _WIDTH, bf16: bool = False) -> None:
        if len(columns) != self.sources:
            raise UserError(
                f"labels={list(columns)}: this task reads {self.sources} column(s), the recordings of the sources"
            )
        self._width, self._bf16 = width, bf16
        self._threads = ThreadPoolExecutor(available_cores())
        self._mixtures = {part: mixtures_of(data, part, columns) for part in PARTS}
        # What cannot be scored is found here, before anything is trained.
        self._unprocessed = {part: self._unprocessed_scores(part) for part in PARTS[1:]}

    def pieces(self, part: str, utterances: Sequence[Utterance], frame_rate: float) -> Sequence[Mixture]:
        """Return the mixtures with their sources."""
        return [self._mixtures[part][item.name].at_rate(frame_rate, _LONGEST_HOP) for item in utterances]

    def head(self, dim: int) -> nn.Module:
        """Return s3prl's head."""
        with guarded_s3prl():
            from s3prl.downstream.separation_stft.model import SepRNN
        network = SepRNN(dim, BINS, num_spks=self.sources, num_layers=3, hidden_size=self._width, dropout=0.5)
        return MaskHead(with_packed_lstms(network, self._bf16))

    def loss(self, head: nn.Module, features: Tensor, lengths: Tensor, utterances: Sequence[Any]) -> Tensor:
        """Return the squared difference to the phase-sensitive targets, in the better order of sources."""
        spectra = list(self._threads.map(_spectra, utterances))
        frames = torch.tensor([len(one) for one in spectra], device=features.device)
        padded = pad_sequence(spectra, batch_first=True).to(features.device).transpose(1, 2)
        mixture, sources = padded[:, :1], padded[:, 1:]
        masks = head(matched(features, int(frames.max()), utterances[0].repeats), frames)
        targets = sources.abs() * torch.cos(mixture.angle() - sources.angle()).relu()

        def difference(said: Tensor, target: Tensor) -> Tensor:
            return (said - target).square().sum(dim=(1, 2)) / frames

        losses, _ = quality.best_order(masks * mixture.abs(), targets, difference, "min")
        return losses.mean()

    def predict(
        self, head: nn.Module, features: Tensor, lengths: Tensor, utterances: Sequence[Any]
    ) -> list[dict[str, float]]:
        """Return the scores of each utterance: signals of a whole part would not fit into memory."""
        waveforms = list(self._threads.map(Mixture.read, utterances))
        spectra = [spectrum(waveform, mixture.hop) for waveform, mixture in zip(waveforms, utterances, strict=True)]
        frames = torch.tensor([len(one) for one in spectra], device=features.device)
        masks = head(matched(features, int(frames.max()), utterances[0].repeats), frames).detach().cpu()

        def score(row: int) -> dict[str, float]:
            mixture, waveform, mixed = utterances[row], waveforms[row], spectra[row]
            estimates = signals(masks[row, :, : len(mixed)] * mixed, mixture.hop, len(waveform))
            return self._scores(estimates, waveform, mixture)

        return list(self._each(score, range(len(utterances))))

    def scores(self, predictions: Sequence[dict[str, float]], utterances: Sequence[Utterance]) -> dict[str, float]:
        """Return the means over the utterances, and the share `silent` of those with an estimate without sound."""
        return {name: statistics.fmean(scores[name] for scores in predictions) for name in predictions[0]}

    @abstractmethod
    def measure(self, estimates: Tensor, references: Tensor, mixture: Tensor) -> dict[str, float]:
        """Return the scores of estimates `(sources, samples)` of what is in a mixture `(samples,)`."""

    def facts(self) -> dict[str, Any]:
        """Return the scores of the mixtures as they are, and those of an estimate without sound."""
        notes = [
            f"unprocessed mixtures of {part}: "
            + ", ".join(f"{label(name)} {shown(name, scores[name])}" for name in self.metrics)
            for part, scores in self._unprocessed.items()
        ]
        floor = [f"{label(name)} {value:g}" for name, value in quality.WITHOUT_SOUND.items() if name in self.metrics]
        return {"notes": [*notes, f"an estimate without sound counts as {', '.join(floor)}"]}

    def _unprocessed_scores(self, part: str) -> dict[str, float]:
        """Return the scores of a part's mixtures as they are."""
        mixtures = list(self._mixtures[part].values())

        def score(mixture: Mixture) -> dict[str, float]:
            waveform = mixture.read()
            return self._scores(waveform.expand(self.sources, -1), waveform, mixture)

        each = self._each(score, mixtures)
        found = list(progress(each, f"unprocessed mixtures of {part}", "mixture", len(mixtures)))
        return self.scores(found, mixtures)

    def _each(self, score: Callable[[Any], dict[str, float]], items: Iterable[Any]) -> Iterable[dict[str, float]]:
        """Return the scores of each item, in their order."""
        return self._threads.map(score, items) if self.threaded else map(score, items)

    def _scores(self, estimates: Tensor, waveform: Tensor, mixture: Mixture) -> dict[str, float]:
        silent = not bool(estimates.any(dim=1).all())
        try:
            return {**self.measure(estimates, mixture.references(), waveform), "silent": float(silent)}
        except quality.NoSpeechError as error:
            audio = mixture.sources[0].audio
            raise UserError(f"{audio} (utterance {mixture.name}): {error}; take its line out") from error


class SpeechEnhancement(Separation):
    """SE: speech without its noise. PESQ, by which s3prl chooses, STOI and SI-SDR.

    PESQ needs the package `pesq`, which has to be compiled. Without it STOI comes first, and the results say so. In
    threads STOI would gain little, and what it warns of is told from a score by warnings, which all threads share.
    """

    sources = 1

    @property
    def metrics(self) -> Sequence[str]:
        """Names of the scores."""
        return ("pesq", "stoi", "si_sdr") if quality.has_pesq() else ("stoi", "si_sdr")

    def measure(self, estimates: Tensor, references: Tensor, mixture: Tensor) -> dict[str, float]:
        """Return PESQ where it is installed, STOI and SI-SDR."""
        estimate, reference = estimates[0], references[0]
        opinion = {"pesq": quality.pesq(estimate, reference)} if quality.has_pesq() else {}
        return {
            **opinion,
            "stoi": quality.stoi(estimate, reference),
            "si_sdr": quality.si_sdr(estimates, references),
        }

    def facts(self) -> dict[str, Any]:
        """Return the scores of the noisy speech, and whether PESQ is missing."""
        facts = super().facts()
        if not quality.has_pesq():
            facts["notes"].append(
                "PESQ is missing, stoi decides in its place: the package pesq is not installed (pip install "
                "-e '.[pesq]', which needs a C compiler)"
            )
        return facts


class SourceSeparation(Separation):
    """SS: what each of two speakers says. The gain in SI-SDR over the mixture, by which s3prl chooses, and SI-SDR.

    The order of the speakers is the one with the highest SI-SDR; s3prl takes the one with the highest SDR.
    """

    sources = 2
    metrics = ("si_sdri", "si_sdr")
    threaded = True

    def measure(self, estimates: Tensor, references: Tensor, mixture: Tensor) -> dict[str, float]:
        """Return the gain over the mixture, and the ratio itself."""
        ratio = quality.si_sdr(estimates, references)
        gain = ratio - quality.si_sdr(mixture.expand(self.sources, -1), references)
        return {"si_sdri": gain, "si_sdr": ratio}


def _spectra(mixture: Mixture) -> Tensor:
    """Return `(frames, 1 + sources, BINS)`, complex: the mixture's first."""
    waveforms = [mixture.read(), *mixture.references()]
    return torch.stack([spectrum(waveform, mixture.hop) for waveform in waveforms], dim=1)
