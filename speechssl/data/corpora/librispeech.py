"""LibriSpeech (openslr.org/12): 1000 h of read English (CC BY 4.0)."""

from __future__ import annotations

import contextlib
import logging
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from speechssl.data.corpora.corpus import Corpus, CorpusSettings, Entry, require_folder
from speechssl.data.corpora.kaldi import read_kaldi_map
from speechssl.data.manifest import leaves_root
from speechssl.data.walk import AUDIO_SUFFIXES
from speechssl.errors import UserError, nearest
from speechssl.files import DISK_FULL, checksum, move_folder, read_lines
from speechssl.progress import progress_stream

URL = "https://www.openslr.org/resources/12"

CHECKSUMS = {
    "train-clean-100": "d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2",
    "train-clean-360": "146a56496217e96c14334a160df97fffedd6e0a04e66b9c5af0d40be3c792ecf",
    "train-other-500": "ddb22f27f96ec163645d53215559df6aa36515f26e01dd70798188350adcb6d2",
    "dev-clean": "76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3",
    "dev-other": "12661c48e8c3fe1de2c1caa4c3e135193bfb1811584f11f569dd12645aa84365",
    "test-clean": "39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23",
    "test-other": "d09c181bba5cf717b3dee7d4d592af11a3ee3a09e08ae025c5506f6ebe961c29",
}
"""SHA-256 of the archives, as torchaudio's `datasets.LIBRISPEECH` publishes them."""

logger = logging.getLogger(__name__)


def librispeech(settings: CorpusSettings) -> Corpus:
    """Return the corpus in its official layout: labels `speaker`, `gender`, `chapter`, `part` and `text`.

    `train-*` becomes the split train, `dev-*` valid, and each test part a split of its own. `audio_dir` is the folder
    with SPEAKERS.TXT and the parts; where it is empty, the parts are downloaded and checked.
    """
    unknown = [part for part in settings.parts if part not in CHECKSUMS]
    if unknown or not settings.parts:
        name = unknown[0] if unknown else ""
        raise UserError(f"no part '{name}' of LibriSpeech{nearest(name, CHECKSUMS)} (known: {', '.join(CHECKSUMS)})")
    if len(set(settings.parts)) < len(settings.parts):
        raise UserError(f"corpus.parts={list(settings.parts)} names a part twice, whose recordings would count twice")
    if settings.audio_dir:
        root = require_folder(settings, "the folder LibriSpeech, with SPEAKERS.TXT and the parts in it")
    else:
        root = Path(settings.downloads) / "LibriSpeech"
        for part in settings.parts:
            _download(part, root)
    missing = [part for part in settings.parts if not (root / part).is_dir()]
    if missing:
        raise UserError(f"{root} has no part {missing[0]}: unpack it there, or set corpus.parts=[...] to those it has")
    labels = ("speaker", "gender", "chapter", "part", "text")
    return Corpus(root, labels, lambda: _entries(root, settings.parts))


def _entries(root: Path, parts: list[str]) -> Iterator[Entry]:
    genders = _genders(root / "SPEAKERS.TXT")
    for part in parts:
        split = {"train": "train", "dev": "valid"}.get(part.split("-")[0], part)
        for chapter in sorted((root / part).glob("*/*/")):
            if not chapter.is_dir():  # before Python 3.11 the pattern finds files too
                continue
            speaker = chapter.parent.name
            labels = {
                "speaker": speaker,
                "gender": genders.get(speaker, ""),
                "chapter": chapter.name,
                "part": part,
            }
            for name, text in _utterances(chapter):
                path = (chapter.relative_to(root) / name).as_posix()
                yield Entry(path, {**labels, "text": text}, split)


def _utterances(chapter: Path) -> Iterator[tuple[str, str]]:
    """Yield file name and text of one chapter; a sentence without a file keeps its name, to be rejected later."""
    files = {path.stem: path.name for path in chapter.iterdir() if path.suffix.lower() in AUDIO_SUFFIXES}
    transcripts = chapter / f"{chapter.parent.name}-{chapter.name}.trans.txt"
    texts = read_kaldi_map(transcripts) if transcripts.is_file() else {}
    for utterance in sorted(files.keys() | texts.keys()):
        yield files.get(utterance, f"{utterance}.flac"), texts.get(utterance, "")


def _genders(path: Path) -> dict[str, str]:
    """Read SPEAKERS.TXT: `id | sex | part | minutes | name`, comments behind a semicolon."""
    genders: dict[str, str] = {}
    for line in read_lines(path):
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) > 1 and not line.startswith(";"):
            genders[cells[0]] = cells[1].lower()
    return genders


def _download(part: str, root: Path) -> None:
    """Fetch one part, check it, and put it in place whole; the archive is not kept."""
    if (root / part).is_dir():
        return
    root.mkdir(parents=True, exist_ok=True)
    archive = root / f"{part}.tar.gz"
    if archive.is_file():
        if checksum(archive) != CHECKSUMS[part]:
            raise UserError(
                f"{archive} is not LibriSpeech's archive (another checksum); delete it to download it again"
            )
    else:
        logger.info("downloading %s/%s", URL, archive.name)
        bar = progress_stream()
        try:
            with contextlib.redirect_stderr(bar):
                torch.hub.download_url_to_file(
                    f"{URL}/{archive.name}", str(archive), hash_prefix=CHECKSUMS[part], progress=bar.isatty()
                )
        except (OSError, RuntimeError) as error:
            if isinstance(error, OSError) and error.errno in DISK_FULL:
                raise
            raise UserError(f"{URL}/{archive.name} cannot be downloaded ({error}); try again later") from error
    with tempfile.TemporaryDirectory(dir=root, prefix=f".{part}.") as name:
        _unpack(archive, name)
        unpacked = Path(name) / "LibriSpeech"
        for text in unpacked.glob("*.TXT"):
            text.replace(root / text.name)
        move_folder(unpacked / part, root / part)
    archive.unlink(missing_ok=True)


def _unpack(archive: Path, folder: str) -> None:
    """Unpack an archive; nothing that would lie outside of the folder."""
    with tarfile.open(archive) as tar:
        if hasattr(tarfile, "data_filter"):
            tar.extractall(folder, filter="data")
            return
        # Python before 3.10.12 and 3.11.4 has no filters.
        members = tar.getmembers()
        for member in members:
            if leaves_root(member.name) or not (member.isfile() or member.isdir()):
                raise UserError(f"{archive} holds '{member.name}', which has no place in it; delete it")
        tar.extractall(folder, members)
