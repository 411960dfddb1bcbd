import itertools

import numpy as np
import pytest

from speechssl.data.alignments import Segment, frame_phones, read_alignments, write_alignments
from speechssl.errors import UserError


def test_written_and_read_in_order_of_time(tmp_path):
    path = tmp_path / "alignments.tsv"
    late, early = Segment(0.5, 1.25, "b"), Segment(0.0, 0.5, "a")
    write_alignments(path, {"x.wav": [late, early], "y.wav": [early]})
    assert path.read_text().splitlines()[:2] == ["path\tstart\tend\tphone", "x.wav\t0.500000\t1.250000\tb"]
    assert read_alignments(path) == {"x.wav": [early, late], "y.wav": [early]}


@pytest.mark.parametrize(
    "row", ["x.wav\tzero\t1\ta", "x.wav\t1\t0.5\ta", "x.wav\t-1\t1\ta", "x.wav\tnan\t1\ta", "x.wav\t1\tinf\ta"]
)
def test_impossible_times_name_the_line(tmp_path, row):
    path = tmp_path / "alignments.tsv"
    path.write_text(f"path\tstart\tend\tphone\n{row}\n")
    with pytest.raises(UserError, match="line 2"):
        read_alignments(path)


def test_frames_take_the_phone_at_their_centre():
    segments = [Segment(0.0, 0.034, "sil"), Segment(0.034, 0.036, "t"), Segment(0.05, 0.2, "a")]
    phones = frame_phones(segments, 8, 100.0)
    assert phones.tolist() == ["sil", "sil", "sil", "t", None, "a", "a", "a"]
    assert frame_phones(segments, 4, 50.0).tolist() == ["sil", "sil", "a", "a"]
    assert frame_phones([], 2, 50.0).tolist() == [None, None]


def test_frames_agree_with_asking_for_each_centre_alone():
    generator = np.random.default_rng(0)
    edges = np.sort(generator.uniform(0, 3, 21))
    segments = [Segment(a, b, str(i)) for i, (a, b) in enumerate(itertools.pairwise(edges)) if i % 3]
    for rate in (25.0, 50.0, 100.0):
        centres = (np.arange(int(3 * rate)) + 0.5) / rate
        expected = [next((s.phone for s in segments if s.start <= t < s.end), None) for t in centres]
        assert frame_phones(segments, len(centres), rate).tolist() == expected
