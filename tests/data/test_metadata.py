import csv

import pytest

from speechssl.data.metadata import read_metadata, write_metadata
from speechssl.errors import UserError


def test_written_table_is_read_by_others_and_by_us(tmp_path):
    path = tmp_path / "metadata.tsv"
    rows = [
        {"path": "a  b.wav", "split": "train", "seconds": "1.5", "speaker": "x", "text": 'said "no"'},
        {"path": "c.wav", "split": "valid", "seconds": "2", "text": "two\tlines\nof text"},
    ]
    write_metadata(path, ["speaker", "text"], rows)
    with open(path, encoding="utf-8") as file:
        table = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert table[0] == rows[0]
    assert table[1] == {**rows[1], "speaker": "", "text": "two lines of text"}
    assert read_metadata(path) == {row["path"]: row for row in table}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"file\tspeaker\na\tb\n", "no column 'path'"),
        (b"path\tspeaker\na\tb\nc\n", "line 3 has 1 columns and the header 2"),
        (b"path\tspeaker\tspeaker\na\tb\tc\n", "twice"),
        (b"path\tspeaker\na\t\xff\n", "not UTF-8"),
    ],
)
def test_bad_tables_say_where(tmp_path, content, message):
    path = tmp_path / "metadata.tsv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_metadata(path)


def test_spreadsheet_exports_are_read(tmp_path):
    """A byte order mark at the start, and carriage returns at line ends."""
    path = tmp_path / "metadata.tsv"
    path.write_bytes("\ufeffpath\tspeaker\r\na.wav\tänne\r\n".encode())
    assert read_metadata(path) == {"a.wav": {"path": "a.wav", "speaker": "änne"}}
