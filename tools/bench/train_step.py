"""Speed of one training step: our encoder and loss against torchaudio's HuBERT pretraining model, in the same run.

usage: python tools/bench/train_step.py [--size base] [--batch 4] [--seconds 6] [--labels 100] [--repeat 3] [--fp32]
       [--padded]

Forward, backward and Adam on the same waveforms, labels and number format. torchaudio draws its own masks of the
published kind. Its model exists in the published sizes only: for any size of ours but `base` only our speed is
printed. Utterances are equally long, or, with `--padded`, from half of that on, as batches of `batch.fit=pad` are.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
import torchaudio
from torch import Tensor, nn
from torch.nn import functional as F

from speechssl.data.masking import span_mask
from speechssl.models.hubert import HubertEncoder, size_config
from speechssl.objectives.masked_prediction import MaskedPrediction
from speechssl.objectives.objective import Targets


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="base", help="size of our encoder")
    parser.add_argument("--batch", type=int, default=4, help="utterances")
    parser.add_argument("--seconds", type=float, default=6.0, help="length of an utterance")
    parser.add_argument("--labels", type=int, default=100, help="number of labels")
    parser.add_argument("--repeat", type=int, default=3, help="timed steps")
    parser.add_argument("--fp32", action="store_true", help="no bf16")
    parser.add_argument("--padded", action="store_true", help="utterances of several lengths")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    waveforms = 0.1 * torch.randn(arguments.batch, int(arguments.seconds * 16_000), device=device)
    shortest = waveforms.shape[1] // 2 if arguments.padded else waveforms.shape[1]
    lengths = torch.linspace(waveforms.shape[1], shortest, arguments.batch).long()
    audio = int(lengths.sum()) / 16_000
    dtype = torch.float32 if arguments.fp32 else torch.bfloat16
    print(f"{device}, {str(dtype)[6:]}, {arguments.batch} x {arguments.seconds:g} s, {torch.get_num_threads()} threads")
    ours = audio / seconds(
        our_step(arguments.size, arguments.labels, waveforms, lengths, dtype), arguments.repeat, device
    )
    print(f"speechssl {arguments.size}: {ours:.1f} audio-seconds a second")
    if arguments.size == "base":
        step = torchaudio_step(arguments.labels, waveforms, lengths, dtype)
        theirs = audio / seconds(step, arguments.repeat, device)
        print(f"torchaudio base: {theirs:.1f} audio-seconds a second; ours is {ours / theirs:.2f} times as fast")


def our_step(size: str, labels: int, waveforms: Tensor, lengths: Tensor, dtype: torch.dtype) -> Callable[[], None]:
    """Return one update of our encoder with masked prediction at its last layer."""
    device = waveforms.device
    encoder = HubertEncoder(size_config(size)).to(device)
    config = encoder.config
    objective = MaskedPrediction(config.dim, config.final_dim, [labels], [config.num_layers]).to(device)
    frames = encoder.frame_lengths(lengths).tolist()
    generator = np.random.default_rng(0)
    span = max(1, round(0.2 * encoder.frame_rate))
    mask = torch.zeros(len(frames), max(frames), dtype=torch.bool)
    for row, count in enumerate(frames):
        mask[row, :count] = torch.from_numpy(span_mask(count, 0.8, span, 2, generator))
    mask = mask.to(device)
    targets = Targets(mask, [torch.randint(labels, mask.shape, device=device)], None)

    def loss() -> Tensor:
        return objective(encoder(waveforms, lengths, mask=mask), targets).loss / mask.sum()

    return update(nn.ModuleList([encoder, objective]), loss, dtype)


def torchaudio_step(labels: int, waveforms: Tensor, lengths: Tensor, dtype: torch.dtype) -> Callable[[], None]:
    """Return one update of torchaudio's model with its own masked loss."""
    model = torchaudio.models.hubert_pretrain_base(num_classes=labels).to(waveforms.device)
    model.logit_generator.skip_nomask = True
    frames = int(HubertEncoder(size_config("base", num_layers=1)).frame_lengths(torch.tensor([waveforms.shape[1]]))[0])
    targets = torch.randint(labels, (len(waveforms), frames), device=waveforms.device)
    valid = lengths.to(waveforms.device) if int(lengths.min()) < waveforms.shape[1] else None

    def loss() -> Tensor:
        logits, _, _ = model(waveforms, targets, valid)
        return F.cross_entropy(logits.float(), torch.zeros(len(logits), dtype=torch.long, device=waveforms.device))

    return update(model, loss, dtype)


def update(model: nn.Module, loss: Callable[[], Tensor], dtype: torch.dtype) -> Callable[[], None]:
    """Return a function that takes one step of Adam on `loss`."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    device = next(model.parameters()).device
    model.train()

    def step() -> None:
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not torch.float32):
            value = loss()
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def seconds(step: Callable[[], None], repeat: int, device: torch.device) -> float:
    """Return the median time of a step, after one that is not counted."""
    times = []
    for _ in range(repeat + 1):
        started = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


if __name__ == "__main__":
    main()
