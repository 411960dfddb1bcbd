import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from speechssl.audio.augment import MixupExp, MixupExpSettings
from speechssl.errors import UserError
from speechssl.objectives.k_mix import KMix, KMixSettings


def clips(*spectra):
    """Clips of three mels and five frames, alike in all frames."""
    return torch.tensor(spectra)[:, :, None].repeat(1, 1, 5)


ALONG = [1.0, 0.0, 0.0]
NEAR = [0.8, 0.6, 0.0]
OPPOSITE = [-1.0, 0.0, 0.0]


def test_a_partner_is_of_the_most_unlike_cluster():
    memory = clips(ALONG, OPPOSITE, NEAR, ALONG, OPPOSITE, [9.0, 9.0, 9.0])
    pick = KMix(KMixSettings(clusters=3), 3)
    batch = clips(ALONG, NEAR, ALONG, NEAR, [-2.0, 0.1, 0.0], OPPOSITE)
    draws = torch.tensor([0.0, 0.49, 0.5, 0.99, 0.0, 0.99])
    # The sixth place is not filled yet. The first four clips are mixed with the two opposite ones, by their draws, and
    # the opposite ones with those that point along mel 0 exactly.
    assert pick(batch, memory, torch.tensor(5), draws).tolist() == [1, 1, 4, 4, 0, 3]


def test_how_loud_a_clip_is_does_not_count():
    memory = clips(ALONG, OPPOSITE)
    pick = KMix(KMixSettings(clusters=2), 3)
    assert pick(clips([0.01, 0.0, 0.0], [-50.0, 1.0, 0.0]), memory, torch.tensor(2), torch.zeros(2)).tolist() == [1, 0]


def test_mixes_with_the_memory_once_there_is_one():
    mix = MixupExp(MixupExpSettings(ratio=0.5, memory=4), 3, 5, KMix(KMixSettings(clusters=2), 3))
    first = clips(ALONG, OPPOSITE)
    assert torch.equal(mix(first, torch.Generator().manual_seed(0)), first)
    mixed = mix(clips(ALONG, OPPOSITE), torch.Generator().manual_seed(1))
    share = 0.5 * torch.rand(2, 2, generator=torch.Generator().manual_seed(1))[0][:, None, None]
    torch.testing.assert_close(mixed, torch.log((1 - share) * first.exp() + share * first.flip(0).exp()))


def test_fewer_clips_than_clusters():
    pick = KMix(KMixSettings(clusters=4), 3)
    assert pick(clips(ALONG), clips(NEAR, OPPOSITE), torch.tensor(1), torch.tensor([0.9])).tolist() == [0]


def test_centroids_go_on_from_those_before():
    """One iteration a view does what many do at once; validation moves nothing."""
    torch.manual_seed(0)
    memory, filled, draws = torch.randn(60, 3, 5), torch.tensor(50), torch.rand(7)
    batch = torch.randn(7, 3, 5)
    at_once, slowly = KMix(KMixSettings(iterations=8), 3), KMix(KMixSettings(iterations=1), 3)
    slowly.eval()(batch, memory, filled, draws)
    assert not slowly.centroids.any()
    slowly.train()
    for _ in range(7):
        slowly(batch, memory, filled, draws)
    resumed = KMix(KMixSettings(iterations=1), 3)
    resumed.load_state_dict(slowly.state_dict())
    assert at_once(batch, memory, filled, draws).tolist() == resumed(batch, memory, filled, draws).tolist()
    assert torch.equal(at_once.centroids, resumed.centroids)


def test_an_empty_memory_leaves_the_start_open():
    pick = KMix(KMixSettings(clusters=2), 3)
    assert pick(clips(ALONG), torch.zeros(4, 3, 5), torch.tensor(0), torch.tensor([0.9])).shape == (1,)
    assert not pick.centroids.any()


class Reads(TorchDispatchMode):
    """Counts operations whose result has to be read back from a GPU."""

    count = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.count += any(name in str(operation) for name in ("_local_scalar_dense", "nonzero", "bincount"))
        return operation(*args, **(kwargs or {}))


def test_nothing_is_read_back_from_a_gpu():
    mix = MixupExp(MixupExpSettings(memory=4), 3, 5, KMix(KMixSettings(), 3))
    generator = torch.Generator()
    with Reads() as reads:
        for _ in range(3):
            mix(clips(ALONG, OPPOSITE), generator)
    assert reads.count == 0


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(UserError, match="clusters"):
        KMixSettings(clusters=0)
