"""What a file is, by how it begins: nothing else is ever handed to a decoder, whatever its name says."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from gantool.errors import InputError

Kind: TypeAlias = Literal["png", "jpeg", "webp", "avif", "tiff", "gif", "bmp", "jpeg2000", "netpbm"]
READ: Final = "PNG, JPEG, WebP, AVIF, TIFF, GIF, BMP, JPEG 2000, PPM, PGM and PBM"
HEAD: Final = 64  # bytes that tell

_STARTS: Final[dict[bytes, Kind]] = {
    b"\x89PNG\r\n\x1a\n": "png",
    b"\xff\xd8\xff": "jpeg",
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
    b"II+\0": "tiff",
    b"MM\0+": "tiff",
    b"GIF87a": "gif",
    b"GIF89a": "gif",
    b"BM": "bmp",
    b"\0\0\0\x0cjP  \r\n\x87\n": "jpeg2000",
    b"\xff\x4f\xff\x51": "jpeg2000",
}
_OTHERS: Final = {
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\xff\x0a": "JPEG XL",
    b"%PDF": "PDF",
    b"8BPS": "Photoshop",
    b"gimp xcf": "GIMP",
    b"P7\n": "PAM",
    b"v/1\x01": "OpenEXR",
    b"#?RADIANCE": "Radiance HDR",
    b"qoif": "QOI",
    b"\0\0\x01\0": "icon",
}
"""How well-known formats begin that are not read."""
_AVIF: Final = frozenset({b"avif", b"avis"})
_HEIC: Final = frozenset({b"heic", b"heix", b"hevc", b"heim", b"heis"})


def kind(head: bytes, name: str) -> Kind:
    """Return the format of a file that begins with `head`.

    Raises:
        InputError: it is none that is read.
    """
    for start, found in _STARTS.items():
        if head.startswith(start):
            return found
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace():
        return "netpbm"
    brands = {head[at : at + 4] for at in (8, *range(16, min(len(head), int.from_bytes(head[:4], "big")) - 3, 4))}
    if head[4:8] == b"ftyp" and brands & _AVIF:
        return "avif"
    raise InputError(f"{name} {_described(head, brands)}")


def _described(head: bytes, brands: set[bytes]) -> str:
    if head.startswith(b"version https://git-lfs"):
        return "is a git-lfs pointer, not the picture itself: run 'git lfs pull'"
    if head.lstrip().startswith(b"<"):
        return "holds HTML, SVG or XML, not pixels: it may be the page that a download led to"
    others = [form for start, form in _OTHERS.items() if head.startswith(start)]
    others += ["HEIC"] if head[4:8] == b"ftyp" and brands & _HEIC else []
    if others:
        return f"is a {others[0]} file: convert it to PNG first"
    return f"is not a picture of a format that is read ({READ})"
