"""Speech Commands 0.01 and 0.02 (arXiv 1804.03209): single English words, by thousands of speakers (CC BY 4.0)."""

from __future__ import annotations

import hashlib
import math
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import soundfile

from speechssl.data.corpora.corpus import Corpus, CorpusSettings, Entry, require_layout
from speechssl.data.splits import draw
from speechssl.data.walk import walk_audio
from speechssl.errors import UserError
from speechssl.files import move_folder, read_lines

TEN_WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
OTHER_WORDS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "bed", "bird", "cat", "dog",
    "happy", "house", "marvin", "sheila", "tree", "wow", "backward", "forward", "follow", "learn", "visual",
)  # fmt: skip
"""The last five are in version 0.02 only."""
SILENCE, UNKNOWN = "_silence_", "_unknown_"

_LISTS = {"valid": "validation_list.txt", "test": "testing_list.txt"}
_NOISE = "_background_noise_"
_TEST_SET = re.compile(r"speech_commands_test_set_v0\.0[12]")
_NAME = re.compile(r"(?P<speaker>\w+)_nohash_\d+\.wav")
_TENTHS = ("train",) * 8 + ("valid", "test")


def speech_commands(settings: CorpusSettings) -> Corpus:
    """Return the corpus: labels `command`, `command12` and `speaker`; the official splits.

    `command` is the word, one of 35 (30 in version 0.01). `command12` is the task of twelve classes, as the authors'
    training code makes it: ten words, and of each split a tenth as many others, which are `_unknown_`. They are drawn
    by file name; the remaining others have no `command12`. `_silence_` are the recordings of background noise cut into
    clips of one second: of each recording the first eight tenths are train, the ninth valid, the tenth test (this
    project's choice; the authors' code mixes them anew for every batch). The clips are made once, below `downloads`,
    beside a link to `audio_dir`.

    The authors' test set of the twelve classes is an archive of its own. Where it is unpacked into a folder
    `speech_commands_test_set_v0.02` (or `v0.01`) in `audio_dir`, the test split has its unknown words and its silence.
    """
    hint = (
        "the unpacked archive http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz (or v0.01), with "
        f"folders of words, {_NOISE}, {_LISTS['valid']} and {_LISTS['test']}"
    )
    folder = require_layout(settings, hint, [*_LISTS.values(), _NOISE])
    root = _with_silence(folder, Path(settings.downloads))
    return Corpus(root, ("command", "command12", "speaker"), lambda: _entries(root))


def _entries(root: Path) -> Iterator[Entry]:
    found = dict(walk_audio(root / "words"))
    listed = {path: split for split, name in _LISTS.items() for path in _read_list(root / "words" / name)}
    words = {path: listed.get(path, "train") for path in found if not _problem(path)}
    test_set = [path for path in found if _TEST_SET.match(path)]
    unknown = _unknown(words, test_set)
    for path, rejected in found.items():
        if path in words:
            yield Entry(f"words/{path}", _labels(path, unknown), words[path], rejected)
        elif _TEST_SET.match(path) and f"/{SILENCE}/" in path:
            yield Entry(f"words/{path}", {"command12": SILENCE}, "test", rejected)
        else:
            yield Entry(f"words/{path}", rejected=rejected or _problem(path))
    for path in sorted(listed.keys() - found.keys()):
        yield Entry(f"words/{path}", rejected="in an official list, but there is no such file")
    for path, rejected in walk_audio(root / "silence"):
        split = path.split("/")[0]
        if split == "test" and test_set:
            split = "train"
        yield Entry(f"silence/{path}", {"command12": SILENCE}, split, rejected)


def _problem(path: str) -> str:
    """Return why a file is not a recording of a word, or nothing."""
    folder, _, name = path.rpartition("/")
    if folder == _NOISE:
        return f"background noise, which is cut into the clips of {SILENCE}"
    if _TEST_SET.match(path):
        return "a copy of a recording that is listed in its own place"
    if folder not in TEN_WORDS + OTHER_WORDS:
        return "not in the folder of a word of Speech Commands"
    return "" if _NAME.fullmatch(name) else "not named <speaker>_nohash_<number>.wav"


def _labels(path: str, unknown: set[str]) -> dict[str, str]:
    word, _, name = path.partition("/")
    twelve = word if word in TEN_WORDS else UNKNOWN if path in unknown else ""
    return {"command": word, "command12": twelve, "speaker": name.partition("_")[0]}


def _unknown(words: dict[str, str], test_set: Iterable[str]) -> set[str]:
    """Return the other words that are `_unknown_`, given the split of every recording of a word."""
    wanted = Counter(split for path, split in words.items() if path.split("/")[0] in TEN_WORDS)
    others = defaultdict(list)
    for path, split in words.items():
        if path.split("/")[0] in OTHER_WORDS:
            others[split].append(path)
    # The test set's names are word, speaker and number, e.g. _unknown_/bed_0c540988_nohash_0.wav; some end in .wav.wav.
    names = (path.rpartition("/")[2] for path in test_set if f"/{UNKNOWN}/" in path)
    chosen = {name.replace("_", "/", 1).replace(".wav.wav", ".wav") for name in names}
    if chosen:
        others.pop("test", None)
    for split, paths in others.items():
        chosen.update(sorted(paths, key=lambda path: draw(0, path))[: math.ceil(wanted[split] / 10)])
    return chosen


def _read_list(path: Path) -> list[str]:
    return [name for line in read_lines(path) for name in line.split()]


def _with_silence(folder: Path, downloads: Path) -> Path:
    """Return a folder with the clips of silence and a link `words` to the corpus; made whole or not at all."""
    target = folder.resolve()
    root = downloads / f"speech_commands-{hashlib.sha256(str(target).encode()).hexdigest()[:12]}"
    if not root.is_dir():
        downloads.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=downloads, prefix=".speech_commands.") as name:
            made = Path(name) / "made"
            (made / "silence").mkdir(parents=True)
            (made / "words").symlink_to(target, target_is_directory=True)
            for noise in sorted((folder / _NOISE).glob("*.wav")):
                _cut(noise, made / "silence")
            move_folder(made, root)
    return root


def _cut(noise: Path, folder: Path) -> None:
    """Write a recording as clips of one second, in a folder for each split."""
    try:
        samples, rate = soundfile.read(noise, dtype="int16")
    except soundfile.SoundFileError as error:
        raise UserError(f"{noise} cannot be decoded ({error}); unpack the archive again") from error
    clips = len(samples) // rate
    for number in range(clips):
        split = folder / _TENTHS[10 * number // clips]
        split.mkdir(parents=True, exist_ok=True)
        soundfile.write(split / f"{noise.stem}-{number:03d}.wav", samples[number * rate : (number + 1) * rate], rate)
