"""Write csv files and recordings for `sd`, `se` and `ss` of SUPERB: two voices, or a voice and noise, in one recording.

`mixtures.py OUT --voices VOICES.tsv... --noises NOISES.tsv...` reads manifests of `speechssl manifest`, the voices'
with `speaker` in their metadata. Every fifth speaker and every fifth noise is tested, every tenth is validation, so no
part has a voice or a noise of another. Noises that belong together (of one place, of one recording) have one value in
a column of their metadata, which `--noise-column` names. Recordings that are too short for a mixture are left out, and
counted.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import librosa
import numpy as np
import numpy.typing as npt
import soundfile

from speechssl.audio import SAMPLE_RATE
from speechssl.data.manifest import read_manifest
from speechssl.data.metadata import metadata_file, read_metadata
from speechssl.data.waveforms import read_listed
from speechssl.errors import UserError
from speechssl.files import whole_file, write_text

Samples = npt.NDArray[np.float32]
Row = dict[str, object]

PARTS = ("train", "valid", "test")
SILENCE_DB = 30
"""A voice is silent where it is this far below its loudest."""
LATEST_START = 0.6
"""Of a recording of `sd`: by then the second voice has begun."""
LEVELS_DB = (-2.5, 2.5)
"""How much louder the first of two voices is: this tool's choice."""
NOISE_RATIOS_DB = (0, 5, 10, 15)
"""Of speech to noise, those that VoiceBank-DEMAND trains with."""
PEAK = 0.9
"""Of a mixture, and its sources are scaled with it."""
HEARD = 0.1
"""What the peak of a stretch is of its recording's at least: less is a pause, and its noise would count as a voice."""
TRIES = 50
"""To draw such a stretch."""


@dataclass(frozen=True)
class Recording:
    """What a mixture is made of."""

    path: Path
    samples: int
    manifest: str
    owner: str
    """The speaker, or of a noise its column's value or its own name: what belongs to one part alone."""

    def stretch(self, samples: int, random: np.random.Generator) -> Samples:
        """Return `samples` of it from anywhere but a pause."""
        waveform = read_listed(self.path, self.samples, self.manifest).numpy()
        least = HEARD * np.abs(waveform).max()
        for _ in range(TRIES):
            start = int(random.integers(self.samples - samples + 1))
            drawn = np.asarray(waveform[start : start + samples], dtype=np.float32)
            if np.abs(drawn).max() > least:
                return drawn
        raise UserError(f"{self.path} is silent, or nearly all of it: take it out of {self.manifest}")


Pair = Sequence[Recording]


def recordings(manifests: Sequence[str], samples: int, owner: str, left_out: Counter[str]) -> list[Recording]:
    """Return the recordings of manifests that have `samples` or more.

    Args:
        manifests: their files.
        samples: of a mixture.
        owner: column of the metadata that says whose each is; empty for recordings that are their own.
        left_out: counts, by reason, those that cannot be used.
    """
    found = []
    for file in manifests:
        manifest = read_manifest(file)
        metadata = read_metadata(metadata_file(file)) if owner else {}
        for index, name in enumerate(manifest.paths):
            whose = metadata.get(name, {}).get(owner, "") if owner else name
            if not whose:
                left_out[f"no {owner}"] += 1
            elif manifest.samples[index] < samples:
                left_out["too short"] += 1
            else:
                found.append(Recording(manifest.audio_path(index), int(manifest.samples[index]), file, whose))
    return found


def divide(found: Sequence[Recording]) -> dict[str, dict[str, list[Recording]]]:
    """Return the recordings of each owner of each part."""
    owned: dict[str, list[Recording]] = {}
    for one in found:
        owned.setdefault(one.owner, []).append(one)
    parts: dict[str, dict[str, list[Recording]]] = {part: {} for part in PARTS}
    for number, owner in enumerate(sorted(owned)):
        part = "test" if number % 5 == 4 else "valid" if number % 10 == 0 else "train"
        parts[part][owner] = owned[owner]
    return parts


def require(owners: Mapping[str, Sequence[Recording]], number: int, part: str, what: str) -> None:
    """Raise a `UserError` where a part has too few."""
    if len(owners) < number:
        raise UserError(f"{part} would have {len(owners)} {what} long enough for a mixture, and needs {number}")


def drawn(owners: Mapping[str, Sequence[Recording]], number: int, random: np.random.Generator) -> list[Recording]:
    """Return a recording each of `number` different owners."""
    names = random.choice(sorted(owners), size=number, replace=False)
    return [owners[name][int(random.integers(len(owners[name])))] for name in names]


def power(waveform: Samples) -> float:
    """Return the mean square."""
    return float(np.mean(np.square(waveform, dtype=np.float64)))


def louder_by(waveform: Samples, other: Samples, decibels: float) -> Samples:
    """Return `waveform` so that it is `decibels` louder than `other`."""
    factor = np.sqrt(power(other) / power(waveform) * 10 ** (decibels / 10))
    return (waveform * factor).astype(np.float32)


def mixed(sources: Mapping[str, Samples]) -> dict[str, Samples]:
    """Return the sources and, as `path`, their sum; all scaled, so that no file has to clip."""
    whole = {"path": np.sum(list(sources.values()), axis=0), **sources}
    scale = PEAK / max(float(np.abs(one).max()) for one in whole.values())
    return {name: (one * scale).astype(np.float32) for name, one in whole.items()}


def begun_late(waveform: Samples, samples: int) -> Samples:
    """Return a waveform behind so much silence that it has `samples`."""
    return np.concatenate([np.zeros(samples - len(waveform), dtype=np.float32), waveform])


def spoken(waveform: Samples) -> Iterator[tuple[float, float]]:
    """Yield where a voice is heard, in seconds: silence is `SILENCE_DB` below the loudest."""
    frame = SAMPLE_RATE // 40
    for start, end in librosa.effects.split(waveform, top_db=SILENCE_DB, frame_length=2 * frame, hop_length=frame // 2):
        yield round(float(start) / SAMPLE_RATE, 2), round(float(end) / SAMPLE_RATE, 2)


class Task:
    """The files of one task: a csv file a part, and recordings in `audio`.

    Args:
        folder: that they are written to.
        recordings: columns of the csv files that are recordings.
        cells: the other columns.
    """

    def __init__(self, folder: Path, recordings: Sequence[str], cells: Sequence[str] = ()) -> None:
        self.folder = folder
        self._recordings = recordings
        self._columns = ("id", *recordings, *cells)
        self._rows: list[Row] = []

    def add(self, name: str, waveforms: Mapping[str, Samples], **cells: object) -> None:
        """Write the recordings of a mixture, by column, and keep its row."""
        paths = {column: f"audio/{name}-{column}.wav" for column in self._recordings}
        for column, path in paths.items():
            write_recording(self.folder / path, waveforms[column])
        self._rows.append({"id": name, **paths, **cells})

    def write(self, part: str) -> None:
        """Write the csv file of a part, and begin the next."""
        write_csv(self.folder / f"{part}.csv", self._columns, self._rows)
        print(f"{self.folder / part}.csv: {len(self._rows)} mixtures")
        self._rows = []


def write_recording(path: Path, waveform: Samples) -> None:
    """Write a wav file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        soundfile.write(temporary, waveform, SAMPLE_RATE, format="WAV")


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Write a csv file, whole or not at all."""
    stream = io.StringIO(newline="")
    table = csv.DictWriter(stream, columns)
    table.writeheader()
    table.writerows(rows)
    write_text(path, stream.getvalue())


def write_sd(task: Task, part: str, pairs: Sequence[Pair], samples: int, random: np.random.Generator) -> None:
    """Write mixtures in which one voice begins after the other, and who speaks when."""
    segments: list[Row] = []
    for number, pair in enumerate(pairs):
        first = pair[0].stretch(samples, random)
        second = pair[1].stretch(samples - int(random.uniform(0, LATEST_START) * samples), random)
        late = begun_late(second, samples)
        made = mixed({"first": louder_by(first, second, random.uniform(*LEVELS_DB)), "second": late})
        name = f"{part}-{number:05d}"
        task.add(name, made)
        for one, source in zip(pair, ("first", "second"), strict=True):
            segments += [
                {"id": name, "start": start, "end": end, "speaker": one.owner} for start, end in spoken(made[source])
            ]
    task.write(part)
    write_csv(task.folder / f"{part}_segments.csv", ("id", "start", "end", "speaker"), segments)


def write_ss(task: Task, part: str, pairs: Sequence[Pair], samples: int, random: np.random.Generator) -> None:
    """Write mixtures of two voices, and each voice."""
    for number, pair in enumerate(pairs):
        first, second = (one.stretch(samples, random) for one in pair)
        made = mixed({"source1": louder_by(first, second, random.uniform(*LEVELS_DB)), "source2": second})
        task.add(f"{part}-{number:05d}", made)
    task.write(part)


def write_se(task: Task, part: str, pairs: Sequence[Pair], samples: int, random: np.random.Generator) -> None:
    """Write voices with noise, and without; `snr` is the ratio of the two in dB."""
    for number, (speaker, noise) in enumerate(pairs):
        voice, ratio = speaker.stretch(samples, random), int(random.choice(NOISE_RATIOS_DB))
        made = mixed({"clean": voice, "noise": louder_by(noise.stretch(samples, random), voice, -ratio)})
        task.add(f"{part}-{number:05d}", made, snr=ratio)
    task.write(part)


def write(out: Path, options: argparse.Namespace) -> None:
    """Write the mixtures of all parts and tasks."""
    sd = Task(out / "sd", ("path",))
    ss = Task(out / "ss", ("path", "source1", "source2"))
    se = Task(out / "se", ("path", "clean"), ("snr",))
    samples = round(options.seconds * SAMPLE_RATE)
    left_out: Counter[str] = Counter()
    voices = divide(recordings(options.voices, samples, "speaker", left_out))
    noises = divide(recordings(options.noises, samples, options.noise_column, left_out))
    for part in PARTS:
        require(voices[part], 2, part, "speakers")
        require(noises[part], 1 if options.noises else 0, part, "noises")
    for number, (part, count) in enumerate(zip(PARTS, options.counts, strict=True)):
        random = np.random.default_rng([options.seed, number])
        two = [drawn(voices[part], 2, random) for _ in range(count)]
        write_sd(sd, part, two, samples, random)
        write_ss(ss, part, two, samples, random)
        if noises[part]:
            noisy = [drawn(voices[part], 1, random) + drawn(noises[part], 1, random) for _ in range(count)]
            write_se(se, part, noisy, samples, random)
    print("left out:", ", ".join(f"{count} ({reason})" for reason, count in sorted(left_out.items())) or "nothing")


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the options, by default those of the command line, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder that `sd`, `ss` and `se` are written to")
    parser.add_argument("--voices", nargs="+", required=True, metavar="TSV", help="manifests of speech, with speakers")
    parser.add_argument("--noises", nargs="+", default=[], metavar="TSV", help="manifests of noise; without, no `se`")
    parser.add_argument("--counts", nargs=3, type=int, default=(400, 60, 120), metavar="N", help="mixtures a part")
    parser.add_argument(
        "--noise-column", default="", metavar="NAME", help="of the noises' metadata; one value, one part"
    )
    parser.add_argument("--seconds", type=float, default=4, help="of a mixture")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn")
    options = parser.parse_args(arguments)
    try:
        write(options.out, options)
    except UserError as error:
        sys.exit(f"mixtures.py: {error}")


if __name__ == "__main__":
    main()
