"""VoxCeleb1 (Nagrani et al. 2017): 153 516 utterances by 1251 speakers in interviews, with the identification split."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from speechssl.data.corpora.corpus import Corpus, CorpusSettings, Entry, require_layout
from speechssl.data.corpora.listed import listed_entries
from speechssl.data.tables import read_table
from speechssl.errors import UserError
from speechssl.files import read_lines

_LIST = "iden_split.txt"
_SPEAKERS = "vox1_meta.csv"
_FOLDERS = ("wav", "dev/wav", "test/wav")
_SPLITS = {"1": "train", "2": "valid", "3": "test"}


def voxceleb1(settings: CorpusSettings) -> Corpus:
    """Return the corpus: labels `speaker`, `gender` and `video`; the official splits for speaker identification.

    In these every speaker is in all of train, valid and test, with other videos. `gender` is known where vox1_meta.csv
    is beside iden_split.txt. Both archives may be unpacked into one folder `wav`, or into `dev/wav` and `test/wav`.
    """
    hint = (
        "the folder with the archives of https://www.robots.ox.ac.uk/~vgg/data/voxceleb/vox1.html unpacked into "
        f"wav, or into dev/wav and test/wav, and with {_LIST} from that page"
    )
    root = require_layout(settings, hint, [_LIST])
    folders = [folder for folder in _FOLDERS if (root / folder).is_dir()]
    if not folders:
        raise UserError(f"{root} has no wav, dev/wav or test/wav: corpus.audio_dir of corpus=voxceleb1 must be {hint}")
    return Corpus(
        root, ("speaker", "gender", "video"), lambda: listed_entries(root, folders, _listed(root, folders), _LIST)
    )


def _listed(root: Path, folders: list[str]) -> Iterator[Entry]:
    genders = _genders(root / _SPEAKERS)
    homes = {speaker.name: folder for folder in folders for speaker in (root / folder).iterdir()}
    for number, line in enumerate(read_lines(root / _LIST), start=1):
        try:
            code, path = line.split()
            speaker, video, _ = path.split("/")
            split = _SPLITS[code]
        except (ValueError, KeyError) as error:
            raise UserError(
                f"{root / _LIST} line {number} is not `1|2|3 speaker/video/utterance.wav`; download it again"
            ) from error
        labels = {"speaker": speaker, "gender": genders.get(speaker, ""), "video": video}
        yield Entry(f"{homes.get(speaker, folders[0])}/{path}", labels, split)


def _genders(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    return {row["VoxCeleb1 ID"]: row["Gender"].lower() for row in read_table(path, ["VoxCeleb1 ID", "Gender"])}
