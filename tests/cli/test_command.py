"""A command whose result is there and current is not run again."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from speechssl.cli import command
from speechssl.cli.command import Command, Finish, no_files
from speechssl.errors import UserError


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
        folder.mkdir(exist_ok=True)
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


def test_a_refused_command_leaves_an_earlier_result_done(copier: Copier) -> None:
    copier.run()
    refused = replace(copier.command, run=lambda settings: (_ for _ in ()).throw(UserError("refused")))
    with pytest.raises(UserError):
        refused.run_unless_done(Settings(str(copier.source), str(copier.out), "!"))
    copier.run()
    assert copier.runs == 1


def test_a_result_that_another_command_replaced_in_part_is_made_again(copier: Copier) -> None:
    copier.run()

    def killed(settings: Settings) -> None:
        copier.copy(settings)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace(copier.command, run=killed).run_unless_done(Settings(str(copier.source), str(copier.out), "!"))
    copier.run()
    assert copier.out.read_text() == "one"


def test_a_changed_file_in_a_folder_that_was_made_runs_it_again(copier: Copier) -> None:
    copier.command = replace(
        copier.command, outputs=lambda settings: [Path(settings.out), Path(settings.out).parent / "d"]
    )
    beside = copier.out.parent / "d" / "beside.txt"
    beside.parent.mkdir(parents=True)
    beside.write_text("1")
    copier.run()
    copier.run()
    assert copier.runs == 1
    beside.write_text("23")
    copier.run()
    assert copier.runs == 2


def test_a_moved_result_is_still_done(tmp_path: Path) -> None:
    first = Copier(tmp_path / "a")
    first.command = replace(first.command, may_differ={"source", "out"}, inputs=no_files)
    first.run()
    first.out.parent.rename(tmp_path / "b")
    first.out = tmp_path / "b" / "out.txt"
    first.run()
    assert first.runs == 1


def test_what_is_left_to_do_comes_after_the_stamp(copier: Copier) -> None:
    def run(settings: Settings) -> Finish:
        copier.copy(settings)
        return lambda: (_ for _ in ()).throw(BrokenPipeError)

    copier.command = replace(copier.command, run=run)
    with pytest.raises(BrokenPipeError):
        copier.run()
    copier.run()
    assert copier.runs == 1


def test_lost_files_that_commands_share_are_written_without_a_run(copier: Copier) -> None:
    table = copier.out.parent / "table.txt"
    copier.command = replace(copier.command, refresh=lambda settings: table.touch())
    copier.run()
    copier.run()
    assert table.exists() and copier.runs == 1


def test_settings_that_change_no_result_run_nothing_again(copier: Copier) -> None:
    @dataclass
    class Threaded(Settings):
        threads: int = 0

    for threads in (1, 2):
        copier.command.run_unless_done(Threaded(str(copier.source), str(copier.out), threads=threads))
    assert copier.runs == 1


@pytest.mark.parametrize(
    ("between", "runs"),
    [
        ("b", 2),
        ("bf", 2),  # the baseline is made anew, and is the same
        ("ab", 2),  # so is the encoder
        ("abf", 3),  # nothing says that of the baseline
        ("A", 3),
    ],
)
def test_a_command_whose_rows_are_kept_stays_done(copier: Copier, between: str, runs: int) -> None:
    command = replace(copier.command, rows=lambda settings: {name.lower(): name for name in settings.suffix})
    copier.command = replace(command, may_differ={"suffix"})
    for rows in ("af", between, "af"):
        copier.run(suffix=rows)
    assert copier.runs == runs


def test_rows_beside_those_of_other_settings_are_not_taken_for_done(copier: Copier) -> None:
    copier.command = replace(copier.command, rows=lambda settings: {settings.suffix: 1})
    for suffix in ("a", "b", "a"):
        copier.run(suffix=suffix)
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
