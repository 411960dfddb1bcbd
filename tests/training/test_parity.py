"""The loss of a whole model against torchaudio's `HuBERTPretrainModel`: same weights, audio, labels and mask."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchaudio.models import HuBERTPretrainModel
from torchaudio.models.wav2vec2.components import LogitGenerator

from speechssl.models.hubert import HubertEncoder
from speechssl.models.hubert_config import size_config
from speechssl.objectives.feature_penalty import FeaturePenalty
from speechssl.objectives.masked_prediction import MaskedPrediction
from speechssl.objectives.objective import Targets
from speechssl.training.model import PretrainModel
from speechssl.training.reader import PretrainBatch, UpdateCounts
from tests.models.test_parity import torchaudio_model

LABELS = 30


class GivenMask(nn.Module):
    """Stands in for torchaudio's mask generator."""

    def __init__(self, mask: Tensor, embedding: Tensor) -> None:
        super().__init__()
        self.mask = mask
        self.embedding = embedding

    def forward(self, x: Tensor, padding_mask: Tensor | None) -> tuple[Tensor, Tensor]:
        return torch.where(self.mask[..., None], self.embedding, x), self.mask


@pytest.mark.parametrize("size", ["base", "large"])
def test_loss_of_the_whole_model(size):
    torch.manual_seed(0)
    convs = [[24, 10, 5], *([24, 3, 2] for _ in range(4)), *([24, 2, 2] for _ in range(2))]
    config = size_config(
        size,
        conv_layers=convs,
        num_layers=3,
        dim=48,
        ffn_dim=96,
        num_heads=4,
        conv_pos=16,
        conv_pos_groups=4,
        final_dim=16,
        normalize=False,
        feature_grad_mult=1.0,
        dropout=0.0,
        input_dropout=0.0,
        attention_dropout=0.0,
        layerdrop=0.0,
    )
    encoder = HubertEncoder(config)
    masked = MaskedPrediction(48, 16, [LABELS], [3])
    ours = PretrainModel(encoder, {"masked": masked, "feature_penalty": FeaturePenalty()})
    waveforms = 0.3 * torch.randn(2, 16_000)
    frames = int(encoder.frame_lengths(torch.tensor([16_000]))[0])
    mask, labels = torch.rand(2, frames) < 0.5, torch.randint(LABELS, (2, frames))

    generator = LogitGenerator(48, LABELS, 16, skip_masked=False, skip_nomask=True)
    predictor = masked.predictors["set0_layer3"]
    generator.final_proj.load_state_dict(predictor.projection.state_dict())
    generator.label_embeddings.data.copy_(predictor.embeddings.data)
    theirs = HuBERTPretrainModel(
        torchaudio_model(encoder).train(), GivenMask(mask, encoder.mask_emb.detach()), generator, feature_grad_mult=None
    )
    logits, _, penalty = theirs(waveforms, labels)
    # torchaudio's recipe: cross-entropy against label 0, where the true label stands, and 10 times the penalty.
    target = torch.zeros(len(logits), dtype=torch.long)
    expected = torch.nn.functional.cross_entropy(logits, target) + 10 * penalty

    counts = UpdateCounts(masked=int(mask.sum()), utterances=2, frames=2 * frames, samples=waveforms.numel())
    batch = PretrainBatch(waveforms, None, Targets(mask, [labels], None), ["a", "b"], counts, share=1)
    loss, metrics = ours(batch)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-4)
    assert int(metrics["masked_accuracy"][0]) == int((logits.argmax(dim=1) == 0).sum())

    loss.backward()
    expected.backward()
    ours_gradient = encoder.encoder.layers[0].fc1.weight.grad
    theirs_gradient = theirs.wav2vec2.encoder.transformer.layers[0].feed_forward.intermediate_dense.weight.grad
    torch.testing.assert_close(ours_gradient, theirs_gradient, rtol=1e-3, atol=1e-6)
