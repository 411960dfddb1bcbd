"""IEMOCAP (Busso et al. 2008): 12 h of acted dialogues in five sessions, ten speakers, with emotions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from speechssl.data.corpora.corpus import Corpus, CorpusSettings, Entry, require_layout
from speechssl.data.corpora.listed import listed_entries
from speechssl.errors import UserError

_SESSIONS = tuple(f"Session{number}" for number in range(1, 6))
_EMOTIONS = "dialog/EmoEvaluation"
_AUDIO = "sentences/wav"
_FOUR = ("neu", "ang", "sad", "hap")

_TURN = re.compile(r"\[[\d. -]+\]\t(?P<turn>(?P<dialog>Ses\d\d[FM]_\w+)_(?P<gender>[FM])\w+)\t(?P<emotion>\w+)\t")
"""e.g. `[6.2901 - 8.2357]<tab>Ses01F_impro01_M000<tab>neu<tab>[2.5, 2.5, 2.5]`."""


def iemocap(settings: CorpusSettings) -> Corpus:
    """Return the corpus: labels as below; no splits, since results are means over sessions left out in turn.

    `emotion` is the majority's, one of eleven codes such as `fru`; `xxx` is no majority. `emotion4` is neu, ang, sad or
    hap, with excited (`exc`) merged into hap: 5531 utterances, as in SUPERB. `emotion4_unmerged` leaves excited out.
    Utterances of other emotions are listed, with these two empty. `session` is Session1 to Session5; `act` is
    improvised or scripted. The letter after the session in a file name is the actor with motion-capture markers; who
    speaks (`speaker`, `gender`) is the letter before the number.
    """
    hint = (
        "the folder IEMOCAP_full_release, by request from https://sail.usc.edu/iemocap, "
        f"with {_SESSIONS[0]} to {_SESSIONS[-1]} in it, and in each {_EMOTIONS} and {_AUDIO}"
    )
    root = require_layout(settings, hint, [f"{name}/{part}" for name in _SESSIONS for part in (_EMOTIONS, _AUDIO)])
    labels = ("emotion", "emotion4", "emotion4_unmerged", "speaker", "gender", "session", "act")
    return Corpus(root, labels, lambda: _entries(root))


def _entries(root: Path) -> Iterator[Entry]:
    for session in _SESSIONS:
        yield from listed_entries(root, [f"{session}/{_AUDIO}"], _listed(root, session), _EMOTIONS)


def _listed(root: Path, session: str) -> Iterator[Entry]:
    # The release has files `._Ses...txt`, which are no text.
    for table in sorted((root / session / _EMOTIONS).glob("Ses*.txt")):
        lines = table.read_text(encoding="utf-8", errors="replace").splitlines()
        for number, line in enumerate(lines, start=1):
            turn = _TURN.match(line)
            if turn:
                yield Entry(f"{session}/{_AUDIO}/{turn['dialog']}/{turn['turn']}.wav", _labels(session, turn))
            elif line.startswith("["):
                raise UserError(f"{table} line {number} is not `[start - end] turn emotion [values]`; unpack it again")


def _labels(session: str, turn: re.Match[str]) -> dict[str, str]:
    emotion = turn["emotion"]
    unmerged = emotion if emotion in _FOUR else ""
    return {
        "emotion": emotion,
        "emotion4": "hap" if emotion == "exc" else unmerged,
        "emotion4_unmerged": unmerged,
        "speaker": turn["turn"][:5] + turn["gender"],
        "gender": turn["gender"].lower(),
        "session": session,
        "act": "improvised" if "_impro" in turn["dialog"] else "scripted",
    }
