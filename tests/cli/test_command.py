"""A command whose result is there and current is not run again."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from speechssl.cli import command
from speechssl.cli.command import Command


@dataclass
class Settings:
    """Copy a file."""

    source: str
    """From."""
    out: str
    """To."""
    suffix: str = ""
    """Added."""


class Copier:
    """The command, counting its runs."""

    def __init__(self, folder: Path) -> None:
        self.runs = 0
        self.source, self.out = folder / "in.txt", folder / "out" / "out.txt"
        self.source.write_text("one")
        self.command = Command("copy", "", Settings, self.copy, (), lambda s: [Path(s.source)], lambda s: [Path(s.out)])

    def copy(self, settings: Settings) -> None:
        self.runs += 1
        Path(settings.out).parent.mkdir(exist_ok=True)
        Path(settings.out).write_text(Path(settings.source).read_text() + settings.suffix)

    def run(self, suffix: str = "") -> None:
        self.command.run_unless_done(Settings(str(self.source), str(self.out), suffix))


@pytest.fixture
def copier(tmp_path: Path) -> Copier:
    return Copier(tmp_path)


def test_the_same_again_is_left_out(copier: Copier, capsys: pytest.CaptureFixture[str]) -> None:
    copier.run()
    copier.run()
    assert copier.runs == 1
    assert "done before and unchanged" in capsys.readouterr().out


def test_a_changed_input_or_setting_or_a_lost_output_runs_it_again(copier: Copier) -> None:
    copier.run()
    copier.source.write_text("two")
    copier.run()
    assert copier.out.read_text() == "two"
    copier.run(suffix="!")
    assert copier.out.read_text() == "two!"
    copier.out.unlink()
    copier.run(suffix="!")
    assert copier.runs == 4


def test_changed_audio_runs_it_again(copier: Copier, tmp_path: Path) -> None:
    audio = tmp_path / "a.wav"
    audio.write_bytes(b"12")
    copier.command = replace(copier.command, audio=lambda settings: [audio, tmp_path / "lost.wav"])
    for content in (b"12", b"345", b"678"):
        audio.write_bytes(content)
        os.utime(audio, (1, content[0]))
        for _ in range(2):
            copier.run()
    assert copier.runs == 3


def test_a_broken_record_of_the_last_run_runs_it_again(copier: Copier) -> None:
    copier.run()
    (stamp,) = copier.out.parent.glob(".*.done")
    stamp.write_text('{"speechssl": ')
    copier.run()
    copier.run()
    assert copier.runs == 2


def test_a_run_that_failed_is_not_taken_for_done(copier: Copier) -> None:
    copier.run()
    copier.source.unlink()
    with pytest.raises(FileNotFoundError):
        copier.run()
    copier.source.write_text("one")
    copier.run()
    assert copier.runs == 3


def test_memory_is_kept_before_a_run_of_a_command_that_says_so(copier: Copier, monkeypatch: pytest.MonkeyPatch) -> None:
    runs_before: list[int] = []
    monkeypatch.setattr(command, "keep_freed_memory", lambda: runs_before.append(copier.runs))
    copier.run()
    assert runs_before == []
    copier.command = replace(copier.command, keeps_memory=True)
    copier.run()
    assert runs_before == []  # done before
    copier.run(suffix="!")
    assert (runs_before, copier.runs) == ([1], 2)
