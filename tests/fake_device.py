"""A second device that is none: it computes on the CPU and obeys the rules of a GPU.

Its tensors hold tensors of the CPU, so that results are those of the CPU bit by bit, and call
themselves ``meta``, the one type of device that every build of PyTorch can differentiate on. Inside
of :class:`FakeDevice` everything raises that would fail on a GPU, or make the host wait for it:

- a tensor of the CPU among those of the device;
- reading back: ``.item()``, ``bool(x)``, ``.tolist()``, ``.cpu()``, ``.numpy()``, ``nonzero``, a
  mask as an index, and every other operation whose shape or result depends on values;
- a copy to the device that is not from pinned memory, or blocks: ``torch.tensor(x, device=...)``.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from types import FrameType
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from typing_extensions import override

DEVICE = torch.device("meta")


class HostSync(Exception):  # noqa: N818 - what happens, which is no error of the fake device
    """The host would wait for the device."""


class Mixed(Exception):  # noqa: N818 - as above
    """A tensor of the CPU is used together with one of the device."""


class OnDevice(Tensor):
    """A tensor of the fake device; ``host`` holds its values."""

    host: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, host: Tensor) -> OnDevice:
        # A view that is made in inference mode of a tensor that was not has to be none either.
        with torch.inference_mode(False):
            made = Tensor._make_wrapper_subclass(
                cls, host.shape, strides=host.stride(), dtype=host.dtype, device=DEVICE
            )
        made.host = host
        return made

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["host"], None

    @staticmethod
    def __tensor_unflatten__(inner: Mapping[str, Tensor], *_: Any) -> OnDevice:
        return OnDevice(inner["host"])

    @override
    def __reduce_ex__(self, protocol: Any) -> Any:
        _active[-1].read("pickling")
        return self.host.__reduce_ex__(protocol)

    @override
    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        copy = OnDevice(self.host.clone())
        if isinstance(self, torch.nn.Parameter):
            copy = torch.nn.Parameter(copy, self.requires_grad)
        memo[id(self)] = copy
        return copy

    @classmethod
    def __torch_dispatch__(cls, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} outside of the fake device")


class FakeDevice(TorchDispatchMode):
    """Everything inside runs with a second device, :data:`DEVICE`.

    Parameters
    ----------
    meant
        Qualified names of the functions that may read back or copy to the device, in them or in
        what they call.

    Attributes
    ----------
    synced
        How often each of them did.
    """

    def __init__(self, meant: Collection[str] = ()) -> None:
        super().__init__()
        self._meant = frozenset(meant)
        self.synced: Counter[str] = Counter()
        self._patches = ExitStack()

    @override
    def __enter__(self) -> FakeDevice:
        for name in ("tensor", "as_tensor", "asarray"):
            self._patch(torch, name, self._made_of_values)
        self._patch(Tensor, "new_tensor", self._made_of_values)
        self._patch(Tensor, "tolist", self._listed)
        self._patch(Tensor, "pin_memory", _pinned)
        super().__enter__()
        _active.append(self)
        return self

    @override
    def __exit__(self, *error: Any) -> None:
        _active.pop()
        super().__exit__(*error)
        self._patches.close()

    def read(self, what: str) -> None:
        """Raise unless one of the meant functions is running."""
        for name in _running():
            if name in self._meant:
                self.synced[name] += 1
                return
        raise HostSync(f"{what} makes the host wait for the device")

    @override
    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.overloadpacket is torch.ops.aten.to:  # in inference mode it is one operation
            names = (argument.name for argument in func._schema.arguments)
            args, kwargs = args[:1], dict(zip(names, args, strict=False), **kwargs)
            del kwargs["self"]
        owners: dict[int, OnDevice] = {}
        strangers: list[Tensor] = []

        def unwrapped(value: Any) -> Any:
            if isinstance(value, OnDevice):
                owners[id(value.host)] = value
                return value.host
            if isinstance(value, Tensor):
                strangers.append(value)
            elif isinstance(value, list | tuple):
                return [unwrapped(item) for item in value]
            return value

        hosts = [unwrapped(value) for value in args]
        named = {name: unwrapped(value) for name, value in kwargs.items()}
        device = kwargs.get("device")
        to_device = device is not None and device == DEVICE
        if func.overloadpacket in COPYING:
            to_device = to_device or (device is None and isinstance(args[0], OnDevice))
            self._check_copy(func, args, kwargs, to_device)
        elif owners:
            to_device = True
            if strangers:
                shape = tuple(strangers[0].shape)
                raise Mixed(f"{func}: a tensor of shape {shape} was left on the CPU")
            if _depends_on_values(func, args):
                self.read(str(func))
        if device is not None:
            named["device"] = CPU

        def wrapped(value: Any) -> Any:
            if isinstance(value, Tensor):
                # What an operation changed in place it returns, and has to be the same object.
                return owners[id(value)] if id(value) in owners else OnDevice(value)
            if isinstance(value, list | tuple):
                return type(value)(wrapped(item) for item in value)
            return value

        found = func(*hosts, **named)
        return wrapped(found) if to_device else found

    def _check_copy(
        self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], to_device: bool
    ) -> None:
        source = args[1] if func.overloadpacket is torch.ops.aten.copy_ else args[0]
        if isinstance(source, OnDevice) and not to_device:
            self.read("a copy to the host")
        if not isinstance(source, OnDevice) and to_device:
            non_blocking = kwargs.get("non_blocking", len(args) > 2 and args[2])
            if not (non_blocking and hasattr(source, "pinned")):
                self.read("a copy to the device that is not pinned or not non_blocking")

    def _made_of_values(self, function: Any, *args: Any, **kwargs: Any) -> Tensor:
        device = kwargs.get("device")
        if not isinstance(args[0], OnDevice) and (device is None or torch.device(device) != DEVICE):
            made: Tensor = function(*args, **kwargs)
            return made
        made = function(*args, **(kwargs | {"device": "cpu"}))
        return made.to(DEVICE)

    def _listed(self, function: Any, tensor: Tensor) -> Any:
        if not isinstance(tensor, OnDevice):
            return function(tensor)
        self.read("tolist()")
        return function(tensor.host)

    def _patch(self, owner: Any, name: str, replacement: Callable[..., Any]) -> None:
        function = getattr(owner, name)

        def called(*args: Any, **kwargs: Any) -> Any:
            return replacement(function, *args, **kwargs)

        self._patches.enter_context(mock.patch.object(owner, name, called))


def _pinned(_function: Any, tensor: Tensor) -> Tensor:
    copy = tensor.clone()
    copy.pinned = True  # type: ignore[attr-defined]
    return copy


_active: list[FakeDevice] = []
CPU = torch.device("cpu")
COPYING = {torch.ops.aten._to_copy, torch.ops.aten.copy_, torch.ops.aten.to}
INDEXING = {
    torch.ops.aten.index,
    torch.ops.aten.index_put,
    torch.ops.aten.index_put_,
    torch.ops.aten._index_put_impl_,
}
READING = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}


def _depends_on_values(func: Any, args: Sequence[Any]) -> bool:
    if func.overloadpacket in INDEXING:
        masks = (torch.bool, torch.uint8)
        return any(index is not None and index.dtype in masks for index in args[1])
    return not READING.isdisjoint(func.tags)


def _running() -> Iterator[str]:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield f"{frame.f_globals.get('__name__')}.{frame.f_code.co_qualname}"
        frame = frame.f_back
