"""A small corpus on disk: tones of two languages and several speakers, with phone times."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

PHONES = {"aa": 300.0, "iy": 900.0, "sil": 0.0}


def write_corpus(folder: Path, speakers: list[str], splits: dict[str, str], prompts: int = 6) -> Path:
    """Write recordings, manifests, metadata and alignments; the pitch of a phone depends on speaker and sentence."""
    audio = folder / "audio"
    audio.mkdir(parents=True)
    rows, aligned, manifests = [], [], {}
    for number, speaker in enumerate(speakers):
        for prompt in range(prompts):
            random = np.random.default_rng(prompt)
            phones = ["sil", *random.choice(["aa", "iy"], size=6), "sil"]
            durations = random.uniform(0.08, 0.16, size=len(phones))
            pieces, start = [], 0.0
            name = f"{speaker}-{prompt}.wav"
            for phone, seconds in zip(phones, durations, strict=True):
                time = np.arange(round(seconds * 16000)) / 16000
                pieces.append(np.sin(2 * np.pi * PHONES[phone] * (1 + 0.08 * number) * time))
                aligned.append((name, start, start + len(time) / 16000, phone))
                start += len(time) / 16000
            wave = 0.3 * np.concatenate(pieces)
            wave = wave + 0.01 * np.random.default_rng(100 * number + prompt).standard_normal(len(wave))
            soundfile.write(audio / name, wave, 16000)
            split = splits.get(speaker, "train")
            language = "xx" if number % 2 else "yy"
            rows.append((name, split, f"{start:.3f}", speaker, language, f"sentence{prompt}", "one"))
            manifests.setdefault(split, []).append((name, len(wave)))
    header = ("path", "split", "seconds", "speaker", "language", "prompt", "device")
    write_table(folder / "metadata.tsv", header, rows)
    write_table(folder / "alignments.tsv", ("path", "start", "end", "phone"), aligned)
    for split, entries in manifests.items():
        write_table(folder / f"{split}.tsv", (str(audio),), entries)
    return folder


def write_table(path: Path, header: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in [header, *rows]), encoding="utf-8")


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    return write_corpus(folder / "data", [f"s{n}" for n in range(6)], {"s5": "valid"})
