"""Write csv files of Czech speech with its English translation, for `task=st`: `fillets.py FOLDER`.

The dialogues of the game Fish Fillets NG, from its Debian packages (GPL-2): 1.6 hours, mostly two voices. The rooms of
the game are the parts: every fifth is tested, every tenth is validation. Left out, and counted, are lines without
speech or text in both languages, texts with a place for a number, and texts that an earlier line has.
"""

from __future__ import annotations

import csv
import io
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from speechssl.data.corpora.debian import fetch_packages
from speechssl.errors import UserError
from speechssl.files import write_text

PACKAGES = ("fillets-ng-data", "fillets-ng-data-cs")
GAME = "usr/share/games/fillets-ng"
VOICES = {"m": "small fish", "v": "big fish"}
"""By the second part of a line's name, as in `let-m-oko`; others are `other`."""

_TEXT = r'"((?:[^"\\]|\\.)*)"'
_LINE = re.compile(rf"dialogId\({_TEXT},\s*{_TEXT},\s*{_TEXT}\)(?:\s*dialogStr\({_TEXT}\))?")
"""A line's name, its font, what it says in English, and in Czech if it does."""


def lines(script: Path) -> Iterator[tuple[str, str, str]]:
    """Yield the name, English text and Czech text of each line in a room's `dialogs_cs.lua`."""
    for name, _, english, czech in _LINE.findall(script.read_text(encoding="utf-8")):
        yield name, *(text.replace('\\"', '"').strip() for text in (english, czech))


def rows(texts: Path, sounds: Path, left_out: Counter[str]) -> dict[str, list[dict[str, str]]]:
    """Return the rows of each part.

    Args:
        texts: the game's folder with `script`.
        sounds: the game's folder with `sound`.
        left_out: counts, by reason, the lines that are left out.
    """
    parts: dict[str, list[dict[str, str]]] = {"train": [], "valid": [], "test": []}
    known = set()
    for number, script in enumerate(sorted(texts.glob("script/*/dialogs_cs.lua"))):
        part = "test" if number % 5 == 4 else "valid" if number % 10 == 0 else "train"
        room = script.parent.name
        for name, english, czech in lines(script):
            sound = sounds / "sound" / room / "cs" / f"{name}.ogg"
            reasons = {
                "no speech or text": not (english and czech and sound.is_file()),
                "a number": "%" in english,
                "known text": english in known,
            }
            reason = next((words for words, holds in reasons.items() if holds), None)
            if reason is not None:
                left_out[reason] += 1
                continue
            known.add(english)
            voice = VOICES.get(f"{name}-".split("-")[1], "other")
            row = {"id": f"{room}-{name}", "path": str(sound), "translation": english, "text": czech, "voice": voice}
            parts[part].append(row)
    return parts


def write(folder: Path) -> None:
    """Fetch the packages into `folder/downloads` and write `train.csv`, `valid.csv` and `test.csv`."""
    downloads = fetch_packages(PACKAGES, folder / "downloads").absolute()
    texts, sounds = (downloads / package / GAME for package in PACKAGES)
    left_out: Counter[str] = Counter()
    for part, found in rows(texts, sounds, left_out).items():
        stream = io.StringIO(newline="")
        table = csv.DictWriter(stream, ("id", "path", "translation", "text", "voice"))
        table.writeheader()
        table.writerows(found)
        write_text(folder / f"{part}.csv", stream.getvalue())
        print(f"{folder / part}.csv: {len(found)} lines")
    print("left out:", ", ".join(f"{count} ({reason})" for reason, count in sorted(left_out.items())) or "nothing")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: fillets.py FOLDER")
    try:
        write(Path(sys.argv[1]))
    except UserError as error:
        sys.exit(f"fillets.py: {error}")
