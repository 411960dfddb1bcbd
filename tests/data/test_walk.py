import os

import pytest

from speechssl.data.walk import Found, walk_audio


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_finds_audio_of_all_kinds_in_sorted_order(tmp_path):
    names = ["b/2.FLAC", "b/10.opus", "a.wav", "c.mp3", "b/c/d.ogg", "b-/x.gsm"]
    touch(tmp_path, *names, "notes.txt", "b/labels.tsv")
    assert [found.path for found in walk_audio(tmp_path)] == [
        "a.wav", "b/10.opus", "b/2.FLAC", "b/c/d.ogg", "b-/x.gsm", "c.mp3",
    ]  # fmt: skip


def test_order_does_not_come_from_the_file_system(tmp_path, monkeypatch):
    touch(tmp_path, *(f"{number:02d}.wav" for number in range(20)))
    expected = list(walk_audio(tmp_path))
    scandir = os.scandir

    class Reversed:
        def __init__(self, path):
            with scandir(path) as listing:
                self.children = sorted(listing, key=lambda child: child.name, reverse=True)

        def __enter__(self):
            return iter(self.children)

        def __exit__(self, *error):
            pass

    monkeypatch.setattr(os, "scandir", Reversed)
    assert list(walk_audio(tmp_path)) == expected


def test_recordings_that_are_not_read_are_given_with_a_reason(tmp_path):
    touch(tmp_path, "a.m4a", "b.wav")
    os.mkfifo(tmp_path / "pipe.wav")
    assert [(found.path, bool(found.rejected)) for found in walk_audio(tmp_path)] == [
        ("a.m4a", True),
        ("b.wav", False),
        ("pipe.wav", True),
    ]


def test_a_folder_that_cannot_be_read_is_given_with_a_reason(tmp_path, monkeypatch):
    touch(tmp_path, "a.wav", "b/c.wav", "lost+found/d.wav")
    scandir = os.scandir

    def guarded(path):
        if os.path.basename(path) == forbidden:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    forbidden = "lost+found"
    assert list(walk_audio(tmp_path)) == [
        Found("a.wav"),
        Found("b/c.wav"),
        Found("lost+found", "a folder that cannot be read"),
    ]
    forbidden = tmp_path.name
    with pytest.raises(PermissionError):
        list(walk_audio(tmp_path))


def test_each_recording_once_whatever_links_there_are(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    touch(root, "voice/a.wav")
    touch(outside, "more/b.wav", "c.wav")
    (root / "alias").symlink_to(root / "voice")
    (root / "again.wav").symlink_to(root / "voice/a.wav")
    (root / "c.wav").symlink_to(outside / "c.wav")
    (root / "linked").symlink_to(outside / "more")
    (root / "linked2").symlink_to(outside / "more")
    (root / "loop").symlink_to(tmp_path)
    (root / "nothing.wav").symlink_to(tmp_path / "gone.wav")
    found = dict(walk_audio(root))
    assert [path for path, rejected in found.items() if not rejected] == ["c.wav", "linked/b.wav", "voice/a.wav"]
    assert sorted(path for path, rejected in found.items() if rejected) == [
        "again.wav", "alias", "linked2", "loop", "nothing.wav",
    ]  # fmt: skip


def test_what_two_links_lead_to_is_listed_once(tmp_path):
    """Also where one of them leads to a folder above the other's, and where a file has a link of its own."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    touch(outside, "more/b.wav", "c.wav", "d.wav")
    root.mkdir()
    (root / "a-d.wav").symlink_to(outside / "d.wav")
    (root / "b-more").symlink_to(outside / "more")
    (root / "c-all").symlink_to(outside)
    (root / "d-c.wav").symlink_to(outside / "c.wav")
    found = dict(walk_audio(root))
    assert [path for path, rejected in found.items() if not rejected] == ["a-d.wav", "b-more/b.wav", "c-all/c.wav"]
    assert {path for path, rejected in found.items() if rejected} == {"c-all/d.wav", "c-all/more", "d-c.wav"}


def test_what_is_not_walked_hides_no_link(tmp_path):
    """A folder that holds this one, one that cannot be read, and files that are not audio by their own names."""
    root, store = tmp_path / "all" / "root", tmp_path / "store"
    touch(tmp_path / "all", "x.wav")
    touch(store, "blob")
    root.mkdir()
    (root / "a-all").symlink_to(tmp_path / "all")
    (root / "b-store").symlink_to(store)
    (root / "blob.wav").symlink_to(store / "blob")
    (root / "x.wav").symlink_to(tmp_path / "all" / "x.wav")
    found = dict(walk_audio(root))
    assert [path for path, rejected in found.items() if not rejected] == ["blob.wav", "x.wav"]
    assert found["a-all"] == "a link to a folder that holds this one"
