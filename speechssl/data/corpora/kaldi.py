"""Kaldi's tables: a key, then the rest of the line."""

from __future__ import annotations

from pathlib import Path

from speechssl.files import require_file, require_utf8


def read_kaldi_map(path: str | Path) -> dict[str, str]:
    """Read a file such as `utt2spk` or `text`: the first word of each line to the rest of it.

    Raises:
        UserError: no such file, or it is not UTF-8.
    """
    with open(require_file(path), encoding="utf-8") as file, require_utf8(path):
        pairs = (line.split(maxsplit=1) for line in file if line.strip())
        return {pair[0]: pair[1].strip() if len(pair) > 1 else "" for pair in pairs}
