"""Write a few minutes of made-up, speech-like audio for smoke runs: `make_smoke_audio.py FOLDER`.

Voices are harmonics of a gliding pitch, shaped by two formants that step through "phones". Two invented languages
use different phones, so that labels have something to find. Formats, rates and channels differ, and two files are
unusable on purpose: an empty one and a silent one.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

FORMATS = [("wav", 8000), ("flac", 16000), ("wav", 44100), ("ogg", 22050), ("flac", 48000), ("opus", 48000)]
VOICES = {"adam": (110.0, 1.0), "bella": (210.0, 1.15), "carl": (135.0, 1.05), "dora": (190.0, 1.2)}
"""Pitch in hertz and factor of the formants."""
LANGUAGES = {
    "red": [(300, 2300), (650, 1100), (450, 800)],
    "blue": [(300, 900), (750, 1700), (500, 2000)],
}
"""First and second formant of each phone, in hertz."""
PROMPTS = 20
SECONDS = 2.6
PHONE_SECONDS = 0.13


def utterance(
    rate: int, pitch: float, scale: float, phones: list[tuple[int, int]], generator: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Return `(samples,)` of one utterance: each phone lasts `PHONE_SECONDS`, and the loudness follows the phones."""
    time = np.arange(int(SECONDS * rate)) / rate
    place = np.minimum((time / PHONE_SECONDS).astype(int), len(phones) - 1)
    formants = np.array(phones, dtype=float)[place] * scale
    glide = pitch * (1 + 0.1 * np.sin(2 * np.pi * 0.7 * time + generator.uniform(0, 6)))
    phase = 2 * np.pi * np.cumsum(glide) / rate
    signal = np.zeros_like(time)
    for harmonic in range(1, int(min(0.45 * rate, 3600) / (1.1 * pitch))):
        frequency = harmonic * glide
        gain = sum(np.exp(-(((frequency - formants[:, i]) / 150) ** 2)) for i in range(2)) + 0.01
        signal += gain * np.sin(harmonic * phase)
    signal *= 0.3 + np.abs(np.sin(np.pi * time / PHONE_SECONDS))
    return 0.5 * signal / np.abs(signal).max() + 0.002 * generator.standard_normal(len(time))


def write_corpus(folder: Path) -> None:
    """Write all recordings and `metadata.tsv` with speaker, language and prompt."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(1)
    rows = ["path\tspeaker\tlanguage\tprompt"]
    for language, inventory in LANGUAGES.items():
        for prompt in range(PROMPTS):
            order = generator.integers(len(inventory), size=int(SECONDS / PHONE_SECONDS))
            for number, (voice, (pitch, scale)) in enumerate(VOICES.items()):
                kind, rate = FORMATS[(prompt + number) % len(FORMATS)]
                signal = utterance(rate, pitch, scale, [inventory[i] for i in order], generator)
                path = Path(voice) / f"{language}-{prompt:02d}.{kind}"
                (folder / voice).mkdir(exist_ok=True)
                stereo = rate == 44100
                audio = np.stack([signal, 0.5 * signal], axis=1) if stereo else signal
                options = {"format": "OGG", "subtype": "OPUS"} if kind == "opus" else {}
                soundfile.write(folder / path, audio, rate, **options)
                rows.append(f"{path}\t{voice}\t{language}\t{language}-{prompt}")
    (folder / "empty.wav").write_bytes(b"")
    soundfile.write(folder / "silent.flac", np.zeros(3 * 16000), 16000)
    (folder / "metadata.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: make_smoke_audio.py FOLDER")
    write_corpus(Path(sys.argv[1]))
