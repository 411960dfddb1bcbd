"""LSTMs with products in bf16, for heads that learn on a processor.

torch's own LSTM on packed sequences takes most of the time of ASR there: each time step adds to the gradient of the
recurrent weights, a product of a few rows that reads and writes megabytes. Here that gradient is one product over all
steps, and a product in bf16 takes half the time or less: what goes into it and what comes out are rounded, the sums
within are not. Weights, gates and states are in float32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

Gradients = tuple[Tensor, Tensor, Tensor, Tensor, None, None]


class Bf16Lstm(nn.LSTM):
    """An LSTM that takes packed sequences and begins with states of zero, with products in bf16.

    Weights have the names, shapes and type of :class:`torch.nn.LSTM`, and dropout draws the same numbers.
    """

    def forward(self, packed: PackedSequence) -> tuple[PackedSequence, None]:
        """Return the outputs, packed alike; the last states are not computed."""
        data, sizes, order, places = packed
        for layer in range(self.num_layers):
            if layer and self.dropout:
                data = functional.dropout(data, self.dropout, self.training)
            # Without `order` utterances stay sorted by length.
            x, lengths = pad_packed_sequence(PackedSequence(data, sizes))
            real = (torch.arange(len(x))[:, None] < lengths).to(x.dtype)[:, :, None]
            ways = ("", "_reverse") if self.bidirectional else ("",)
            x = torch.cat([self._run(x, f"l{layer}{way}", real, bool(way)) for way in ways], dim=2)
            data = pack_padded_sequence(x, lengths).data
        return PackedSequence(data, sizes, order, places), None

    def _run(self, x: Tensor, name: str, real: Tensor, backwards: bool) -> Tensor:
        """Return `(frames, batch, width)`: one layer in one direction."""
        weights = [getattr(self, f"{kind}_{name}") for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        outputs: Tensor = _Direction.apply(x, weights[0], weights[1], weights[2] + weights[3], real, backwards)
        return outputs


def with_bf16_lstms(module: nn.Module) -> nn.Module:
    """Return `module` with a :class:`Bf16Lstm` of the same weights in place of each LSTM below it."""
    for name, child in module.named_children():
        if isinstance(child, nn.LSTM):
            setattr(module, name, _in_bf16(child))
        else:
            with_bf16_lstms(child)
    return module


def _in_bf16(lstm: nn.LSTM) -> Bf16Lstm:
    sizes = (lstm.input_size, lstm.hidden_size, lstm.num_layers)
    with torch.device("meta"):
        same = Bf16Lstm(*sizes, dropout=lstm.dropout, bidirectional=lstm.bidirectional)
    same.load_state_dict(lstm.state_dict(keep_vars=True), assign=True)
    return same.train(lstm.training)


class _Direction(torch.autograd.Function):
    """One layer in one direction.

    Takes `(frames, batch, dim)`, weights `(4 * width, dim)` and `(4 * width, width)`, the bias `(4 * width,)`, and
    `(frames, batch, 1)`: 1 where an utterance is, 0 behind its end, where outputs and states are 0. Gates are in the
    order of torch: input, forget, new, output.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, of_input: Tensor, of_state: Tensor, bias: Tensor, real: Tensor, backwards: bool
    ) -> Tensor:
        frames, batch, _ = x.shape
        width = of_state.shape[1]
        x, of_input, of_state = x.bfloat16(), of_input.bfloat16(), of_state.bfloat16()
        gates = (x.flatten(0, 1) @ of_input.t()).float().add_(bias).view(frames, batch, 4 * width)
        outputs, cells = gates.new_empty(2, frames, batch, width)
        output, cell = gates.new_zeros(2, batch, width)
        for frame in _order(frames, backwards):
            now = gates[frame]
            now += output.bfloat16() @ of_state.t()
            now[:, : 2 * width].sigmoid_()
            now[:, 2 * width : 3 * width].tanh_()
            now[:, 3 * width :].sigmoid_()
            enter, keep, new, leave = now.chunk(4, dim=1)
            cell = torch.mul(keep * cell + enter * new, real[frame], out=cells[frame])
            output = torch.mul(leave * cell.tanh(), real[frame], out=outputs[frame])
        ctx.save_for_backward(x, of_input, of_state, real, gates, cells, outputs)
        ctx.backwards = backwards
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Gradients:
        x, of_input, of_state, real, gates, cells, outputs = ctx.saved_tensors
        frames, batch, width = outputs.shape
        of_gates = torch.empty_like(gates, dtype=torch.bfloat16)
        of_output, of_cell = gates.new_zeros(2, batch, width)
        order = list(_order(frames, ctx.backwards))
        for frame, before in zip(reversed(order), [*reversed(order[:-1]), None], strict=True):
            enter, keep, new, leave = gates[frame].chunk(4, dim=1)
            squashed = cells[frame].tanh()
            of_output = (gradient[frame] + of_output) * real[frame]
            of_cell = (of_cell + of_output * leave * (1 - squashed.square())) * real[frame]
            cell_before = torch.zeros_like(of_cell) if before is None else cells[before]
            parts = (
                of_cell * new * enter * (1 - enter),
                of_cell * cell_before * keep * (1 - keep),
                of_cell * enter * (1 - new.square()),
                of_output * squashed * leave * (1 - leave),
            )
            of_gates[frame] = torch.cat(parts, dim=1)
            of_cell = of_cell * keep
            of_output = (of_gates[frame] @ of_state).float()
        flat = of_gates.flatten(0, 1)
        later, earlier = (of_gates[:-1], outputs[1:]) if ctx.backwards else (of_gates[1:], outputs[:-1])
        of_recurrence = later.flatten(0, 1).t() @ earlier.bfloat16().flatten(0, 1)
        return (
            (flat @ of_input).float().view(frames, batch, -1),
            (flat.t() @ x.flatten(0, 1)).float(),
            of_recurrence.float(),
            flat.sum(dim=0, dtype=torch.float32),
            None,
            None,
        )


def _order(frames: int, backwards: bool) -> range:
    return range(frames - 1, -1, -1) if backwards else range(frames)
