"""How good frame labels are: by themselves, and against phones.

Against phones: HuBERT (arXiv 2106.07447), section IV-F: with `p(phone, unit)` the frames' joint distribution,
phone purity = sum over units of the largest `p(phone, unit)`; cluster purity = sum over phones of the largest;
PNMI = I(phone; unit) / H(phone).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from speechssl.data.alignments import Segment, frame_phones

Labels = npt.NDArray[np.integer]


class UnitStatistics:
    """Counts over the frame labels of a split, one utterance after the other."""

    def __init__(self, k: int) -> None:
        self._counts = np.zeros(k, dtype=np.int64)
        self._runs = 0
        self._utterances = 0

    def add(self, labels: Labels) -> None:
        """Count the labels `(frames,)` of one utterance."""
        self._counts += np.bincount(labels, minlength=len(self._counts))
        self._runs += int(len(labels) > 0) + int(np.count_nonzero(np.diff(labels)))
        self._utterances += 1

    def summary(self) -> dict[str, float]:
        """Return utterances, frames, mean run length in frames, used clusters, and the units' perplexity `exp(H)`."""
        frames = int(self._counts.sum())
        return {
            "utterances": self._utterances,
            "frames": frames,
            "run_length": frames / self._runs if self._runs else 0.0,
            "used_clusters": int(np.count_nonzero(self._counts)),
            "perplexity": float(np.exp(entropy(self._counts))),
        }


class PhoneStatistics:
    """Joint counts of phones and units over the aligned frames of a split."""

    def __init__(self, k: int, alignments: Mapping[str, Sequence[Segment]], frame_rate: float) -> None:
        self._k = k
        self._alignments = alignments
        self._frame_rate = frame_rate
        self._joint: dict[str, npt.NDArray[np.int64]] = {}
        self._frames = 0
        self._unaligned = 0

    def add(self, path: str, labels: Labels) -> None:
        """Count the labels `(frames,)` of the utterance with this manifest path, where it has phones."""
        segments = self._alignments.get(path)
        self._frames += len(labels)
        if segments is None:
            self._unaligned += 1
            return
        phones = frame_phones(segments, len(labels), self._frame_rate)
        for phone in {phone for phone in phones if phone is not None}:
            row = self._joint.setdefault(phone, np.zeros(self._k, dtype=np.int64))
            row += np.bincount(labels[phones == phone], minlength=self._k)

    def summary(self) -> dict[str, float]:
        """Return PNMI, purities, number of phones, the share of aligned frames, and the utterances without phones."""
        if not self._joint:
            return {"utterances_without_phones": self._unaligned}
        joint = np.stack(list(self._joint.values()))
        return {
            **joint_quality(joint),
            "phones": len(joint),
            "aligned_frames": float(joint.sum() / self._frames),
            "utterances_without_phones": self._unaligned,
        }


def joint_quality(joint: npt.NDArray[np.int64]) -> dict[str, float]:
    """Return `pnmi`, `phone_purity` and `cluster_purity` of a `(phones, units)` table of frame counts.

    PNMI is 0 where all frames have one phone: there is nothing to know.
    """
    total = joint.sum()
    phone_entropy = entropy(joint.sum(1))
    information = phone_entropy + entropy(joint.sum(0)) - entropy(joint.ravel())
    return {
        "pnmi": float(information / phone_entropy) if phone_entropy > 0 else 0.0,
        "phone_purity": float(joint.max(0).sum() / total),
        "cluster_purity": float(joint.max(1).sum() / total),
    }


def entropy(counts: npt.NDArray[np.int64]) -> float:
    """Return the entropy, in nats, of the distribution that counts estimate."""
    present = counts[counts > 0] / max(counts.sum(), 1)
    return float(-(present * np.log(present)).sum())


class SplitStatistics:
    """Both over a split: of the units, and of phones where there are alignments."""

    def __init__(self, units: UnitStatistics, phones: PhoneStatistics | None) -> None:
        self._units = units
        self._phones = phones

    def counted(self, labels: Iterable[tuple[str, Labels]]) -> Iterator[Labels]:
        """Hand on the labels `(frames,)` of every `(path, labels)`, and count them on the way."""
        for path, sequence in labels:
            self._units.add(sequence)
            if self._phones is not None:
                self._phones.add(path, sequence)
            yield sequence

    def summary(self) -> dict[str, float]:
        """Return what both say of the labels that were counted."""
        return {**self._units.summary(), **(self._phones.summary() if self._phones is not None else {})}
