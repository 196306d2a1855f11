"""A network as the list of operations that it does to a window, so that they can be done in parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from gantool.backends.streaming import Network

IMAGE = 0
"""The number of the slot that stands for the window itself."""


class Undividable(Exception):  # noqa: N818
    """The network cannot be done in parts; says why."""


@dataclass(frozen=True)
class Slot:
    """What stands for a tensor that depends on the window: its number, and what it was like for the window recorded.

    Attributes:
        number: the same for windows of all sizes.
        shape: of the tensor.
        dtype: of the tensor.
        inner: whether channels are innermost in memory.
    """

    number: int
    shape: tuple[int, ...]
    dtype: torch.dtype
    inner: bool


@dataclass(frozen=True)
class Call:
    """One operation.

    Attributes:
        function: of torch.ops.
        args: with slots in place of tensors that depend on the window; other tensors as they are.
        kwargs: likewise.
        outputs: what it gives; None for what it has only changed in place.
        renewed: slots of what it has changed in place, before and after.
    """

    function: OpOverload
    args: tuple[object, ...]
    kwargs: Mapping[str, object]
    outputs: tuple[Slot | None, ...]
    renewed: tuple[tuple[Slot, Slot], ...] = ()

    @cached_property
    def inputs(self) -> list[Slot]:
        """What it reads."""
        found = [each for each in _flat([self.args, list(self.kwargs.values())]) if isinstance(each, Slot)]
        return found + [before for before, _ in self.renewed]

    @cached_property
    def results(self) -> list[Slot]:
        """What stands for its results, new and renewed."""
        return [each for each in self.outputs if each is not None] + [after for _, after in self.renewed]

    @property
    def outline(self) -> tuple[OpOverload, list[int], list[int]]:
        """What it is, whatever the size of the window."""
        return self.function, [slot.number for slot in self.inputs], [slot.number for slot in self.results]

    def run(self, values: Mapping[int, Tensor]) -> list[object]:
        """Do it with values for the slots' numbers, and return what `outputs` stand for."""

        def value(each: object) -> object:
            return values[each.number] if isinstance(each, Slot) else each

        args = [exchange(each, value) for each in self.args]
        return _flat(_do(self.function, args, {name: exchange(each, value) for name, each in self.kwargs.items()}))


@dataclass(frozen=True)
class Recording:
    """All that a network has done.

    Attributes:
        calls: in order.
        image: the window.
        result: what came of it.
    """

    calls: list[Call]
    image: Slot
    result: Slot

    def is_like(self, other: Recording) -> bool:
        """Return whether another one, of a window of another size, has the same operations on slots of the same numbers."""
        return [call.outline for call in self.calls] == [call.outline for call in other.calls]


def record(network: Network, image: Tensor) -> Recording:
    """Run a network and note down what it does.

    Args:
        network: from (1, C, h, w) to (1, C, scale h, scale w).
        image: a window; what is done must depend on its size alone.

    Raises:
        Undividable: what is done depends on values too, or the network writes to something of its own.
    """
    recorder = _Recorder()
    window = recorder.add(image)
    with torch.no_grad(), recorder:
        result = recorder.slot(network(image))
    if result is None:
        raise Undividable("the result does not depend on the picture")
    return Recording(_without_unread(recorder.calls, result), window, result)


def exchange(value: object, give: Callable[[object], object]) -> object:
    """Return a value, or a list of them, with others in its place."""
    return [exchange(each, give) for each in value] if isinstance(value, list | tuple) else give(value)


def _do(function: OpOverload, args: Sequence[object], kwargs: Mapping[str, object]) -> object:
    """Do an operation, with the same memory layout for images of every size, as what is done next depends on that."""
    result = function(*args, **kwargs)
    if function is torch.ops.aten.convolution.default and isinstance(result, Tensor):
        return result.contiguous(memory_format=torch.channels_last)
    return result


def _flat(value: object) -> list[object]:
    return [each for part in value for each in _flat(part)] if isinstance(value, list | tuple) else [value]


class _Recorder(TorchDispatchMode):
    """Notes down what is done to tensors that depend on the window; it keeps none of them alive."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch has no types there
        self.calls: list[Call] = []
        self._slots: MutableMapping[Tensor, Slot] = WeakTensorKeyDictionary()
        self._count = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch loads its compiler, which takes two seconds

    def add(self, tensor: Tensor) -> Slot:
        inner = tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
        slot = Slot(self._count, tuple(tensor.shape), tensor.dtype, inner and not tensor.is_contiguous())
        self._slots[tensor] = slot
        self._count += 1
        return slot

    def slot(self, tensor: Tensor) -> Slot | None:
        return self._slots.get(tensor)

    def __torch_dispatch__(
        self,
        function: OpOverload,
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        noted = [exchange(each, self._stand_in) for each in (*args, *kwargs.values())]
        result = _do(function, args, kwargs)
        if not any(isinstance(each, Slot) for each in _flat(noted)):
            return result
        given = [each for each in _flat(result) if isinstance(each, Tensor)]
        if len(given) != len(_flat(result)):
            raise Undividable("it decides by the values of pixels")
        renewed = tuple(self._renew(function, args, kwargs))
        changed = {after for _, after in renewed}
        outputs = [None if self.slot(each) in changed else self.add(each) for each in given]
        names = dict(zip(kwargs, noted[len(args) :], strict=True))
        self.calls.append(Call(function, tuple(noted[: len(args)]), names, tuple(outputs), renewed))
        return result

    def _stand_in(self, each: object) -> object:
        return self.slot(each) or each if isinstance(each, Tensor) else each

    def _renew(self, function: OpOverload, args: Sequence[object], kwargs: Mapping[str, object]) -> Iterator[tuple[Slot, Slot]]:
        """Give new slots to all tensors that share memory with what a call has changed in place."""
        for number, spec in enumerate(function._schema.arguments):
            if spec.alias_info is None or not spec.alias_info.is_write:
                continue
            changed = args[number] if number < len(args) else kwargs.get(spec.name)
            for each in _flat(changed):
                if isinstance(each, Tensor):
                    if self.slot(each) is None:
                        raise Undividable("it writes to a tensor of its own")
                    place = each.untyped_storage().data_ptr()
                    sharing = [(t, s) for t, s in self._slots.items() if t.untyped_storage().data_ptr() == place]
                    yield from ((slot, self.add(tensor)) for tensor, slot in sharing)


def _without_unread(calls: list[Call], result: Slot) -> list[Call]:
    """Leave away calls and renewals of which nothing comes."""
    read, kept = {result.number}, []
    for call in reversed(calls):
        renewed = tuple(pair for pair in call.renewed if pair[1].number in read)
        call = Call(call.function, call.args, call.kwargs, call.outputs, renewed)
        if any(slot.number in read for slot in call.results):
            read.update(slot.number for slot in call.inputs)
            kept.append(call)
    return kept[::-1]
