"""Losses against torchaudio's and against cases worked by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torchaudio.models.wav2vec2.components import LogitGenerator

from speechssl.models.encoder import EncoderOutput
from speechssl.objectives.feature_penalty import FeaturePenalty
from speechssl.objectives.masked_prediction import MaskedPrediction
from speechssl.objectives.objective import Targets
from speechssl.objectives.topic import TopicPrediction


def output_of(hidden: torch.Tensor, lengths: list[int], features: torch.Tensor | None = None) -> EncoderOutput:
    return EncoderOutput([hidden, hidden * 2], torch.tensor(lengths), hidden if features is None else features)


def test_masked_loss_and_gradient_as_torchaudio():
    torch.manual_seed(0)
    ours = MaskedPrediction(dim=16, final_dim=8, labels=[20], layers=[0])
    predictor = ours.predictors[ours.key(0, 0)]
    theirs = LogitGenerator(16, num_classes=20, final_dim=8, skip_masked=False, skip_nomask=True)
    theirs.final_proj.load_state_dict(predictor.projection.state_dict())
    theirs.label_embeddings.data.copy_(predictor.embeddings.data)
    hidden = torch.randn(3, 11, 16)
    labels = torch.randint(20, (3, 11))
    mask = torch.rand(3, 11) < 0.5

    ours_hidden, theirs_hidden = hidden.clone().requires_grad_(), hidden.clone().requires_grad_()
    result = ours(output_of(ours_hidden, [11, 11, 11]), Targets(mask, [labels], None))
    logits, _ = theirs(theirs_hidden, labels, mask, ~mask)
    # torchaudio puts the true label first; its hubert_loss is the cross-entropy against 0.
    expected = torch.nn.functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long), reduction="sum")
    result.loss.backward()
    expected.backward()

    assert result.loss.item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(ours_hidden.grad, theirs_hidden.grad, rtol=1e-4, atol=1e-5)
    accuracy, count = result.metrics["masked_accuracy"]
    assert count == int(mask.sum())
    assert int(accuracy) == int((logits.argmax(dim=1) == 0).sum())


def test_label_sets_and_layers_are_summed():
    torch.manual_seed(0)
    both = MaskedPrediction(dim=6, final_dim=4, labels=[5, 7], layers=[0, 1])
    hidden, mask = torch.randn(2, 4, 6), torch.ones(2, 4, dtype=torch.bool)
    targets = Targets(mask, [torch.randint(5, (2, 4)), torch.randint(7, (2, 4))], None)
    parts = 0.0
    for layer in (0, 1):
        for label_set, number in enumerate((5, 7)):
            single = MaskedPrediction(dim=6, final_dim=4, labels=[number], layers=[layer])
            key = both.key(label_set, layer)
            single.predictors[single.key(0, layer)].load_state_dict(both.predictors[key].state_dict())
            parts += single(output_of(hidden, [4, 4]), Targets(mask, [targets.labels[label_set]], None)).loss.item()
    result = both(output_of(hidden, [4, 4]), targets)
    assert result.loss.item() == pytest.approx(parts, rel=1e-5)
    assert set(result.metrics) == set(both.metrics)


def test_unmasked_frames_leave_padding_out():
    torch.manual_seed(0)
    objective = MaskedPrediction(dim=6, final_dim=4, labels=[5], layers=[0], unmasked_weight=0.5)
    hidden, labels = torch.randn(1, 4, 6), torch.tensor([[1, 2, 3, 4]])
    mask = torch.tensor([[True, False, False, False]])
    loss = objective(output_of(hidden, [3]), Targets(mask, [labels], None)).loss.item()
    logits = objective.predictors[objective.key(0, 0)](hidden[0])
    each = torch.nn.functional.cross_entropy(logits, labels[0], reduction="none")
    assert loss == pytest.approx((each[0] + 0.5 * (each[1] + each[2])).item(), rel=1e-5)


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_topic_loss_by_hand(kind):
    objective = TopicPrediction(dim=2, topics=2, layer=0, targets=kind)
    with torch.no_grad():
        objective.classifier.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        objective.classifier.bias.zero_()
    # The mean of the two valid frames is (3, 1); its layer norm is (1, -1); the third frame is padding.
    hidden = torch.tensor([[[2.0, 0.0], [4.0, 2.0], [100.0, -100.0]]])
    result = objective(output_of(hidden, [2]), Targets(torch.zeros(1, 3), [], torch.tensor([[0.75, 0.25]])))
    log_first, log_second = -math.log(1 + math.exp(-2)), -math.log(1 + math.exp(2))
    expected = -(0.75 * log_first + 0.25 * log_second) if kind == "soft" else -log_first
    assert result.loss.item() == pytest.approx(expected, abs=1e-4)
    assert result.metrics["topic_accuracy"] == (1, 1)


def test_feature_penalty_leaves_padding_out():
    features = torch.tensor([[[1.0, 3.0], [2.0, 2.0], [9.0, 9.0]]])
    result = FeaturePenalty()(output_of(features, [2], features), Targets(torch.zeros(1, 3), [], None))
    assert result.loss.item() == pytest.approx((1 + 9) / 2 + (4 + 4) / 2)
