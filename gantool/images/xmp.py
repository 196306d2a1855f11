"""XMP for a picture of another size: edited in its text, so that whatever else it says stays byte for byte.

The standard library's parser finds the places. It is never told of entities, so none can grow.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final
from xml.parsers import expat

MAX_BYTES = 1 << 24  # of what is looked into; the largest packets seen in pictures have a tenth of it

_TIFF, _EXIF = "http://ns.adobe.com/tiff/1.0/", "http://ns.adobe.com/exif/1.0/"
_DROPPED: Final = frozenset(
    {"http://ns.adobe.com/xap/1.0/ Thumbnails", "http://ns.adobe.com/xmp/note/ HasExtendedXMP"}  # the latter's rest is not kept
)
_TAG: Final = re.compile(rb"""<(?:[^<>"']|"[^"]*"|'[^']*')*>""")
_ATTRIBUTE: Final = re.compile(rb"""\s+([^\s=/<>"']+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")

_Edit = tuple[int, int, bytes]  # from, to, replacement


def fitted(xmp: bytes, width: int, height: int, gps: bool = True) -> bytes:
    """Return XMP for an upright picture of this size, without thumbnails.

    Args:
        xmp: packet in UTF-8.
        width: of the picture, in pixels.
        height: of the picture, in pixels.
        gps: whether to keep properties whose names begin with GPS, in whatever vocabulary.

    Raises:
        ValueError: it is damaged, or larger than any that is known.
    """
    xmp = xmp.rstrip(b"\0 \t\r\n")
    if len(xmp) > MAX_BYTES:
        raise ValueError(f"{len(xmp)} bytes")
    values = {
        f"{_TIFF} Orientation": b"1",
        f"{_TIFF} ImageWidth": b"%d" % width,
        f"{_TIFF} ImageLength": b"%d" % height,
        f"{_EXIF} PixelXDimension": b"%d" % width,
        f"{_EXIF} PixelYDimension": b"%d" % height,
    }

    def change(name: str) -> bytes | None:
        local = name.rpartition(" ")[2]
        if name in _DROPPED or (not gps and local.lower().startswith("gps")):
            return b""
        return values.get(name)

    try:
        edits = _Places(xmp, change).edits
    except expat.ExpatError as error:
        raise ValueError(str(error)) from error
    pieces, done = [], 0
    for start, stop, text in sorted(edits):
        pieces += [xmp[done:start], text]
        done = stop
    return b"".join([*pieces, xmp[done:]])


class _Places:
    """Finds where the properties stand that are to change.

    Args:
        xmp: the packet.
        change: new value of a property, given as "namespace name"; empty takes it out, None leaves it.
    """

    def __init__(self, xmp: bytes, change: Callable[[str], bytes | None]) -> None:
        self.edits: list[_Edit] = []
        self._xmp = xmp
        self._change = change
        self._open: list[tuple[re.Match[bytes], bytes | None]] = []  # start tags of the elements around, their new values
        self._inside = 0  # how many elements around are changed as a whole
        self._prefixes: dict[str, str] = {}
        self._parser = expat.ParserCreate("UTF-8", " ")  # whatever the text says of its encoding
        self._parser.StartDoctypeDeclHandler = self._refuse
        self._parser.StartNamespaceDeclHandler = self._name
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.Parse(xmp, True)

    def _refuse(self, *_: object) -> None:
        raise ValueError("it declares a document type")

    def _name(self, prefix: str | None, uri: str) -> None:
        if prefix:
            self._prefixes[prefix] = uri

    def _tag(self) -> re.Match[bytes]:
        found = _TAG.match(self._xmp, self._parser.CurrentByteIndex)
        if found is None:
            raise ValueError("a tag is not where the parser says")
        return found

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        tag, value = self._tag(), self._change(name)
        if not self._inside and value != b"" and any(self._change(key) is not None for key in attributes):
            self._edit_attributes(tag)
        self._open.append((tag, value))
        self._inside += value is not None

    def _edit_attributes(self, tag: re.Match[bytes]) -> None:
        for found in _ATTRIBUTE.finditer(self._xmp, tag.start(), tag.end()):
            prefix, _, local = found[1].decode().rpartition(":")
            uri = self._prefixes.get(prefix) if prefix else ""
            value = self._change(f"{uri} {local}") if uri is not None else None  # None is the prefix "xmlns" itself
            if value == b"":
                self.edits.append((*found.span(), b""))
            elif value is not None:
                self.edits.append((*found.span(2 if found[2] is not None else 3), value))

    def _end(self, _: str) -> None:
        tag, value = self._open.pop()
        self._inside -= value is not None
        if self._inside or value is None:
            return
        empty = tag[0].endswith(b"/>")
        if value == b"":
            self.edits.append((tag.start(), tag.end() if empty else self._tag().end(), b""))
        elif not empty:
            self.edits.append((tag.end(), self._parser.CurrentByteIndex, value))
