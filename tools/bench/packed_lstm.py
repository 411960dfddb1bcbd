"""The BLSTMs of SUPERB's ASR head on a processor: torch's own beside ours, forwards and backwards.

usage: python tools/bench/packed_lstm.py [--utterances 16] [--frames 85] [--width 1024] [--threads 1] [--repeat 3]
                                        [--bf16]

Utterances have `--frames` frames each, and in a second round a quarter to all of them. The two sides take turns; prints
the median seconds and the ratio.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from speechssl.evaluation.superb.packed_lstm import with_packed_lstms


def main() -> None:
    """Time both, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--utterances", type=int, default=16, help="in an update")
    parser.add_argument("--frames", type=int, default=85, help="of the longest utterance")
    parser.add_argument("--width", type=int, default=1024, help="of the input and of each direction")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--repeat", type=int, default=3, help="timed repeats")
    parser.add_argument("--bf16", action="store_true", help="our products in bf16")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    width = arguments.width
    theirs = nn.ModuleList([nn.LSTM(dim, width, batch_first=True, bidirectional=True) for dim in (width, 2 * width)])
    ours = copy.deepcopy(theirs)
    with_packed_lstms(ours, arguments.bf16)
    equal = torch.full((arguments.utterances,), arguments.frames)
    uneven = torch.linspace(arguments.frames, arguments.frames / 4, arguments.utterances).long()
    for name, lengths in (("equal", equal), ("uneven", uneven)):
        features = torch.randn(arguments.utterances, arguments.frames, width)
        turns = [
            (seconds(theirs, features, lengths), seconds(ours, features, lengths)) for _ in range(arguments.repeat + 1)
        ]
        slow, fast = (statistics.median(side) for side in zip(*turns[1:], strict=True))
        # A weight is multiplied with each row once forwards and twice backwards; of each direction, 4 gates.
        operations = 3 * 2 * 2 * 4 * width * (2 * width + 3 * width) * int(lengths.sum()) / 1e9
        print(
            f"{name} lengths: torch {slow:.2f} s ({operations / slow:.0f} GFLOP/s), ours {fast:.2f} s "
            f"({operations / fast:.0f} GFLOP/s): {slow / fast:.2f} times faster"
        )


def seconds(lstms: nn.ModuleList, features: Tensor, lengths: Tensor) -> float:
    """Return the time of one forward and one backward pass."""
    lstms.zero_grad()
    features = features.clone().requires_grad_()
    started = time.perf_counter()
    packed = pack_padded_sequence(features, lengths, batch_first=True)
    for lstm in lstms:
        packed, _ = lstm(packed)
    packed.data.sum().backward()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
