"""Speech Commands 0.01 for KS: ten words, `_unknown_` and `_silence_`; the test part is an archive of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import soundfile

from speechssl.errors import UserError
from speechssl.evaluation.superb.corpora.layout import CorpusTask, Need, Parts, Place
from speechssl.evaluation.superb.data import Row
from speechssl.s3prl_patches import guarded_s3prl

_URL = "http://download.tensorflow.org/data/speech_commands_v0.01.tar.gz"
_TEST_URL = "http://download.tensorflow.org/data/speech_commands_test_set_v0.01.tar.gz"
_TEST_SET = "speech_commands_test_set_v0.01"
_NOISE = Need(("_background_noise_",), _URL)
_TEST = Need((_TEST_SET, f"../{_TEST_SET}"), _TEST_URL)


def _rows(place: Place) -> Parts:
    """Return the parts of s3prl's `SpeechCommandsV1`, with the column `label`.

    It divides the words by the rule that the corpus's own lists were made by. As in s3prl, all other words are
    `_unknown_`, recordings of noise are `_silence_` in pieces of a second, and train and valid have the same ones.
    """
    with guarded_s3prl():
        from s3prl.dataio.corpus.speech_commands import SpeechCommandsV1

        corpus = SpeechCommandsV1(place.root, _TEST.require(place.root))
    parts = zip(("train", "valid", "test"), corpus.data_split, strict=True)
    return {part: [row for name, point in points.items() for row in _pieces(name, point)] for part, points in parts}


def _pieces(name: str, point: Mapping[str, Any]) -> Iterator[Row]:
    """Yield the row of a word, or those of the seconds of a recording of silence."""
    row = {"id": name, "path": str(point["wav_path"]), "label": point["class_name"]}
    if row["label"] != "_silence_":
        yield {**row, "start": "", "end": ""}
        return
    samples, rate = _length(point["wav_path"])
    for start in range(0, samples, rate):
        end = min(start + rate, samples)
        yield {**row, "id": f"{name}_{start}_{end}", "start": str(start / rate), "end": str(end / rate)}


def _length(path: Path) -> tuple[int, int]:
    try:
        info = soundfile.info(path)
    except soundfile.SoundFileError as error:
        raise UserError(f"{path} cannot be decoded ({error}); unpack the archive again") from error
    return info.frames, info.samplerate


KS = CorpusTask("Speech Commands 0.01", ("speech_commands_v0.01",), (Need(("yes",), _URL), _NOISE, _TEST), _rows)
