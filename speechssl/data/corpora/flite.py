"""Synthetic English with exact phone times: our sentences spoken by the voices of Debian's `flite`.

The test voice differs from the training voices, and so do its sentences: a probe can remember neither.
"""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from speechssl.data.alignments import Segment, read_alignments, write_alignments
from speechssl.data.corpora.corpus import Corpus, CorpusSettings, Entry
from speechssl.data.corpora.debian import fetch_packages
from speechssl.errors import UserError
from speechssl.files import move_folder
from speechssl.progress import progress
from speechssl.threads import available_cores

PACKAGES = ("flite", "libflite1")
_SOUND_LIBRARIES = ("libasound2t64", "libasound2")  # what flite plays with, on new and old releases

VOICES = {
    "kal": ("kal", "m", "train"),
    "kal16": ("kal", "m", "train"),
    "awb": ("awb", "m", "valid"),
    "rms": ("rms", "m", "test"),
    "slt": ("slt", "f", "train"),
}
"""Voice of flite: speaker, gender and split; both genders train. `kal` is 8 kHz, the others 16 kHz."""

logger = logging.getLogger(__name__)


def flite(settings: CorpusSettings) -> Corpus:
    """Return the corpus: labels `speaker`, `gender` and `text`, phones from flite's own durations.

    Debian's packages are fetched, and the speech is made once, below `downloads`. There is no `audio_dir`.
    """
    if settings.audio_dir:
        raise UserError("corpus=flite has no corpus.audio_dir: leave it out, the speech is made with Debian's flite")
    name = hashlib.sha256(repr((SENTENCES, list(_utterances()))).encode()).hexdigest()[:12]
    root = Path(settings.downloads) / f"flite-{name}"
    if not root.is_dir():
        _synthesise(root, settings.downloads)
    return Corpus(root, ("speaker", "gender", "text"), lambda: _entries(root))


def _entries(root: Path) -> Iterator[Entry]:
    alignments = read_alignments(root / "alignments.tsv")
    for voice, number in _utterances():
        speaker, gender, split = VOICES[voice]
        labels = {"speaker": speaker, "gender": gender, "text": SENTENCES[number]}
        path = _path(voice, number)
        yield Entry(path, labels, split, alignment=tuple(alignments[path]))


def _utterances() -> Iterator[tuple[str, int]]:
    """Yield voice and sentence: even ones for the test voice, odd ones for the others (every second for valid)."""
    chosen = {"train": slice(1, None, 2), "valid": slice(1, None, 4), "test": slice(0, None, 2)}
    for voice, (_, _, split) in VOICES.items():
        for number in range(len(SENTENCES))[chosen[split]]:
            yield voice, number


def _path(voice: str, number: int) -> str:
    return f"{voice}/{number:03d}.wav"


def _synthesise(root: Path, downloads: str) -> None:
    """Make all recordings beside their place, then move them there: whole or not at all."""
    program, environment = _program(downloads)
    logger.info("making speech with flite in %s", root)
    with tempfile.TemporaryDirectory(dir=downloads, prefix=".flite.") as name:
        work = Path(name) / "speech"
        for voice in VOICES:
            (work / voice).mkdir(parents=True)

        def speak(item: tuple[str, int]) -> tuple[str, list[Segment]]:
            path = _path(*item)
            command = [str(program), "-voice", item[0], "-psdur", "-t", SENTENCES[item[1]], "-o", str(work / path)]
            result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if result.returncode != 0 or not (work / path).is_file():
                raise UserError(f"flite failed on '{SENTENCES[item[1]]}': {(result.stderr or 'no message').strip()}")
            return path, parse_durations(result.stdout)

        with ThreadPoolExecutor(available_cores()) as pool:
            utterances = list(_utterances())
            spoken = progress(pool.map(speak, utterances), "speaking", "sentence", total=len(utterances))
            write_alignments(work / "alignments.tsv", dict(spoken))
        move_folder(work, root)


def parse_durations(text: str) -> list[Segment]:
    """Parse what `flite -psdur` prints for one sentence: `phone:end` pairs, ends in seconds.

    Raises:
        UserError: anything else, or several sentences.
    """
    segments: list[Segment] = []
    start = 0.0
    for pair in text.split():
        phone, separator, end = pair.rpartition(":")
        if not separator or not end.replace(".", "", 1).isdigit() or float(end) < start:
            raise UserError(f"flite printed '{pair}' where a phone and its end belong; is it another version?")
        segments.append(Segment(start, float(end), phone))
        start = float(end)
    return segments


def _program(downloads: str) -> tuple[Path, dict[str, str]]:
    """Return flite and the environment that it runs in, with its libraries from the unpacked packages."""
    folder = fetch_packages(PACKAGES, downloads)
    program = (folder / "flite/usr/bin/flite").absolute()
    environment = _environment(folder, ["libflite1"])
    if _missing_library(program, environment) == "libasound.so.2":
        environment = _environment(folder, ["libflite1", _fetch_sound_library(downloads)])
    missing = _missing_library(program, environment)
    if missing:
        raise UserError(f"flite does not start: {missing} is missing; install it with `sudo apt-get install flite`")
    return program, environment


def _fetch_sound_library(downloads: str) -> str:
    for package in _SOUND_LIBRARIES[:-1]:
        try:
            fetch_packages([package], downloads)
        except UserError:
            continue
        return package
    fetch_packages(_SOUND_LIBRARIES[-1:], downloads)
    return _SOUND_LIBRARIES[-1]


def _environment(folder: Path, packages: list[str]) -> dict[str, str]:
    libraries = [str(path.absolute()) for package in packages for path in (folder / package / "usr/lib").glob("*-*")]
    return {**os.environ, "LC_ALL": "C", "LD_LIBRARY_PATH": os.pathsep.join(libraries)}


def _missing_library(program: Path, environment: dict[str, str]) -> str:
    """Return the first library that the program cannot find; empty where it starts."""
    result = subprocess.run([str(program), "-lv"], env=environment, capture_output=True, text=True, check=False)
    if result.returncode == 0:
        return ""
    _, found, rest = result.stderr.partition("shared libraries: ")
    return rest.partition(":")[0] if found else (result.stderr.strip() or "something")


SENTENCES = tuple(
    line
    for line in """
The old gray boat drifted past the harbour wall at noon.
My brother keeps his tools in a wooden box under the stairs.
We heard thunder long before the first drops fell.
Please leave the yellow key on the kitchen table.
Six young goats chewed the rope and walked away.
Her voice was calm, though both her hands were shaking.
The judge will choose a winner by Thursday evening.
Nobody knows why the church bell rang so early.
Fresh bread smells best on a cold winter morning.
They measured the width of the river with a string.
A small fish jumped out of the bucket and vanished.
You should oil the hinges before the door starts to squeak.
The teacher drew a huge circle on the blackboard.
Our train leaves from platform four in five minutes.
I would rather walk than wait for another bus.
Both boys enjoyed the noise of the toy engine.
The nurse put a thick bandage around his ankle.
Cheap shoes wear out fast on rough stone paths.
She bought a pound of cherries and a jar of honey.
The usual route was closed because of heavy snow.
He paused at the bridge to look at the moon.
Our neighbours grow beans, onions and a few pumpkins.
The cook poured warm milk over the oats.
A loud cough broke the silence in the theatre.
That vision of a quiet village pleased the author.
Put the fragile cups on the higher shelf, please.
The dog shook itself dry and rolled in the dust.
Measure twice, and cut the board only once.
Few people could push that car up the hill.
The azure sky turned orange, then a deep purple.
His uncle owns a garage near the airport.
They argued about money but parted as good friends.
The path through the woods is muddy after rain.
An owl watched the mice from a broken branch.
She wore a beige coat with large brown buttons.
The children laughed when the clown lost his hat.
We need eight more chairs for the guests.
The engine coughed twice and then refused to start.
Judge the soup by its taste and not by its colour.
Every Tuesday the shop sells cheese at half price.
The captain ordered the crew to lower the sails.
A thin layer of ice covered the whole pond.
You can reach the castle by a narrow gravel road.
I found a silver coin between the floor boards.
The youngest pupil answered the question first.
Too much sugar will spoil the flavour of the tea.
The farmer gave each horse an apple and some hay.
They could not hear the doorbell over the music.
The museum shows treasure from a sunken ship.
Turn left at the big oak and follow the fence.
Mother sewed a patch on the elbow of his shirt.
The thief slipped through a window on the north side.
We should have brought a map and a better lamp.
Her cousin studies the history of ancient Egypt.
The wheel came off and rolled into the ditch.
Dry leaves blew across the empty tennis court.
The choir sang two songs without a single mistake.
He thanked the woman who had found his wallet.
Most of the roof was damaged in last year's storm.
The baker wipes flour from his forehead.
Can you see the lighthouse from your bedroom?
The pilot made a smooth landing in spite of the fog.
Those blue curtains came from a shop in the village.
Our plan failed, and yet we learned a great deal.
The cat stretched, yawned and went back to sleep.
A good knife should be sharp, light and easy to hold.
The governor signed the new law late last night.
Soft music flowed from the open door of the cafe.
There is a hole in the bottom of this bucket.
Father usually reads the paper while he eats.
The huge machine crushed the stones into sand.
I wish you had told me the truth at once.
The doctor asked him to breathe in and hold it.
Wild geese fly south when the days grow short.
Her answer was short, polite and entirely wrong.
The boy threw a flat stone across the water.
We painted the garden gate a bright shade of green.
The show begins at seven and is over by nine.
Some visitors prefer the beach, others the mountains.
The lawyer kept all his letters in a leather bag.
Boil the eggs for four minutes and let them cool.
A stranger with a red umbrella asked us for the time.
The fourth chapter explains how the bridge was built.
They watched the sun go down behind the factory.
It is rude to point at people in the street.
The jury could not agree on a verdict.
Smooth wood feels pleasant under the fingers.
Our youth club meets above the old bakery.
The rope was too weak to bear such a load.
He chose the shorter of the two routes home.
The wind tore the poster off the wall.
Please write your full name at the top of the page.
The bees returned to the hive before sunset.
She hopes to measure the pressure under the ocean.
A quick shower washed the chalk off the pavement.
The guard checked each ticket with great care.
We picked wild berries along the edge of the field.
The broken clock on the tower still shows ten past three.
""".strip().splitlines()
)
"""Ours; every phone of English is in them."""
