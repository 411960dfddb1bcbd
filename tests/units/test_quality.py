import math

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from speechssl.data.alignments import Segment
from speechssl.units.quality import PhoneStatistics, SplitStatistics, UnitStatistics, joint_quality

TABLE = np.array([[4, 1, 0], [1, 0, 2]])
"""Frames of two phones (rows) and three units."""


def test_hand_worked_table() -> None:
    quality = joint_quality(TABLE)
    assert quality["phone_purity"] == pytest.approx((4 + 1 + 2) / 8)
    assert quality["cluster_purity"] == pytest.approx((4 + 2) / 8)
    phone_entropy = -(5 / 8 * math.log(5 / 8) + 3 / 8 * math.log(3 / 8))
    # Given unit 1 or 2 the phone is certain; given unit 0 (5 of 8 frames) it is 4 to 1.
    left = 5 / 8 * -(4 / 5 * math.log(4 / 5) + 1 / 5 * math.log(1 / 5))
    assert quality["pnmi"] == pytest.approx((phone_entropy - left) / phone_entropy)


def test_pnmi_is_scikit_learns_mutual_information_over_the_phones_entropy() -> None:
    rng = np.random.default_rng(0)
    phones = rng.integers(12, size=5000)
    units = (phones * 3 + rng.integers(7, size=5000)) % 40
    joint = np.zeros((12, 40), dtype=np.int64)
    np.add.at(joint, (phones, units), 1)
    expected = mutual_info_score(phones, units) / mutual_info_score(phones, phones)
    assert joint_quality(joint)["pnmi"] == pytest.approx(expected)


def test_perfect_and_useless_units() -> None:
    assert joint_quality(np.diag([3, 5, 2])) == pytest.approx({"pnmi": 1, "phone_purity": 1, "cluster_purity": 1})
    assert joint_quality(np.array([[2, 4], [1, 2]]))["pnmi"] == pytest.approx(0)
    assert joint_quality(np.array([[2, 4]]))["pnmi"] == 0


def test_run_length_used_clusters_and_perplexity() -> None:
    statistics = UnitStatistics(k=6)
    statistics.add(np.array([3, 3, 3, 5, 5, 5]))
    # A new utterance starts a new run, though its first unit is the last one's last.
    statistics.add(np.array([5, 5, 0, 0]))
    summary = statistics.summary()
    assert summary["utterances"] == 2
    assert summary["frames"] == 10
    assert summary["run_length"] == pytest.approx(10 / 4)
    assert summary["used_clusters"] == 3
    probabilities = [0.3, 0.5, 0.2]
    assert summary["perplexity"] == pytest.approx(math.prod(p**-p for p in probabilities))


def test_frames_meet_the_phone_at_their_centre_and_the_rest_is_counted_as_not_aligned() -> None:
    alignments = {"a.wav": [Segment(0.0, 0.04, "s"), Segment(0.04, 0.06, "t")], "c.wav": []}
    rows = [("a.wav", np.array([1, 1, 1, 0, 2, 2, 7, 7])), ("b.wav", np.array([3, 3]))]
    statistics = SplitStatistics(UnitStatistics(k=8), PhoneStatistics(8, alignments, frame_rate=100.0))
    assert list(statistics.counted(rows)) == [labels for _, labels in rows]
    quality = statistics.summary()
    # s: units 1 1 1 0; t: units 2 2; the last two frames of a.wav and both of b.wav have no phone.
    assert quality["phones"] == 2
    assert quality["aligned_frames"] == pytest.approx(6 / 10)
    assert quality["utterances_without_phones"] == 1
    assert quality["phone_purity"] == 1
    assert quality["cluster_purity"] == pytest.approx((3 + 2) / 6)
    assert quality["pnmi"] == pytest.approx(1)


def test_alignments_of_other_recordings_give_no_scores() -> None:
    statistics = PhoneStatistics(4, {"z.wav": [Segment(0, 1, "s")]}, frame_rate=50.0)
    statistics.add("a.wav", np.array([1, 2]))
    assert statistics.summary() == {"utterances_without_phones": 1}
