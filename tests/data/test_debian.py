import os
import shutil
import stat
import subprocess

import pytest

from speechssl.data.corpora.debian import fetch_packages
from speechssl.errors import UserError

APT = """#!/bin/sh
echo "$@" >> {log}
if [ "$1" = update ]; then touch {lists}; exit 0; fi
{body}
"""


@pytest.fixture
def apt(tmp_path, monkeypatch):
    """Return a function that puts an `apt-get` of our own before the system's; it logs how it is called."""
    log, lists, tools = tmp_path / "log", tmp_path / "lists", tmp_path / "bin"

    def install(body):
        tools.mkdir(exist_ok=True)
        log.write_text("")
        tool = tools / "apt-get"
        tool.write_text(APT.format(log=log, lists=lists, body=body.format(lists=lists, folder=tmp_path)))
        tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
        return lambda: log.read_text().splitlines()

    return install


@pytest.fixture
def package(tmp_path):
    if shutil.which("dpkg-deb") is None or shutil.which("dpkg") is None:
        pytest.skip("dpkg-deb is not here")
    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "usr/share/sounds").mkdir(parents=True)
    (tree / "usr/share/sounds/a.wav").write_bytes(b"audio")
    (tree / "DEBIAN/control").write_text(
        "Package: some-sounds\nVersion: 1\nArchitecture: all\nMaintainer: N <n@example.org>\nDescription: sounds\n"
    )
    subprocess.run(
        ["dpkg-deb", "--build", "--root-owner-group", str(tree), str(tmp_path / "some-sounds_1_all.deb")],
        check=True,
        capture_output=True,
    )


def test_unpacked_once_and_nothing_else_left(tmp_path, apt, package):
    calls = apt("cp {folder}/some-sounds_1_all.deb .")
    for _ in range(2):
        folder = fetch_packages(["some-sounds"], tmp_path / "downloads")
        assert (folder / "some-sounds/usr/share/sounds/a.wav").read_bytes() == b"audio"
    assert len(calls()) == 1
    assert [path.name for path in folder.iterdir()] == ["some-sounds"]


def test_a_package_that_another_command_has_unpacked_meanwhile_is_taken(tmp_path, apt, package):
    theirs = tmp_path / "downloads/debian/some-sounds/usr"
    apt(f"mkdir -p {theirs}\ncp {{folder}}/some-sounds_1_all.deb .")
    folder = fetch_packages(["some-sounds"], tmp_path / "downloads")
    assert [path.name for path in folder.iterdir()] == ["some-sounds"] and list(theirs.iterdir()) == []


def test_root_updates_the_lists_once_where_they_are_empty(tmp_path, apt, package, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    calls = apt(
        'test -e {lists} || {{ echo "E: Unable to locate package some-sounds" >&2; exit 100; }}\n'
        "cp {folder}/some-sounds_1_all.deb ."
    )
    fetch_packages(["some-sounds"], tmp_path / "downloads")
    assert [call.split()[0] for call in calls()] == ["download", "update", "download"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("E: Unable to locate package some-sounds", "sudo apt-get update"),
        ("E: Failed to fetch http://x  Temporary failure resolving 'x'", "online"),
    ],
)
def test_without_root_the_message_says_what_to_do(tmp_path, apt, monkeypatch, error, message):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(shutil, "which", lambda tool: tool)
    calls = apt(f'echo "{error}" >&2; exit 100')
    with pytest.raises(UserError, match=message):
        fetch_packages(["some-sounds"], tmp_path / "downloads")
    assert len(calls()) == 1
    assert list((tmp_path / "downloads/debian").iterdir()) == []


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="dpkg is not here")
def test_a_broken_archive_leaves_nothing(tmp_path, apt):
    apt("echo no archive > some-sounds_1_all.deb")
    with pytest.raises(UserError, match="dpkg cannot unpack"):
        fetch_packages(["some-sounds"], tmp_path / "downloads")
    assert list((tmp_path / "downloads/debian").iterdir()) == []


def test_another_system_is_told_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="apt-get is not on this machine"):
        fetch_packages(["some-sounds"], tmp_path / "downloads")
