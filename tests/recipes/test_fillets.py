"""`tools/fillets.py`, on a game made up after the real one's files."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
DIALOGS = {
    "a": ("m-one", 'Who said \\"hello\\"?', "Kdo to řekl?"),
    "b": ("v-two", "Look at that.", "Podívej."),
    "c": ("v-three", "Look at that.", "Koukni."),
    "d": ("x-four", "It took you %1 hours!", "Trvalo ti to %1 hodin!"),
    "e": ("m-five", "We are locked in.", "Jsme zavření."),
    "f": ("m-six", "Nobody says this.", "To nikdo neřekne."),
    "g": ("v-seven", "Only in English.", None),
}
"""Of each room the only line: how its name ends, English, Czech."""


@pytest.fixture
def fillets() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fillets", ROOT / "tools/fillets.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_game(fillets: ModuleType, debian: Path) -> Path:
    texts, sounds = (debian / package / fillets.GAME for package in fillets.PACKAGES)
    for room, (name, english, czech) in DIALOGS.items():
        script = texts / "script" / room / "dialogs_cs.lua"
        script.parent.mkdir(parents=True)
        said = "" if czech is None else f'dialogStr("{czech}")\n'
        script.write_text(f'dialogId("{room}-{name}", "font", "{english}")\n{said}', encoding="utf-8")
        if room != "f":
            sound = sounds / "sound" / room / "cs" / f"{room}-{name}.ogg"
            sound.parent.mkdir(parents=True)
            sound.touch()
    return debian


def test_lines_with_speech_become_rows_and_others_are_counted(
    fillets: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fillets, "fetch_packages", lambda _, downloads: write_game(fillets, downloads / "debian"))
    fillets.write(tmp_path)
    found = {part: list(csv.DictReader((tmp_path / f"{part}.csv").open())) for part in ("train", "valid", "test")}
    assert {part: [row["id"] for row in rows] for part, rows in found.items()} == {
        "train": ["b-b-v-two"],
        "valid": ["a-a-m-one"],
        "test": ["e-e-m-five"],
    }
    (row,) = found["valid"]
    assert Path(row.pop("path")).is_file()
    assert row == {
        "id": "a-a-m-one",
        "translation": 'Who said "hello"?',
        "text": "Kdo to řekl?",
        "voice": "small fish",
    }
    assert "left out: 1 (a number), 1 (known text), 2 (no speech or text)" in capsys.readouterr().out
