"""Which encoders are compared, and where they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from speechssl.errors import UserError, nearest
from speechssl.evaluation.baselines import FilterbankEncoder
from speechssl.models.clip_encoder import ClipEncoder
from speechssl.models.encoder import Encoder
from speechssl.models.hubert import HubertEncoder
from speechssl.models.load import load_encoder

FBANK = "fbank"
RANDOM = "random"


@dataclass(frozen=True)
class Contestant:
    """One encoder: one seed of one row of the results."""

    name: str
    """The row."""
    source: str
    """A path, `fbank`, or `random seed N`."""
    like: str | None = None
    """The trained encoder that a random one has the configuration of."""
    seed: int = 0
    """Of a random encoder."""
    frame_rate: float = 50.0
    """Of filterbanks: frames a second."""

    @property
    def path(self) -> str | None:
        """The folder of a trained encoder."""
        return None if self.name in (FBANK, RANDOM) else self.source

    def build(self) -> Encoder:
        """Load or make the encoder, in evaluation mode, on the CPU."""
        if self.path is not None:
            return load_encoder(self.path)
        if self.name == FBANK:
            return FilterbankEncoder(self.frame_rate)
        assert self.like is not None
        return random_encoder(load_encoder(self.like), self.seed)


def random_encoder(trained: Encoder, seed: int) -> Encoder:
    """Return a freshly initialised encoder of the configuration of a trained one, in evaluation mode.

    The normalisation in front of an encoder of clips is taken over: it says where spectrograms lie, and is not learnt.
    torch's own random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if isinstance(trained, HubertEncoder):
            return HubertEncoder(trained.config).eval()
        assert isinstance(trained, ClipEncoder)
        encoder = ClipEncoder(trained.config)
        encoder.norm.load_state_dict(trained.norm.state_dict())
        return encoder.eval()


def contestants(encoders: Any, baselines: Sequence[str], fbank_rate: float | None = None) -> list[Contestant]:
    """Return all encoders of all rows of the results, baselines first.

    Args:
        encoders: `{name: path}` or `{name: [path, ...]}`, one path a seed.
        baselines: `fbank`, and `random`: as many random encoders as the row of most seeds has paths, of the
            configuration of the first trained encoder.
        fbank_rate: frames a second of `fbank`; default: those of the first trained encoder.

    Raises:
        UserError: a path without an encoder, `random` without a trained encoder, or settings of another form.
    """
    if not isinstance(encoders, Mapping):
        raise UserError("encoders must name its encoders, e.g. encoders='{hubert: exp/hubert-seed1}'")
    rows = {str(name): _paths(str(name), value) for name, value in encoders.items()}
    first = next((row[0] for row in rows.values()), None)
    # All are loaded once before the first is evaluated, which may take long: a wrong path is told now.
    rates = [load_encoder(path).frame_rate for row in rows.values() for path in row]
    if fbank_rate is None:
        fbank_rate = rates[0] if rates else Contestant.frame_rate
    seeds = max((len(row) for row in rows.values()), default=1)
    found: list[Contestant] = []
    for name in baselines:
        if name not in (FBANK, RANDOM):
            raise UserError(f"baselines has no '{name}'{nearest(name, (FBANK, RANDOM))} (known: {FBANK}, {RANDOM})")
        if name in rows:
            raise UserError(f"encoders.{name} has the name of a baseline; give it another")
        if name == FBANK:
            found.append(Contestant(name, name, frame_rate=fbank_rate))
        elif first is None:
            raise UserError("the baseline random takes the configuration of a trained encoder; set baselines=[fbank]")
        else:
            found += [Contestant(name, f"{RANDOM} seed {seed}", first, seed) for seed in range(1, seeds + 1)]
    for name, row in rows.items():
        found += [Contestant(name, path) for path in row]
    if not found:
        raise UserError("nothing to evaluate: name an encoder, e.g. encoders='{hubert: exp/hubert-seed1}'")
    return found


def _paths(name: str, value: Any) -> list[str]:
    paths = list(value) if isinstance(value, (list, tuple)) else [value]
    if not paths or not all(isinstance(path, str) and path for path in paths):
        raise UserError(f"encoders.{name} must be a folder, or a list of folders, one a seed")
    return paths
