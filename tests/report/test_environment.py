import subprocess

import pytest
import torch

from speechssl.report import environment
from speechssl.report.environment import machine, revision, versions


def git(folder, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    done = subprocess.run(["git", "-C", folder, *identity, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def git_version() -> tuple[int, ...]:
    words = subprocess.run(["git", "--version"], check=True, capture_output=True, text=True).stdout.split()
    return tuple(int(part) for part in words[2].split(".")[:2])


def test_revision_names_the_commit_and_says_when_files_differ(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-q", "-m", "one")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert revision(tmp_path) == commit
    (tmp_path / "a").write_text("2")
    assert revision(tmp_path) == f"{commit} with uncommitted changes"


def test_a_checkout_of_somebody_else_is_none(tmp_path):
    """As where the package is installed in an environment below a project that ignores it."""
    git(tmp_path, "init", "-q")
    (tmp_path / ".gitignore").write_text("venv/\n")
    git(tmp_path, "add", ".gitignore")
    git(tmp_path, "commit", "-q", "-m", "one")
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv" / "a").touch()
    assert revision(tmp_path / "venv").startswith("not known")


def test_changed_configurations_are_said(tmp_path):
    git(tmp_path, "init", "-q")
    for name in ("speechssl", "configs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "one")
    (tmp_path / "configs" / "a").write_text("2")
    assert revision(tmp_path / "speechssl").endswith("with uncommitted changes")


def test_no_checkout_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert revision(tmp_path).startswith("not known")


def test_versions_are_those_imported():
    found = versions()
    assert found["torch"] == torch.__version__.partition("+")[0] or found["torch"] == torch.__version__
    assert {"python", "fairseq2", "gensim", "s3prl"} <= set(found)


@pytest.mark.skipif(git_version() < (2, 38), reason="before, git does not take this from its command line")
def test_a_checkout_of_another_user_is_read(tmp_path, monkeypatch):
    """As where root works in a container, on a folder of the user outside."""
    git(tmp_path, "init", "-q")
    (tmp_path / "a").touch()
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-q", "-m", "one")
    commit = git(tmp_path, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    assert revision(tmp_path) == commit


@pytest.mark.parametrize(
    ("fields", "bf16"),
    [
        ({"flags": "fpu avx512f avx512_bf16"}, "yes"),
        ({"Features": "fp asimd bf16"}, "yes"),
        ({"flags": "fpu avx512f not_bf16"}, "no"),
        ({}, "no"),
    ],
)
def test_machine_says_cores_and_bf16(monkeypatch, fields, bf16):
    monkeypatch.setattr(environment, "_cpuinfo", lambda: fields)
    monkeypatch.setattr(environment, "available_cores", lambda: 3)
    found = machine()
    assert (found["cores"], found["bf16 on the processor"]) == ("3", bf16)
