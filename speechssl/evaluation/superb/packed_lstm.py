"""LSTMs for heads that learn on a processor: torch's, in about half the time.

torch's own LSTM on packed sequences takes most of the time of ASR there: each time step adds to the gradient of the
recurrent weights, a product of a few rows that reads and writes megabytes. Here that gradient is one product over all
steps. With products in bf16, on a processor that has them, what goes into a product and what comes out are rounded,
the sums within are not. Weights, gates and states are in float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

Gradients = tuple[Tensor, Tensor, Tensor, Tensor, None, None, None]
Frames = Iterator[tuple[Tensor, ...]]


class PackedLstm(nn.LSTM):
    """An LSTM with biases and without projections that takes packed sequences and begins with states of zero.

    Weights have the names, shapes and type of :class:`torch.nn.LSTM`, and dropout draws the same numbers. On a GPU it
    is torch's.
    """

    products = torch.float32
    """What products are computed in: float32 or bfloat16."""

    def forward(self, packed: PackedSequence) -> tuple[PackedSequence, Any]:
        """Return the outputs, packed alike; the last states are not computed on a processor."""
        data, sizes, order, places = packed
        if data.is_cuda:
            return super().forward(packed)  # type: ignore[has-type]  # torch overloads it
        for layer in range(self.num_layers):
            if layer and self.dropout:
                data = functional.dropout(data, self.dropout, self.training)
            ways = ("", "_reverse") if self.bidirectional else ("",)
            data = torch.cat([self._run(data, sizes, f"l{layer}{way}", bool(way)) for way in ways], dim=1)
        return PackedSequence(data, sizes, order, places), None

    def _run(self, x: Tensor, sizes: Tensor, name: str, backwards: bool) -> Tensor:
        """Return `(rows, width)`: one layer in one direction."""
        weights = [getattr(self, f"{kind}_{name}") for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        bias = weights[2] + weights[3]
        outputs: Tensor = _Direction.apply(x, weights[0], weights[1], bias, sizes, backwards, self.products)
        return outputs


def with_packed_lstms(module: nn.Module, bf16: bool) -> nn.Module:
    """Return `module` with a :class:`PackedLstm` of the same weights in place of each LSTM below it.

    Args:
        module: changed in place.
        bf16: whether their products are in bf16.
    """
    for name, child in module.named_children():
        if isinstance(child, nn.LSTM):
            setattr(module, name, _packed(child, torch.bfloat16 if bf16 else torch.float32))
        else:
            with_packed_lstms(child, bf16)
    return module


def _packed(lstm: nn.LSTM, products: torch.dtype) -> PackedLstm:
    sizes = (lstm.input_size, lstm.hidden_size, lstm.num_layers)
    with torch.device("meta"):
        same = PackedLstm(*sizes, batch_first=lstm.batch_first, dropout=lstm.dropout, bidirectional=lstm.bidirectional)
    same.products = products
    same.load_state_dict(lstm.state_dict(keep_vars=True), assign=True)
    return same.train(lstm.training)


class _Direction(torch.autograd.Function):
    """One layer in one direction.

    Takes packed `(rows, dim)`, weights `(4 * width, dim)` and `(4 * width, width)`, the bias `(4 * width,)`, and the
    rows of each frame, of which none has more than the frame before it. Gates are in the order of torch: input,
    forget, new, output.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        of_input: Tensor,
        of_state: Tensor,
        bias: Tensor,
        sizes: Tensor,
        backwards: bool,
        products: torch.dtype,
    ) -> Tensor:
        width = of_state.shape[1]
        x, of_input, of_state = x.to(products), of_input.to(products), of_state.to(products)
        gates = (x @ of_input.t()).float().add_(bias)
        outputs, cells = gates.new_empty(2, len(gates), width)
        output, cell = gates.new_zeros(2, 0, width)
        for now, cells_now, outputs_now in _frames(sizes, backwards, gates, cells, outputs):
            output, cell = _with_rows(output, len(now)), _with_rows(cell, len(now))
            now += _few_rows(output.to(products), of_state)
            now[:, : 2 * width].sigmoid_()
            now[:, 2 * width : 3 * width].tanh_()
            now[:, 3 * width :].sigmoid_()
            enter, keep, new, leave = now.chunk(4, dim=1)
            cell = torch.addcmul(keep * cell, enter, new, out=cells_now)
            output = torch.mul(leave, cell.tanh(), out=outputs_now)
        ctx.save_for_backward(x, of_input, of_state, sizes, gates, cells, outputs)
        ctx.backwards = backwards
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Gradients:
        x, of_input, of_state, sizes, gates, cells, outputs = ctx.saved_tensors
        first, second = _neighbours(sizes)
        after, before = (first, second) if ctx.backwards else (second, first)
        cells_before = torch.zeros_like(cells)
        cells_before[after] = cells[before]
        keep = gates.chunk(4, dim=1)[1]
        slopes, to_cell = _slopes(gates, cells, cells_before)
        to_state = of_state.t().contiguous()
        of_output, of_cell = cells.new_zeros(2, 0, cells.shape[1])
        # What a gate moves becomes the gradient of that gate, in place: long utterances take gigabytes.
        for slopes_now, to_cell_now, keep_now, gradient_now in _frames(
            sizes, not ctx.backwards, slopes, to_cell, keep, gradient
        ):
            rows = len(slopes_now)
            of_output = _with_rows(of_output, rows) + gradient_now
            of_cell = torch.addcmul(_with_rows(of_cell, rows), of_output, to_cell_now)
            slopes_now[:, :3] *= of_cell[:, None]
            slopes_now[:, 3] *= of_output
            of_cell = of_cell * keep_now
            of_output = _few_rows(slopes_now.flatten(1).to(of_state.dtype), to_state).float()
        of_gates = slopes.flatten(1).to(of_state.dtype)
        of_recurrence = of_gates[after].t() @ outputs[before].to(of_gates.dtype)
        return (
            (of_gates @ of_input).float(),
            (of_gates.t() @ x).float(),
            of_recurrence.float(),
            of_gates.sum(dim=0, dtype=torch.float32),
            None,
            None,
            None,
        )


def _slopes(gates: Tensor, cells: Tensor, cells_before: Tensor) -> tuple[Tensor, Tensor]:
    """Return what depends on no later state, for all rows at once.

    That is by how much each gate, before it is squashed, moves the cell (the last one: the output), `(rows, 4, width)`,
    and the cell the output, `(rows, width)`.
    """
    enter, keep, new, leave = gates.chunk(4, dim=1)
    squashed = cells.tanh()
    slopes = gates.new_empty(len(gates), 4, cells.shape[1])
    torch.mul(new * enter, 1 - enter, out=slopes[:, 0])
    torch.mul(cells_before * keep, 1 - keep, out=slopes[:, 1])
    torch.mul(enter, 1 - new.square(), out=slopes[:, 2])
    torch.mul(squashed * leave, 1 - leave, out=slopes[:, 3])
    return slopes, leave * (1 - squashed.square())


def _few_rows(rows: Tensor, weights: Tensor) -> Tensor:
    """Return `rows @ weights.t()`: of few rows in float32 it takes half the time with the weights on the left."""
    return rows @ weights.t() if rows.dtype is torch.bfloat16 else (weights @ rows.t()).t()


def _frames(sizes: Tensor, backwards: bool, *packed: Tensor) -> Frames:
    """Yield the rows of each frame in all these tensors."""
    frames = list(zip(*(each.split(sizes.tolist()) for each in packed), strict=True))
    yield from reversed(frames) if backwards else frames


def _with_rows(state: Tensor, rows: int) -> Tensor:
    """Return so many rows: those that have ended are left out, those that begin are zero."""
    return state if len(state) == rows else functional.pad(state, (0, 0, 0, rows - len(state)))


def _neighbours(sizes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the packed places of all states that another one follows, and those of the ones that follow them."""
    second = torch.arange(int(sizes[0]), int(sizes.sum()))
    return second - torch.repeat_interleave(sizes[:-1], sizes[1:]), second
