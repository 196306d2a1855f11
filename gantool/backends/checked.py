"""What a model file holds, checked where it is used: nothing is built from what a header claims alone. Knows no torch."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import TYPE_CHECKING, NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gantool.errors import WeightsError, printable

if TYPE_CHECKING:
    from gantool.modelheader import Array
    from gantool.system import Json

Floats: TypeAlias = NDArray[np.float32]


class Checked:
    """The tensors of one module of a system, and the system's configuration.

    Args:
        header: of the file.
        tensors: of the file, by "module.key".
        module: whose tensors are meant.
        origin: the file's name, for messages.
    """

    def __init__(self, header: Mapping[str, Json], tensors: Mapping[str, Array], module: str, origin: str) -> None:
        self._tensors, self._module, self._origin = tensors, module, origin
        self._system, self._config = header["system"], header["config"]
        self._used: set[str] = set()

    def tensor(self, key: str, *shape: int) -> Floats:
        """Return a tensor as float32.

        Raises:
            WeightsError: there is none of that name, shape and kind, or a value is not finite.
        """
        full = f"{self._module}.{key}"
        found = self._tensors.get(full)
        if found is None or found.shape != shape or found.dtype.kind != "f":
            held = "none" if found is None else f"{found.dtype} {found.shape}"
            self.refuse(f"does not fit {self._system}: expects {printable(full)} float32 {shape}, file holds {held}")
        values = found.astype(np.float32, copy=False)
        if not np.isfinite(values).all():
            self.refuse(f"holds values that are not finite in {printable(full)}: it is of no use")
        self._used.add(full)
        return values

    def skip(self, key: str) -> None:
        """Know a tensor that is of no use here."""
        self._used.add(f"{self._module}.{key}")

    def check_all_used(self) -> None:
        """Refuse a file that holds more than its system has.

        Raises:
            WeightsError: it does.
        """
        for key in sorted(self._tensors.keys() - self._used):
            self.refuse(f"does not fit {self._system}: expects no {printable(key)[:80]}, file holds one")

    def count(self, field: str) -> int:
        """Return a field of the configuration that counts something, 1 or more."""
        value = self._field(field)
        if type(value) is not int or value < 1:
            self.refuse(f"holds an impossible configuration: {field} = {printable(value)[:40]}")
        return value

    def number(self, field: str) -> float:
        """Return a field of the configuration that is a finite number."""
        value = self._field(field)
        if type(value) not in (int, float) or not isinstance(value, int | float) or not isfinite(value):
            self.refuse(f"holds an impossible configuration: {field} = {printable(value)[:40]}")
        return float(value)

    def flag(self, field: str) -> bool:
        """Return a field of the configuration that is true or false."""
        value = self._field(field)
        if not isinstance(value, bool):
            self.refuse(f"holds an impossible configuration: {field} = {printable(value)[:40]}")
        return value

    def _field(self, name: str) -> Json:
        if not isinstance(self._config, dict) or name not in self._config:
            self.refuse(f"holds an impossible configuration: no {name}")
        return self._config[name]

    def refuse(self, reason: str) -> NoReturn:
        """Raise an error that begins with the file's name."""
        raise WeightsError(f"{self._origin} {reason}")
