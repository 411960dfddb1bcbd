"""A device that stands in for a GPU where there is none: it computes on the processor, and refuses what a GPU would.

Tensors on it know that they are there. An operation on tensors of two places is an error, as on a GPU, and so are
`numpy()` and a generator of the processor. What it cannot show: memory, streams, kernels that a GPU lacks.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from fairseq2.utils.rng import RngBag
from fairseq2.utils.stopwatch import Stopwatch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from speechssl.models.device import pick_device
from speechssl.units import kmeans

DEVICE = torch.device("lazy:0")
"""A kind of device that torch knows, has no kernels for, and lets autograd run on."""
_aten = torch.ops.aten
_PACKING = (_aten._pack_padded_sequence, _aten._pad_packed_sequence)
"""What they say of lengths is on the processor, on a GPU, too."""
_TWO_PLACES = (_aten.copy_, _aten._to_copy, *_PACKING)
"""Take tensors of two places on a GPU, too."""
_INDEXING = (_aten.index, _aten.index_put, _aten.index_put_, _aten._index_put_impl_)
"""Indices may be on the processor, if what is indexed is not."""


class Elsewhere(Tensor):
    """A tensor that says it is on the other device; `held` has its numbers."""

    held: Tensor
    is_cuda = True
    made = 0

    @staticmethod
    def __new__(cls, held: Tensor) -> Elsewhere:
        layout = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        made = Tensor._make_wrapper_subclass(cls, held.size(), **layout, device=DEVICE)
        made.held = held
        Elsewhere.made += 1
        return made

    def __repr__(self) -> str:
        return f"Elsewhere({self.held!r})"

    def tolist(self) -> Any:
        """Tensors elsewhere have it, as on a GPU."""
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {})


class _Operations(TorchDispatchMode):
    """Every operation, also one that makes a tensor."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {})


class _PastTheDispatcher(TorchFunctionMode):
    """What torch's Python calls do by themselves, with memory of the device."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function in (torch.tensor, torch.as_tensor) and _is_there(kwargs.get("device")):
            return function(*args, **{**kwargs, "device": "cpu"}).to(DEVICE)
        if function is torch.as_tensor and isinstance(args[0], Elsewhere):
            return args[0].to(kwargs.get("dtype"))
        if function is Tensor.cuda:
            return args[0].to(DEVICE)
        if function in (Tensor.__getitem__, Tensor.__setitem__):
            key = tuple(map(_index, args[1])) if isinstance(args[1], tuple) else _index(args[1])
            args = (args[0], key, *args[2:])
        return function(*args, **kwargs)


def _index(key: Any) -> Any:
    return torch.as_tensor(key) if isinstance(key, list | np.ndarray) else key


def _is_there(device: Any) -> bool:
    return device is not None and torch.device(device).type == DEVICE.type


def _run(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run one operation on the processor; what it gives is where a GPU would have it."""
    name = function.overloadpacket
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    there = [tensor for tensor in tensors if isinstance(tensor, Elsewhere)]
    here = [tensor for tensor in tensors if not isinstance(tensor, Elsewhere)]
    if name is _aten._has_compatible_shallow_copy_type:
        return not there or not here
    free = name in _TWO_PLACES or (name in _INDEXING and isinstance(args[0], Elsewhere))
    # A GPU takes numbers, which are tensors without dimensions, from anywhere.
    if there and not free and any(tensor.dim() for tensor in here):
        raise RuntimeError(f"{function}: of its tensors some are on {DEVICE} and some on the processor")
    elsewhere = bool(there)
    if name is _aten.copy_:
        elsewhere = isinstance(args[0], Elsewhere)
    elif kwargs.get("device") is not None:
        elsewhere = _is_there(kwargs["device"])
        if elsewhere:  # and not of the device "meta", where nothing is drawn
            kwargs = {**kwargs, "device": torch.device("cpu")}
    if elsewhere and kwargs.get("generator") is not None:
        raise RuntimeError(f"{function}: a generator of the processor does not serve {DEVICE}")
    args, kwargs = tree_map_only(Elsewhere, lambda tensor: tensor.held, (args, kwargs))
    result = function(*args, **kwargs)
    if not elsewhere:
        return result
    if name in _PACKING:
        return Elsewhere(result[0]), result[1]
    # What works in place gives the tensor back that it was given.
    given = {id(tensor.held): tensor for tensor in there if function._schema.is_mutable}
    return tree_map_only(Tensor, lambda tensor: given[id(tensor)] if id(tensor) in given else Elsewhere(tensor), result)


class _Autocast(torch.autocast):
    def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
        super().__init__("cpu" if device_type == DEVICE.type else device_type, *args, **kwargs)


def _take_for_a_gpu(patch: pytest.MonkeyPatch) -> None:
    """Have what knows processors and GPUs by name take the other device for a GPU."""
    generators: Callable[..., RngBag] = RngBag.from_device_defaults
    started = Stopwatch.__init__
    # By its code: modules that a command imports later have it by name, too, and must not keep a stand-in.
    patch.setattr(pick_device, "__code__", (lambda name, setting: torch.device("lazy:0")).__code__)
    patch.setitem(kmeans._SCORES_AT_ONCE, DEVICE.type, kmeans._SCORES_AT_ONCE["cpu"])
    patch.setattr(torch, "autocast", _Autocast)
    optimizers = sys.modules[torch.optim.Optimizer.__module__]
    patch.setattr(optimizers, "_get_fused_kernels_supported_devices", lambda: ["cpu", DEVICE.type])
    patch.setattr(RngBag, "from_device_defaults", staticmethod(lambda *devices: generators(torch.device("cpu"))))
    patch.setattr(Stopwatch, "__init__", lambda self, *, device=None: started(self))


@contextlib.contextmanager
def other_device(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have every command run on the other device, whatever device it is told.

    Raises:
        AssertionError: nothing did.
    """
    before = Elsewhere.made
    with patch.context() as block, _Operations(), _PastTheDispatcher():
        _take_for_a_gpu(block)
        yield
    assert Elsewhere.made > before, "nothing was on the other device"
