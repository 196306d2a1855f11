"""Reads JSON that others wrote: every value is asked for by name and type, and what is wrong is said with file and place."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Final, NoReturn, TypeVar

from gantool.errors import InputError, printable

T = TypeVar("T")
LONGEST: Final = 10_000  # characters of a text
LARGEST: Final = 2**53  # of a number


@dataclass(frozen=True)
class Table:
    """An object of a JSON file.

    Attributes:
        file: name of the file, safe to print.
        place: where in the file the object stands, such as "votes[3]"; empty for the whole.
        values: what it has.
    """

    file: str
    place: str
    values: dict[str, object]

    def wrong(self, name: str, what: str) -> InputError:
        """Return the error for a value."""
        return InputError(f"{self.file} is damaged: {self.place and self.place + '.'}{name} {what}")

    def get(self, name: str) -> object:
        """Return a value of any type.

        Raises:
            InputError: it is not there.
        """
        if name not in self.values:
            raise self.wrong(name, "is missing")
        return self.values[name]

    def text(self, name: str) -> str:
        """Return a text."""
        return self._text(name, self.get(name))

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of texts."""
        return tuple(self._text(f"{name}[{k}]", value) for k, value in enumerate(self._list(name)))

    def whole_number(self, name: str) -> int:
        """Return a whole number, not negative."""
        return self._whole_number(name, self.get(name))

    def whole_numbers(self, name: str) -> tuple[int, ...]:
        """Return a list of them."""
        return tuple(self._whole_number(f"{name}[{k}]", value) for k, value in enumerate(self._list(name)))

    def number(self, name: str) -> float:
        """Return a finite number, not negative."""
        value = self.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LARGEST:
            raise self.wrong(name, "is no number from 0 on")
        return float(value)

    def flag(self, name: str) -> bool:
        """Return whether something is said to be so; it is not where nothing is said."""
        value = self.values.get(name, False)
        if not isinstance(value, bool):
            raise self.wrong(name, "is neither true nor false")
        return value

    def tables(self, name: str) -> list[Table]:
        """Return a list of objects."""
        inside = f"{self.place and self.place + '.'}{name}"
        return [_table(value, self.file, f"{inside}[{k}]") for k, value in enumerate(self._list(name))]

    def _list(self, name: str) -> list[object]:
        value = self.get(name)
        if not isinstance(value, list):
            raise self.wrong(name, "is no list")
        return value

    def _text(self, name: str, value: object) -> str:
        if not isinstance(value, str) or len(value) > LONGEST:
            raise self.wrong(name, f"is no text of at most {LONGEST} characters")
        try:
            value.encode("utf-8", "surrogateescape")  # bytes of file names that are no text come so
        except UnicodeEncodeError:
            return value.encode("utf-8", "replace").decode()  # half of a pair of surrogates is no text anywhere else
        return value

    def _whole_number(self, name: str, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST:
            raise self.wrong(name, "is no whole number from 0 on")
        return value


def read_table(path: Path, form: str, most_bytes: int) -> Table:
    """Read a file that is one JSON object of a format of ours, of version 1.

    Raises:
        InputError: it cannot be read, is too large, or is no such object.
    """
    file = printable(path)
    try:
        if not path.is_file() and path.exists():
            raise InputError(f"{file} cannot be read: it is no file")
        if path.stat().st_size > most_bytes:
            raise InputError(f"{file} has more than {most_bytes // 1_000_000} MB: it is no file of the format {form}")
        found = json.loads(path.read_bytes(), parse_constant=_refuse, parse_float=_finite)
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:  # of the first also what is no UTF-8, and numbers of too many digits
        raise InputError(f"{file} is no JSON that can be read: it is cut short, or no file of the format {form}") from error
    table = _table(found, file, "")
    if table.values.get("format") != form:
        raise InputError(f"{file} is no file of the format {form}")
    if table.whole_number("version") != 1:
        raise InputError(f"{file} is of version {table.whole_number('version')}: use the gantool that wrote it")
    return table


def _table(value: object, file: str, place: str) -> Table:
    if not isinstance(value, dict):
        raise InputError(f"{file} is damaged: {place or 'the whole'} is no object")
    return Table(file, place, value)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _finite(text: str) -> float:
    if not isfinite(value := float(text)):
        raise ValueError(f"{text} is too large")
    return value
