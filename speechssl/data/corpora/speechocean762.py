"""speechocean762 (arXiv 2104.01378, openslr.org/101): 5000 English sentences by 250 Mandarin speakers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from speechssl.data.corpora.corpus import Corpus, CorpusSettings, Entry, require_folder
from speechssl.data.corpora.kaldi import read_kaldi_map


def speechocean762(settings: CorpusSettings) -> Corpus:
    """Return the corpus in its official layout: labels `speaker`, `gender`, `age` and `text`, splits train and test.

    `audio_dir` is the unpacked archive: `WAVE/`, and Kaldi's tables in `train/` and `test/`.
    """
    root = require_folder(settings, "the unpacked archive of https://www.openslr.org/101, with WAVE, train and test")
    return Corpus(root, ("speaker", "gender", "age", "text"), lambda: _entries(root))


def _entries(root: Path) -> Iterator[Entry]:
    for split in ("train", "test"):
        tables = {name: read_kaldi_map(root / split / name) for name in ("wav.scp", "utt2spk", "text")}
        ages, genders = (read_kaldi_map(root / split / name) for name in ("spk2age", "spk2gender"))
        for utterance, path in sorted(tables["wav.scp"].items()):
            speaker = tables["utt2spk"].get(utterance, "")
            labels = {
                "speaker": speaker,
                "gender": genders.get(speaker, ""),
                "age": ages.get(speaker, ""),
                "text": tables["text"].get(utterance, ""),
            }
            yield Entry(path, labels, split)
