"""Hidden states of a frozen encoder: where they are computed, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from speechssl.errors import UserError
from speechssl.evaluation.superb.data import read_task
from speechssl.evaluation.superb.states import FreshStates, FrozenEncoder
from speechssl.models.device import pick_device
from speechssl.models.load import load_encoder


@pytest.mark.parametrize("pooled", [False, True])
def test_states_that_are_not_stored_stay_on_the_device(task_dir, encoder_dir, other_device, monkeypatch, pooled):
    utterances = read_task(task_dir, ["label"]).parts["test"]
    cpu = FrozenEncoder(load_encoder(encoder_dir), "tiny", torch.device("cpu"))
    expected, lengths = FreshStates(cpu, utterances, pooled).batch([3, 1, 3])
    with other_device():
        device = pick_device("auto")
        fresh = FreshStates(FrozenEncoder(load_encoder(encoder_dir), "tiny", device), utterances, pooled)
        monkeypatch.setattr(Tensor, "cpu", lambda tensor: pytest.fail("taken from the device"))
        states, ours = fresh.batch([3, 1, 3])
        assert states.device == device and states.dtype == torch.float16
        torch.testing.assert_close(states.to("cpu"), expected, rtol=1e-3, atol=1e-3)
        assert torch.equal(ours, lengths)


def test_the_utterance_whose_states_are_not_finite_is_named(task_dir, encoder_dir):
    utterances = read_task(task_dir, ["label"]).parts["test"][:3]
    frozen = FrozenEncoder(load_encoder(encoder_dir), "tiny", torch.device("cpu"))
    forward, beyond = frozen.encoder.forward, 1e5

    def loud(waveforms, lengths):
        output = forward(waveforms, lengths)
        output.hidden_states[1][1, 0, 0] = beyond  # more than half precision holds
        output.hidden_states[1][0, int(output.lengths[0]) :] = beyond  # padding is nobody's state
        return output

    frozen.encoder.forward = loud
    with pytest.raises(UserError, match=rf"hidden states of {utterances[1].audio} are not finite in half precision"):
        frozen.encode(utterances, False)
