"""Speed of a linear evaluation on frozen features: encoded once, against the encoder run again in every epoch.

usage: python tools/bench/lape.py [--clips 400] [--seconds 5] [--epochs 30] [--classes 10] [--data DIR]

The other way is that of the code released with LAPE: each epoch reads clips, runs the frozen encoder and updates the
linear head. Its time is measured over one epoch and multiplied, for the epochs are alike; its first epoch, which reads
audio from the disk, is not counted. Without --data (a folder of `speechssl manifest`) the clips are noise.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch.nn import functional

from speechssl.evaluation.lape.clips import Clips
from speechssl.evaluation.lape.features import pooled_features
from speechssl.evaluation.lape.heads import Examples, HeadOptions, train_heads
from speechssl.evaluation.recordings import Recording, read_recordings
from speechssl.evaluation.vectors import VectorFile
from speechssl.models.clip_config import ClipConfig
from speechssl.models.clip_encoder import ClipEncoder

BATCH = 32


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=400, help="recordings")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a clip")
    parser.add_argument("--epochs", type=int, default=30, help="passes of the head")
    parser.add_argument("--classes", type=int, default=10, help="number of classes")
    parser.add_argument("--data", help="folder of `speechssl manifest`")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    encoder = ClipEncoder(ClipConfig()).to(device).eval()
    with tempfile.TemporaryDirectory() as folder:
        found = read_recordings(arguments.data) if arguments.data else noise(Path(folder), arguments)
        recordings = found[: arguments.clips]
        labels = torch.randint(arguments.classes, (len(recordings),), device=device)
        kept = VectorFile(Path(folder) / "vectors.f32", encoder.dim)
        once, ours = encoded_once(encoder, recordings, labels, kept, arguments, device)
        again = encoded_again(encoder, recordings, labels, arguments, device)
    print(f"{device}, {len(recordings)} clips of {arguments.seconds:g} s, {arguments.epochs} epochs, AudioNTT")
    print(f"encoded once: {ours:.2f} s ({once:.2f} s of it the encoder)")
    print(f"encoded in every epoch: {again:.2f} s; ours takes {ours / again:.3f} of that")


def noise(folder: Path, arguments: argparse.Namespace) -> list[Recording]:
    """Return recordings of noise."""
    generator = np.random.default_rng(0)
    samples = round(arguments.seconds * 16_000)
    recordings = []
    for number in range(arguments.clips):
        path = folder / f"{number}.wav"
        soundfile.write(path, 0.1 * generator.standard_normal(samples), 16_000)
        recordings.append(Recording(path.name, path.parent, samples, "train", {}))
    return recordings


def encoded_once(
    encoder: ClipEncoder,
    recordings: list[Recording],
    labels: torch.Tensor,
    kept: VectorFile,
    arguments: argparse.Namespace,
    device: torch.device,
) -> tuple[float, float]:
    """Return the seconds of the encoder, and of all."""
    started = time.perf_counter()
    features = pooled_features(encoder, recordings, Clips(arguments.seconds), 60.0, device, "clips", kept)
    encoded = time.perf_counter()
    options = HeadOptions(arguments.classes, [1], [1e-3], arguments.epochs, BATCH)
    rows = torch.arange(len(recordings))[None]
    for _ in train_heads(Examples(features, labels), rows, options):
        pass
    return encoded - started, time.perf_counter() - started


def encoded_again(
    encoder: ClipEncoder,
    recordings: list[Recording],
    labels: torch.Tensor,
    arguments: argparse.Namespace,
    device: torch.device,
) -> float:
    """Return the seconds of all epochs, from one that is measured."""
    head = torch.nn.Linear(encoder.dim, arguments.classes).to(device)
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-3)
    clips = Clips(arguments.seconds)
    seconds = 0.0
    for _ in range(2):
        started = time.perf_counter()
        for number, batch in enumerate(clips.batches(recordings, BATCH)):
            with torch.no_grad():
                pooled = encoder.pool(encoder(batch.to(device)))
            loss = functional.cross_entropy(head(pooled), labels[number * BATCH :][: len(pooled)])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        loss.item()  # waits for a GPU
        seconds = time.perf_counter() - started
    return seconds * arguments.epochs


if __name__ == "__main__":
    main()
