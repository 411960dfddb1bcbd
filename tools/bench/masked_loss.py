"""Time and memory of the masked loss: one matrix product against torchaudio's tensor of negatives, in the same run.

usage: python tools/bench/masked_loss.py [--frames 500] [--labels 100] [--repeat 3]

Both compute the loss and its gradient for the same frames, labels and weights; the losses are compared first.
Prints seconds (median over the repeats), the ratio, and the largest tensor of torchaudio's way.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F
from torchaudio.models.wav2vec2.components import LogitGenerator

from speechssl.objectives.masked_prediction import LabelPredictor

DIM, FINAL_DIM = 768, 256


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=500, help="masked frames in the batch")
    parser.add_argument("--labels", type=int, default=100, help="number of labels")
    parser.add_argument("--repeat", type=int, default=3, help="timed repeats")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    ours = LabelPredictor(DIM, FINAL_DIM, arguments.labels, temperature=0.1).to(device)
    theirs = LogitGenerator(DIM, arguments.labels, FINAL_DIM, skip_masked=False, skip_nomask=True).to(device)
    theirs.final_proj.load_state_dict(ours.projection.state_dict())
    theirs.label_embeddings.data.copy_(ours.embeddings.data)
    frames = torch.randn(1, arguments.frames, DIM, device=device, requires_grad=True)
    labels = torch.randint(arguments.labels, (1, arguments.frames), device=device)
    mask = torch.ones_like(labels, dtype=torch.bool)

    def our_loss() -> Tensor:
        return F.cross_entropy(ours(frames[0]), labels[0], reduction="sum")

    def their_loss() -> Tensor:
        logits, _ = theirs(frames, labels, mask, ~mask)
        return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=device), reduction="sum")

    print(f"{device}, {arguments.frames} frames, {arguments.labels} labels, {torch.get_num_threads()} threads")
    print(f"losses: ours {our_loss().item():.4f}, torchaudio {their_loss().item():.4f}")
    fast = seconds(our_loss, arguments.repeat, device)
    slow = seconds(their_loss, arguments.repeat, device)
    gigabytes = (arguments.labels + 1) * arguments.frames * FINAL_DIM * 4 / 1e9
    print(
        f"ours {fast:.4f} s, torchaudio {slow:.4f} s: {slow / fast:.1f} times faster; theirs holds {gigabytes:.2f} GB"
    )


def seconds(loss: Callable[[], Tensor], repeat: int, device: str) -> float:
    """Return the median time of the loss and its gradient, after one run that is not counted."""
    times = []
    for _ in range(repeat + 1):
        if device == "cuda":
            torch.cuda.synchronize()
        started = time.perf_counter()
        loss().backward()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


if __name__ == "__main__":
    main()
