import pytest

from speechssl.data.splits import Pool


def split(recordings, valid_fraction=0.1, seed=0, min_speakers=10):
    """Return path -> split of `(path, speaker, seconds)`."""
    pool = Pool(seed)
    for recording in recordings:
        pool.add(*recording)
    rule = pool.rule(valid_fraction, min_speakers)
    return {path: rule(path, speaker) for path, speaker, _ in recordings}


def corpus(speakers, each=20, seconds=2.0):
    return [(f"{s}/{n}.wav", f"spk{s}", seconds) for s in range(speakers) for n in range(each)]


@pytest.mark.parametrize("seed", range(5))
def test_whole_speakers_are_held_out(seed):
    recordings = corpus(40)
    splits = split(recordings, seed=seed)
    sides = {side: {speaker for path, speaker, _ in recordings if splits[path] == side} for side in ("train", "valid")}
    assert not sides["train"] & sides["valid"]
    assert len(sides["valid"]) == 4


def test_one_speaker_with_most_of_the_corpus_stays_in_train():
    recordings = [*corpus(20, seconds=1.0), ("big.wav", "big", 5000.0)]
    for seed in range(10):
        splits = split(recordings, valid_fraction=0.02, seed=seed)
        assert splits["big.wav"] == "train"
        assert "valid" in splits.values()


@pytest.mark.parametrize("recordings", [corpus(5, each=400), [(f"{n}.wav", "", 1.0) for n in range(2000)]])
def test_single_recordings_are_held_out_where_speakers_are_few_or_unknown(recordings):
    held_out = [path for path, side in split(recordings).items() if side == "valid"]
    assert 150 < len(held_out) < 250
    other = [path for path, side in split(recordings, seed=1).items() if side == "valid"]
    assert len(set(held_out) & set(other)) < 60


def test_a_speaker_missing_here_and_there_stays_in_train():
    recordings = [*corpus(30), *((f"x{n}.wav", "", 1.0) for n in range(100))]
    splits = split(recordings)
    assert all(len({splits[f"{s}/{n}.wav"] for n in range(20)}) == 1 for s in range(30))
    assert {splits[f"x{n}.wav"] for n in range(100)} == {"train"} and "valid" in splits.values()


def test_most_speakers_missing_means_single_recordings():
    recordings = [*corpus(30), *((f"x{n}.wav", "", 1.0) for n in range(700))]
    splits = split(recordings)
    assert any({splits[f"{s}/{n}.wav"] for n in range(20)} == {"train", "valid"} for s in range(30))


def test_recordings_keep_their_side_when_the_corpus_grows():
    small, large = corpus(5), corpus(9)
    before, after = split(small), split(large)
    assert all(after[path] == side for path, side in before.items())
    assert split(small[::-1]) == before


def test_even_two_recordings_fill_both_sides():
    recordings = [("a.wav", "", 1.0), ("b.wav", "", 1.0)]
    for seed in range(10):
        for fraction in (0.01, 0.5):
            assert sorted(split(recordings, valid_fraction=fraction, seed=seed).values()) == ["train", "valid"]
