"""Which encoders are compared, and where they come from."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from speechssl.errors import UserError, nearest
from speechssl.evaluation.encoders import huggingface
from speechssl.evaluation.encoders.baselines import FilterbankEncoder, can_stack
from speechssl.evaluation.encoders.sources import is_own, load_source, source_files, source_place
from speechssl.files import as_name
from speechssl.models.clip_encoder import ClipEncoder
from speechssl.models.encoder import Encoder
from speechssl.models.hubert import HubertEncoder

FBANK = "fbank"
RANDOM = "random"


@dataclass(frozen=True)
class Contestant:
    """One encoder: one seed of one row of the results."""

    name: str
    """The row."""
    source: str
    """What `load_source` takes, `fbank`, or `random seed N`."""
    like: str | None = None
    """The trained encoder that a random one has the configuration of."""
    seed: int = 0
    """Of a random encoder."""
    frame_rate: float = 50.0
    """Of filterbanks: frames a second."""
    tunable: bool = True
    """Whether it can be fine-tuned: encoders of ours can."""
    num_layers: int = 0
    """Of a trained encoder: hidden states besides the first."""

    @property
    def path(self) -> str | None:
        """Where a trained encoder is loaded from."""
        return None if self.name in (FBANK, RANDOM) else self.source

    def files(self) -> Iterator[Path]:
        """Yield the files that decide what a trained encoder is."""
        if self.path is not None:
            yield from source_files(self.path)

    def build(self) -> Encoder:
        """Load or make the encoder, in evaluation mode, on the CPU."""
        if self.path is not None:
            return load_source(self.path)
        if self.name == FBANK:
            return FilterbankEncoder(self.frame_rate)
        assert self.like is not None
        return random_encoder(load_source(self.like), self.seed)


def random_encoder(trained: Encoder, seed: int) -> Encoder:
    """Return a freshly initialised encoder of the configuration of a trained one, in evaluation mode.

    The normalisation in front of an encoder of clips is taken over: it says where spectrograms lie, and is not learnt.
    torch's own random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed sets those of GPUs, too
        if isinstance(trained, HubertEncoder):
            return HubertEncoder(trained.config).eval()
        assert isinstance(trained, ClipEncoder)
        encoder = ClipEncoder(trained.config)
        encoder.norm.load_state_dict(trained.norm.state_dict())
        return encoder.eval()


def contestants(encoders: Any, baselines: Sequence[str], fbank_rate: float | None = None) -> list[Contestant]:
    """Return all encoders of all rows of the results, baselines first.

    Args:
        encoders: `{name: source}` or `{name: [source, ...]}`, one source a seed; `load_source` says what one may be. A
            source alone is one row, with a name made of it.
        baselines: `fbank`, and `random`: as many random encoders as the row of most seeds has sources, of the
            configuration of the first trained encoder.
        fbank_rate: frames a second of `fbank`; default: those of the first trained encoder.

    Raises:
        UserError: a source without an encoder, `random` without a trained encoder of ours in the first place, or
            settings of another form, or two rows that are one name for files.
    """
    if isinstance(encoders, str) and encoders:
        encoders = {_row_name(encoders): encoders}
    if not isinstance(encoders, Mapping):
        raise UserError(
            "encoders must name its encoders, e.g. encoders='{hubert: exp/hubert-seed1}'; "
            """one with signs such as = or & in double quotes: '{hubert: "s3prl:hubert_local?ckpt=model.pt"}'"""
        )
    rows = {str(name): _sources(str(name), value) for name, value in encoders.items()}
    _require_own_names(rows)
    _require_own_files(rows)
    trained = _look_at(rows)
    first = next(iter(trained), None)
    if fbank_rate is None:
        fbank_rate = trained[first].frame_rate if first else Contestant.frame_rate
    seeds = max((len(row) for row in rows.values()), default=1)
    found: list[Contestant] = []
    if len(set(baselines)) < len(baselines):
        raise UserError(f"baselines={list(baselines)} names one twice, which would be scored twice; take one out")
    for name in baselines:
        if name not in (FBANK, RANDOM):
            raise UserError(f"baselines has no '{name}'{nearest(name, (FBANK, RANDOM))} (known: {FBANK}, {RANDOM})")
        if name == FBANK:
            found.append(Contestant(name, name, frame_rate=fbank_rate, tunable=False))
        elif first is None:
            raise UserError(
                "name an encoder, e.g. encoders='{hubert: exp/hubert-seed1}', or set baselines=[fbank]: the baseline "
                "random takes the configuration of a trained one"
            )
        elif not trained[first].own:
            raise UserError(
                f"the baseline random takes the configuration of the first encoder, and {first} has none of ours: name "
                f"an encoder of speechssl first, or set baselines=[{FBANK if can_stack(fbank_rate) else ''}]"
            )
        else:
            found += [Contestant(name, f"{RANDOM} seed {seed}", first, seed) for seed in range(1, seeds + 1)]
    for name, row in rows.items():
        found += [
            Contestant(name, source, tunable=trained[source].own, num_layers=trained[source].num_layers)
            for source in row
        ]
    if not found:
        raise UserError("nothing to evaluate: name an encoder, e.g. encoders='{hubert: exp/hubert-seed1}'")
    return found


def _require_own_names(rows: Iterable[str]) -> None:
    """Raise a `UserError` where a row has the name of a baseline, which is none of its encoders, named or not."""
    for row in rows:
        if row in (FBANK, RANDOM):
            raise UserError(f"encoders.{row} has the name of a baseline; give it another")


def _require_own_files(rows: Iterable[str]) -> None:
    """Raise a `UserError` where files that are named by two rows would have one name, or a folder's of all rows."""
    names: dict[str, str] = {}
    for row in rows:
        if as_name(row) in ("", ".", ".."):
            raise UserError(
                f"encoders: '{row}' is no name for files; give it another, as in encoders='{{mine: FOLDER}}'"
            )
        other = names.setdefault(as_name(row), row)
        if other != row:
            raise UserError(f"encoders: '{other}' and '{row}' are one name for files; give one of them another")


def _row_name(source: str) -> str:
    """Return the name of the row of a source that was given none: `hubert_local` of `s3prl:hubert_local?ckpt=...`."""
    path = Path(source.removeprefix("s3prl:").removeprefix("hf:").partition("?")[0])
    if path.name in ("", ".."):
        path = path.resolve()
    name = path.name or source
    return f"{name}_encoder" if name in (FBANK, RANDOM) else name


class _Facts(NamedTuple):
    """What must be known of a trained encoder before it is evaluated."""

    frame_rate: float
    own: bool
    num_layers: int


def _look_at(rows: Mapping[str, list[str]]) -> dict[str, _Facts]:
    """Load all once before the first is evaluated, which may take long: a wrong name is told now."""
    sources = dict.fromkeys(source for row in rows.values() for source in row)
    return {source: _facts(source, _state(source)) for source in sources}


@functools.lru_cache(maxsize=256)
def _facts(source: str, state: tuple[tuple[str, int, int], ...]) -> _Facts:
    """Load an encoder; not again while its files are as they were: one command asks for each task, twice."""
    encoder = load_source(source)
    return _Facts(encoder.frame_rate, is_own(encoder), encoder.num_layers)


def _state(source: str) -> tuple[tuple[str, int, int], ...]:
    """Return what changes when a file of an encoder does."""
    found = [(file, file.stat()) for file in source_files(source) if file.is_file()]
    return tuple((str(file), stat.st_mtime_ns, stat.st_size) for file, stat in found)


def _sources(name: str, value: Any) -> list[str]:
    sources = list(value) if isinstance(value, (list, tuple)) else [value]
    if not sources or not all(isinstance(source, str) and source for source in sources):
        raise UserError(f"encoders.{name} must be a folder, s3prl:NAME or hf:FOLDER, or a list of them, one a seed")
    sources = [_at_home(source) for source in sources]
    if len({source_place(source) for source in sources}) < len(sources):
        raise UserError(f"encoders.{name} names an encoder twice, which would count as two seeds; take one out")
    return sources


def _at_home(source: str) -> str:
    """Return a source with a `~` of its path as the home folder; the shell leaves it within quotes."""
    kind = huggingface.PREFIX if source.startswith(huggingface.PREFIX) else ""
    path = source.removeprefix(kind)
    return f"{kind}{Path(path).expanduser()}" if path.startswith("~") else source
