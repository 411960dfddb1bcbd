"""Pretraining on clips: clips a second, and the part of the time in which training waits for data.

usage: python tools/bench/clips.py [--data DIR] [--recordings 1024] [--clips 128] [--steps 12]
                                  [--objective barlow_twins] [--set KEY=VALUE ...]

Runs `speechssl pretrain_clips` (AudioNTT) and reads its own log: `data_time` is the time in which training waits for
the next batch to be read and decoded, `lapse_time` all the time. The first updates, in which the cache of decoded
audio is filled, count like the others. Without --data (a folder of `speechssl manifest`) the recordings are noise, as
FLAC files of 5 seconds.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from speechssl.cli.app import main as speechssl


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder of `speechssl manifest`")
    parser.add_argument("--recordings", type=int, default=1024, help="recordings of noise")
    parser.add_argument("--clips", type=int, default=128, help="clips in an update")
    parser.add_argument("--steps", type=int, default=12, help="updates")
    parser.add_argument("--objective", default="barlow_twins", help="what is trained")
    parser.add_argument("--set", nargs="*", default=[], help="more settings")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = arguments.data or noise(Path(folder), arguments.recordings)
        out = Path(folder) / "run"
        settings = [
            f"data.train={data}/train.tsv",
            f"data.valid={data}/valid.tsv",
            f"objective={arguments.objective}",
            f"clips={arguments.clips}",
            f"schedule.steps={arguments.steps}",
            "schedule.epochs=null",
            f"run.validate_every={arguments.steps}",
            "run.log_every=1",
            *arguments.set,
            f"out={out}",
        ]
        if speechssl(["pretrain_clips", *settings]) != 0:
            raise SystemExit(1)
        lines = [json.loads(line) for line in (out / "metrics/train.jsonl").read_text().splitlines()]
    waited = sum(line["data_time"] for line in lines)
    lasted = sum(line["lapse_time"] for line in lines)
    print(
        f"{len(lines)} updates of {arguments.clips} clips: {arguments.clips * len(lines) / lasted:.0f} clips a second"
    )
    print(f"waiting for data: {waited:.2f} s of {lasted:.2f} s, {100 * waited / lasted:.1f} %")


def noise(folder: Path, recordings: int) -> Path:
    """Return a folder with manifests of recordings of noise."""
    generator = np.random.default_rng(0)
    (folder / "audio").mkdir()
    for number in range(recordings):
        soundfile.write(folder / f"audio/{number}.flac", 0.1 * generator.standard_normal(80_000), 16_000)
    out = folder / "data"
    if speechssl(["manifest", f"corpus.audio_dir={folder}/audio", f"out={out}"]) != 0:
        raise SystemExit(1)
    return out


if __name__ == "__main__":
    main()
