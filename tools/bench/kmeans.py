"""Our mini-batch k-means against scikit-learn's, in the same run: time and inertia.

python tools/bench/kmeans.py                                  # synthetic frames of MFCC's and an encoder's width
python tools/bench/kmeans.py --manifest data/mini/train.tsv   # real MFCC
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import numpy.typing as npt
import torch
from sklearn.cluster import MiniBatchKMeans

from speechssl.data.manifest import read_manifest
from speechssl.models.device import pick_device
from speechssl.units.features import MfccFeatures
from speechssl.units.kmeans import ClusteringSettings, Quantizer, fit_kmeans
from speechssl.units.processes import Processes
from speechssl.units.reading import reader_threads
from speechssl.units.sampling import FrameSample, sample_recordings

Frames = npt.NDArray[np.float32]


def main() -> None:
    """Print a line for each setting and seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", help="take the MFCC of this manifest's audio")
    parser.add_argument("--fraction", type=float, default=1.0, help="of the manifest's audio")
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = pick_device(options.device)
    print(f"torch {torch.__version__} on {device}, {torch.get_num_threads()} threads")
    if options.manifest:
        cases = {f"mfcc of {options.manifest}": (real_mfcc(options.manifest, options.fraction), options.k)}
    else:
        cases = {
            "synthetic 39-d": (synthetic(300_000, 39), options.k),
            "synthetic 768-d": (synthetic(20_000, 768), options.k),
        }
    for name, (frames, k) in cases.items():
        for seed in range(options.seeds):
            compare(name, frames, k, seed, device)


def compare(name: str, frames: Frames, k: int, seed: int, device: torch.device) -> None:
    """Fit both on the same frames and print time and inertia, and ours over theirs."""
    on_device = torch.from_numpy(frames).to(device)
    start = time.perf_counter()
    ours = fit_kmeans(on_device, ClusteringSettings(k=k, seed=seed))
    our_seconds = time.perf_counter() - start
    start = time.perf_counter()
    # HuBERT's settings; the labels of all frames are left out, as fairseq does.
    theirs = MiniBatchKMeans(
        k,
        init="k-means++",
        max_iter=100,
        batch_size=10_000,
        tol=0.0,
        max_no_improvement=100,
        n_init=20,
        reassignment_ratio=0.0,
        random_state=seed,
        compute_labels=False,
    ).fit(frames)
    their_seconds = time.perf_counter() - start
    centroids = torch.from_numpy(theirs.cluster_centers_.astype(np.float32)).to(device)
    their_inertia = float(Quantizer(centroids)(on_device)[1].double().mean())
    print(
        f"{name}: {len(frames)} frames, k {k}, seed {seed}: "
        f"ours {our_seconds:.1f} s, {ours.steps} batches, inertia {ours.inertia:.4f}; "
        f"scikit-learn {their_seconds:.1f} s, {theirs.n_steps_} batches, inertia {their_inertia:.4f}; "
        f"time x {our_seconds / their_seconds:.2f}, inertia x {ours.inertia / their_inertia:.4f}"
    )


def synthetic(count: int, dim: int, states: int = 200, seed: int = 0) -> Frames:
    """Return `(count, dim)` frames: runs of unequally likely states in noise, of unequal variance by dimension."""
    rng = np.random.default_rng(seed)
    scale = 20.0 / np.sqrt(np.arange(1, dim + 1))
    runs = rng.choice(states, size=count // 5 + 1, p=rng.dirichlet(np.full(states, 0.7))).repeat(5)[:count]
    noise = rng.standard_normal(size=(count, dim), dtype=np.float32)
    return ((rng.normal(size=(states, dim))[runs] + noise) * scale).astype(np.float32)


def real_mfcc(manifest_file: str, fraction: float) -> Frames:
    """Return the MFCC of a sample of a manifest's audio, and print how fast they were computed."""
    manifest = read_manifest(manifest_file)
    cpu = torch.device("cpu")
    indices = sample_recordings(manifest, fraction, seed=0)
    sample = FrameSample(manifest, MfccFeatures(cpu), indices, most=10**9, seed=0)
    start = time.perf_counter()
    frames = sample.collect(reader_threads(0), cpu, Processes())
    seconds = time.perf_counter() - start
    print(f"audio to MFCC: {len(frames) / 100 / seconds:.0f} seconds of audio a second, {reader_threads(0)} threads")
    return frames.numpy()


if __name__ == "__main__":
    main()
