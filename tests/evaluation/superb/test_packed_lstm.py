"""LSTMs of a processor, beside torch's own."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from speechssl.evaluation.superb.packed_lstm import PackedLstm, with_packed_lstms

LENGTHS = torch.tensor([7, 23, 1, 12])


def outputs_and_gradients(lstm: nn.LSTM) -> list[Tensor]:
    """Return what it makes of some sequences, and the gradients of these and of all weights."""
    torch.manual_seed(1)
    features = torch.randn(4, 23, lstm.input_size, requires_grad=True)
    packed = pack_padded_sequence(features, LENGTHS, batch_first=True, enforce_sorted=False)
    output, states = lstm(packed)
    assert (states is None) == isinstance(lstm, PackedLstm)  # torch's own has some
    outputs, lengths = pad_packed_sequence(output, batch_first=True)
    assert lengths.tolist() == LENGTHS.tolist()
    (outputs * torch.randn_like(outputs)).sum().backward()
    gradients = [parameter.grad for parameter in lstm.parameters() if parameter.grad is not None]
    assert features.grad is not None and len(gradients) == len(list(lstm.parameters()))
    return [outputs.detach(), features.grad, *gradients]


@pytest.mark.filterwarnings("ignore:dropout option adds dropout after all but last:UserWarning")
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize(("bf16", "tolerance"), [(False, 1e-6), (True, 1 / 128)])
def test_outputs_and_gradients_are_torch_s(
    layers: int, bidirectional: bool, dropout: float, bf16: bool, tolerance: float
) -> None:
    torch.manual_seed(0)
    sizes = {"num_layers": layers, "bidirectional": bidirectional, "dropout": dropout}
    theirs = nn.Sequential(nn.LSTM(20, 32, batch_first=True, **sizes))
    ours = with_packed_lstms(copy.deepcopy(theirs), bf16)
    assert isinstance(ours[0], PackedLstm) and type(theirs[0]) is nn.LSTM
    errors = [
        float((mine - expected).norm() / expected.norm())
        for mine, expected in zip(outputs_and_gradients(ours[0]), outputs_and_gradients(theirs[0]), strict=True)
    ]
    # A number in bf16 has 8 bits: one in 256.
    assert max(errors) < tolerance and (max(errors) > 1e-4) == bf16


def test_what_is_sorted_stays_as_it_is() -> None:
    theirs = nn.Sequential(nn.LSTM(5, 7, batch_first=True))
    ours = with_packed_lstms(copy.deepcopy(theirs), bf16=False)
    packed = pack_padded_sequence(torch.randn(4, 9, 5), torch.tensor([9, 4, 4, 4]), batch_first=True)
    mine, expected = ours[0](packed)[0], theirs[0](packed)[0]
    torch.testing.assert_close(mine.data, expected.data, rtol=0, atol=1e-6)
    assert mine.sorted_indices is None and torch.equal(mine.batch_sizes, expected.batch_sizes)


def test_weights_stay_torch_s() -> None:
    theirs = nn.ModuleDict({"inner": nn.ModuleDict({"rnn": nn.LSTM(4, 6, num_layers=2, dropout=0.5)})})
    before = theirs.state_dict()
    ours = with_packed_lstms(theirs.eval(), bf16=False)
    assert ours.state_dict().keys() == before.keys()
    assert all(torch.equal(ours.state_dict()[name], weight) for name, weight in before.items())
    assert all(parameter.dtype == torch.float32 and parameter.requires_grad for parameter in ours.parameters())
    assert not any(module.training for module in ours.modules())
