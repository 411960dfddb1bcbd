"""The encoder with its objectives: what the trainer sees as one model."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from speechssl.errors import UserError
from speechssl.models.hubert import HubertEncoder
from speechssl.models.load import load_heads
from speechssl.objectives.feature_penalty import FeaturePenalty
from speechssl.objectives.masked_prediction import LabelPredictor, MaskedPrediction
from speechssl.objectives.objective import Objective
from speechssl.objectives.topic import TopicPrediction
from speechssl.training.reader import PretrainBatch
from speechssl.training.settings import PretrainSettings
from speechssl.training.trainable import Metrics

log = logging.getLogger(__name__)


class PretrainModel(nn.Module):
    """HuBERT or HuBERTopic.

    Args:
        encoder: the encoder.
        objectives: the losses; each is divided by its own count over the whole update, weighted, and added.
    """

    def __init__(self, encoder: HubertEncoder, objectives: dict[str, Objective]) -> None:
        super().__init__()
        self.encoder = encoder
        self.objectives = nn.ModuleDict(objectives)
        self.metrics = [name for objective in objectives.values() for name in objective.metrics]
        """Names of the metrics that it returns."""

    def forward(self, batch: PretrainBatch) -> tuple[Tensor, Metrics]:
        """Return this batch's part of the loss of the whole update (a scalar), and metrics as (sum, count)."""
        output = self.encoder(batch.waveforms, batch.lengths, batch.targets.mask)
        total = output.hidden_states[-1].new_zeros((), dtype=torch.float32)
        metrics: Metrics = {}
        for objective in self.objectives.values():
            assert isinstance(objective, Objective)
            result = objective(output, batch.targets)
            total = total + objective.weight * result.loss / getattr(batch.counts, objective.counted_by)
            metrics.update(result.metrics)
        return total, metrics


def build_model(settings: PretrainSettings, labels: list[int], topics: int | None) -> PretrainModel:
    """Build a freshly initialised model.

    Args:
        settings: encoder and objectives.
        labels: number of labels of each label set.
        topics: number of topics, where the topic task is on.
    """
    objective = settings.objective
    encoder = HubertEncoder(settings.model)
    layers = [layer_index(layer, encoder.num_layers) for layer in objective.layers]
    if len(set(layers)) < len(layers):
        raise UserError(f"objective.layers={objective.layers} names a hidden state twice: name each once")
    objectives: dict[str, Objective] = {
        "masked": MaskedPrediction(
            encoder.dim,
            settings.model.final_dim,
            labels,
            layers,
            temperature=objective.temperature,
            unmasked_weight=objective.unmasked_weight,
        )
    }
    # The penalty holds learned features small; a filterbank is not learned.
    if objective.feature_penalty > 0 and settings.model.front_end == "waveform":
        objectives["feature_penalty"] = FeaturePenalty(objective.feature_penalty)
    if objective.topic_weight > 0 and topics:
        objectives["topic"] = TopicPrediction(
            encoder.dim,
            topics,
            layer=layer_index(objective.topic_layer, encoder.num_layers, "objective.topic_layer"),
            pool=objective.topic_pool.value,
            targets=objective.topic_targets.value,
            weight=objective.topic_weight,
        )
    return PretrainModel(encoder, objectives)


def heads_state(model: PretrainModel) -> dict[str, Tensor]:
    """Return the heads' weights: the first label set at the last layer by fairseq's names, the rest under `extra.`."""
    masked = model.objectives["masked"]
    assert isinstance(masked, MaskedPrediction)
    first = masked.predictors[masked.key(0, masked.layers[-1])]
    assert isinstance(first, LabelPredictor)
    state = {
        "final_proj.weight": first.projection.weight,
        "final_proj.bias": first.projection.bias,
        "label_embs_concat": first.embeddings,
    }
    own = f"masked.predictors.{masked.key(0, masked.layers[-1])}."
    for name, weight in model.objectives.state_dict().items():
        if not name.startswith(own):
            state[f"extra.{name}"] = weight
    return {name: weight.detach().float().cpu().contiguous() for name, weight in state.items()}


def copy_heads(model: PretrainModel, source: Path, kmeans_sha256: str) -> None:
    """Copy the first label set's head if it predicts the same units in the same widths; other heads start fresh.

    Args:
        model: has the heads to fill.
        source: an encoder or run folder, with heads or not.
        kmeans_sha256: checksum of the k-means that gave the first label set, "" where it is not known.

    Raises:
        UserError: its heads are broken.
    """
    heads = load_heads(source)
    masked = model.objectives["masked"]
    assert isinstance(masked, MaskedPrediction)
    first: Any = masked.predictors[masked.key(0, masked.layers[-1])]
    fresh = "there is none" if heads is None else _other_units(first, *heads, kmeans_sha256)
    if heads is None or fresh:
        log.info("init_from=%s: the head that predicts units starts fresh: %s", source, fresh)
        return
    state, _ = heads
    first.embeddings.data.copy_(state["label_embs_concat"])
    first.projection.weight.data.copy_(state["final_proj.weight"])
    first.projection.bias.data.copy_(state["final_proj.bias"])
    log.info("init_from=%s: the head that predicts units is copied", source)


def _other_units(head: Any, state: dict[str, Tensor], description: dict[str, Any], kmeans_sha256: str) -> str:
    """Return why weights do not fit a head, "" where they do."""
    if head.embeddings.shape != state["label_embs_concat"].shape:
        return f"its shape there is {tuple(state['label_embs_concat'].shape)}, not {tuple(head.embeddings.shape)}"
    theirs = description.get("kmeans_sha256", [""])[0]
    # Of labels without a sidecar, such as fairseq's, nobody knows.
    return "its units are of another k-means" if theirs and kmeans_sha256 and theirs != kmeans_sha256 else ""


def layer_index(layer: int, num_layers: int, setting: str = "objective.layers") -> int:
    """Return a non-negative index into the `num_layers + 1` hidden states; `setting` names the layer."""
    if not -num_layers - 1 <= layer <= num_layers:
        raise UserError(
            f"{setting}: layer {layer} is not among the {num_layers + 1} hidden states of this encoder "
            f"(0 to {num_layers})"
        )
    return layer % (num_layers + 1)
