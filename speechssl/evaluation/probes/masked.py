"""Masked accuracy on held-out audio: how often the pretraining head names the unit of a frame it cannot see."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from speechssl.data.labels import FrameLabels, check_labels_fit, read_labels
from speechssl.data.manifest import read_manifest
from speechssl.data.masking import label_positions, span_mask
from speechssl.errors import UserError
from speechssl.evaluation.extract import WaveformCache, batches, padded
from speechssl.evaluation.probes.settings import EvaluateSettings
from speechssl.evaluation.probes.tasks import Score
from speechssl.evaluation.recordings import Recording
from speechssl.evaluation.sampling import generator_for
from speechssl.models.encoder import Encoder
from speechssl.models.load import load_heads
from speechssl.objectives.masked_prediction import LabelPredictor
from speechssl.progress import progress

_SPLIT = "valid"


class MaskedAccuracy:
    """Masked prediction on the split `valid` of the data folder."""

    name = "masked accuracy"

    def __init__(self, data: list[Recording], settings: EvaluateSettings) -> None:
        assert settings.labels_dir is not None
        manifest = read_manifest(Path(settings.data_dir) / f"{_SPLIT}.tsv")
        self._labels = read_labels(Path(settings.labels_dir) / f"{_SPLIT}.km", frame_rate=settings.label_rate or None)
        check_labels_fit(self._labels, manifest)
        # The row of a recording in the labels is its row in the manifest.
        self._rows = {path: index for index, path in enumerate(manifest.paths)}
        self._recordings = [recording for recording in data if recording.split == _SPLIT]
        if not self._recordings:
            raise UserError(
                f"{manifest.file} is of no split that {settings.data_dir}/metadata.tsv names: run `speechssl manifest` "
                "again, or leave labels_dir out"
            )
        self._settings = settings
        mask = settings.mask
        self.description: dict[str, Any] = {
            "metric": "accuracy",
            "better": "more",
            "kind": "frames",
            "parts": f"split {_SPLIT}",
            "utterances": len(self._recordings),
            "mask": {"probability": mask.probability, "length": mask.length, "min_spans": mask.min_spans},
            "units": self._labels.info.source,
            "classes": self._labels.info.k,
            "chance": _most_frequent(self._labels),
        }

    def unfit(self, path: str) -> str:
        """Return why a trained encoder has no score, nothing where it has one."""
        heads = load_heads(path)
        if heads is None:
            return f"{path} has no pretraining heads"
        units, info = len(heads[0]["label_embs_concat"]), self._labels.info
        # Of labels without a sidecar only the largest is known.
        if units < info.k or (units > info.k and not info.bare):
            return (
                f"{path} predicts {units} units and {self._labels.path} has {info.k}; give labels_dir of the units "
                "that it was trained on"
            )
        made, given = heads[1].get("kmeans_sha256", [""])[0], info.kmeans_sha256
        if made and given and made != given:
            return (
                f"{path} predicts units of another k-means than {self._labels.path} has; give labels_dir of the units "
                "that it was trained on"
            )
        return ""

    @torch.no_grad()
    def score(self, path: str, encoder: Encoder, cache: WaveformCache) -> Score:
        """Return the accuracy of a trained encoder, which must not be :meth:`unfit`."""
        heads = load_heads(path)
        assert heads is not None
        predictor = _predictor(*heads)
        layer = heads[1].get("layer", encoder.num_layers)
        device = next(encoder.parameters()).device
        predictor.to(device)
        right = masked = 0
        groups = list(batches(self._recordings, self._settings.batch_seconds, cache.max_samples))
        for group in progress(groups, "masked accuracy", "batch"):
            waveforms, lengths = padded([cache.read(recording) for recording in group], device)
            mask, labels = self._targets(group, encoder, lengths)
            states = encoder(waveforms, lengths, mask.to(device)).hidden_states[layer]
            counted = mask & (labels >= 0)
            predicted = predictor(states[counted.to(device)]).argmax(dim=-1).cpu()
            right += int((predicted == labels[counted]).sum())
            masked += len(predicted)
        return Score(value=right / masked, details={"masked_frames": masked})

    def _targets(self, group: Sequence[Recording], encoder: Encoder, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return mask and labels `(batch, frames)`; -1 where there is no label."""
        frames = encoder.frame_lengths(lengths).tolist()
        mask = torch.zeros(len(group), max(frames), dtype=torch.bool)
        labels = torch.full((len(group), max(frames)), -1)
        options = self._settings.mask
        for row, (recording, count) in enumerate(zip(group, frames, strict=True)):
            generator = generator_for(self._settings.seed, recording.name, "mask")
            drawn = span_mask(count, options.probability, options.length, options.min_spans, generator)
            mask[row, :count] = torch.from_numpy(drawn)
            units = self._labels[self._rows[recording.name]]
            places = label_positions(count, encoder.frame_rate, self._labels.info.frame_rate)
            places = places[places < len(units)]
            labels[row, : len(places)] = torch.from_numpy(units[places].astype(np.int64))
        return mask, labels


def _predictor(state: dict[str, Tensor], description: dict[str, Any]) -> LabelPredictor:
    """Rebuild the head of the first label set."""
    embeddings, weight = state["label_embs_concat"], state["final_proj.weight"]
    temperature = float(description["logit_temperature"])
    predictor = LabelPredictor(weight.shape[1], weight.shape[0], len(embeddings), temperature)
    predictor.load_state_dict(
        {"embeddings": embeddings, "projection.weight": weight, "projection.bias": state["final_proj.bias"]}
    )
    return predictor.eval()


def _most_frequent(labels: FrameLabels) -> float:
    """Return the share of the most frequent label."""
    counts = np.zeros(labels.info.k, dtype=np.int64)
    for index in range(len(labels)):
        counts += np.bincount(labels[index], minlength=labels.info.k)
    return float(counts.max() / max(1, counts.sum()))
