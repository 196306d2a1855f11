"""Metadata of results: what is corrected, what goes, and that everything else stays."""

from __future__ import annotations

import io
import re
import struct
from typing import Literal
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from gantool.images.directories import Block
from gantool.images.exif import without_orientation
from gantool.images.metadata import Strip, prepared
from gantool.images.page import Metadata, Page

PAGE = Page(70_000, 400, 3)
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1}
Row = tuple[int, int, int, bytes]  # tag, kind, count, data
THUMBNAIL = b"\xff\xd8thumbnail of the old picture\xff\xd9"
MAKER = b"maker note with offsets" * 3


def block(order: Literal["<", ">"], thumbnail: int = 1000) -> bytes:
    """EXIF as a camera makes it: orientation, sizes, a maker note, where it was, a thumbnail (0: none) at some offset."""

    def short(value: int) -> bytes:
        return struct.pack(f"{order}H", value)

    def table(at: int, rows: list[Row], following: int = 0) -> bytes:
        out, values = struct.pack(f"{order}H", len(rows)), b""
        behind = at + 2 + 12 * len(rows) + 4
        for tag, kind, count, data in rows:
            assert len(data) == count * SIZES[kind]
            place = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack(f"{order}I", behind + len(values))
            values += data if len(data) > 4 else b""
            out += struct.pack(f"{order}HHI", tag, kind, count) + place
        return out + struct.pack(f"{order}I", following) + values

    def long(value: int) -> bytes:
        return struct.pack(f"{order}I", value)

    photo: list[Row] = [
        (0x829A, 5, 1, long(1) + long(200)),
        (0x927C, 7, len(MAKER), MAKER),
        (0xA002, 3, 1, short(640)),
        (0xA003, 4, 1, long(480)),
        (0xA005, 4, 1, long(900)),
    ]
    place: list[Row] = [(1, 2, 2, b"N\0"), (2, 5, 3, b"".join(long(n) + long(1) for n in (48, 51, 29)))]
    main: list[Row] = [
        (0x0100, 3, 1, short(640)),
        (0x0101, 3, 1, short(480)),
        (0x010F, 2, 6, b"maker\0"),
        (0x0111, 4, 1, long(8)),  # where the pixels of some TIFF file were
        (0x0112, 3, 1, short(6)),
        (0x8769, 4, 1, long(300)),
        (0x8825, 4, 1, long(600)),
    ]
    small: list[Row] = [(0x0103, 3, 1, short(6)), (0x0201, 4, 1, long(thumbnail + 60)), (0x0202, 4, 1, long(len(THUMBNAIL)))]
    parts = {
        0: (b"II*\0" if order == "<" else b"MM\0*") + long(8),
        8: table(8, main, thumbnail),
        300: table(300, photo),
        600: table(600, place),
        900: table(900, [(1, 2, 4, b"R98\0")]),
        **({thumbnail: table(thumbnail, small), thumbnail + 60: THUMBNAIL} if thumbnail else {}),
    }
    out = bytearray(max(at + len(part) for at, part in parts.items()))
    for at, part in parts.items():
        out[at : at + len(part)] = part
    return bytes(out)


def by_pillow(exif: bytes) -> Image.Exif:
    found = Image.Exif()
    found.load(b"Exif\0\0" + exif)
    return found


def fitted(exif: bytes | None = None, xmp: bytes | None = None, strip: Strip = "none") -> Metadata:
    return prepared(Metadata(b"profile", exif, xmp, (300, 300), (40, 50), 2), PAGE, strip, "holiday.jpg")


# --- EXIF --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("thumbnail", [0, 120, 1000])  # none, between the others, at the end
def test_exif_says_the_new_size_and_upright(order: Literal["<", ">"], thumbnail: int) -> None:
    before = block(order, thumbnail)
    assert by_pillow(before)[0x0112] == 6
    assert bool(by_pillow(before).get_ifd(ExifTags.IFD.IFD1)) == bool(thumbnail)
    exif = fitted(before).exif
    assert exif is not None
    found = by_pillow(exif)
    assert dict(found) == {0x0100: 70_000, 0x0101: 400, 0x010F: "maker", 0x0112: 1, 0x8769: 300, 0x8825: 600}
    photo = found.get_ifd(0x8769)
    assert (photo[0xA002], photo[0xA003], photo[0x829A], photo[0x927C]) == (70_000, 400, 0.005, MAKER)
    assert dict(found.get_ifd(0x8825)) == {1: "N", 2: (48.0, 51.0, 29.0)}
    assert found.get_ifd(0xA005) == {1: "R98"}
    assert found.get_ifd(ExifTags.IFD.IFD1) == {}
    assert b"thumbnail" not in exif
    if thumbnail:
        assert not any(exif[thumbnail : thumbnail + 60 + len(THUMBNAIL)])
    assert exif.index(MAKER) == before.index(MAKER)
    assert len(exif) == 900 + 18


@pytest.mark.parametrize("order", ["<", ">"])
def test_without_gps_nothing_of_the_place_is_left(order: Literal["<", ">"]) -> None:
    before = block(order)
    exif = fitted(before, strip="gps").exif
    assert exif is not None
    assert 0x8825 not in by_pillow(exif)
    assert by_pillow(exif)[0x010F] == "maker"
    assert by_pillow(exif).get_ifd(0x8769)[0x927C] == MAKER
    degrees = struct.pack(f"{order}6I", 48, 1, 51, 1, 29, 1)
    assert degrees in before
    assert degrees not in exif


@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_can_be_taken_out(order: Literal["<", ">"]) -> None:
    exif = without_orientation(block(order))
    assert 0x0112 not in by_pillow(exif)
    assert by_pillow(exif)[0x010F] == "maker"


def test_what_is_stripped_and_what_never_is() -> None:
    xmp = packet('<rdf:Description rdf:about="" tiff:Orientation="6"/>')
    assert fitted(block("<"), xmp, "all") == Metadata(icc=b"profile", delays=(40, 50), loop=2)
    kept = fitted(block("<"), xmp, "gps")
    assert (kept.icc, kept.dpi, kept.delays, kept.loop) == (b"profile", (300, 300), (40, 50), 2)
    assert kept.xmp is not None
    assert fitted() == Metadata(b"profile", None, None, (300, 300), (40, 50), 2)


def looping() -> bytes:
    """A directory of 4000 rows that all lead to itself."""
    row = struct.pack("<HHII", 0x8769, 4, 1, 8)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", 4000) + row * 4000


def bomb() -> bytes:
    """A directory of 4000 rows that all have the same megabyte."""
    rows = b"".join(struct.pack("<HHII", tag, 1, 1 << 20, 8) for tag in range(4000))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", 4000) + rows + bytes(1 << 20)


@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"Exif",
        b"MM*\0\x08\0\0\0" + bytes(40),
        b"II*\0\xff\xff\xff\x7f" + bytes(40),
        block("<")[:50],
        b"II*\0\x00\0\0\0" + bytes(40),
        b"II*\0\x08\0\0\0" + b"\xff\xff" + bytes(1 << 20),
        bomb(),
    ],
    ids=["empty", "prefix", "order", "nowhere", "cut", "head", "long", "bomb"],
)
def test_damaged_exif_is_left_out_and_said(exif: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    assert fitted(exif).exif is None
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("holiday.jpg: its EXIF is damaged")


def test_directories_that_lead_to_themselves_have_an_end() -> None:
    exif = fitted(looping()).exif
    assert exif is not None
    found = Block(exif)
    assert set(found.fields(found.first)) == {0x8769}


@settings(max_examples=300, deadline=None)
@given(st.data(), st.sampled_from(["<", ">"]), st.sampled_from(["none", "gps"]))
def test_no_damage_to_exif_makes_an_exception(data: st.DataObject, order: Literal["<", ">"], strip: Strip) -> None:
    exif = bytearray(block(order))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(exif) - 1))
        exif[at] = data.draw(st.integers(0, 255))
    exif = exif[: data.draw(st.one_of(st.just(len(exif)), st.integers(0, len(exif))))]
    result = fitted(bytes(exif), strip=strip).exif
    if result is not None:
        found = Block(result)
        found.table(found.first)  # still a structure


# --- XMP ---------------------------------------------------------------------------------------------------------------

SPACES = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "tiff": "http://ns.adobe.com/tiff/1.0/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "dc": "http://purl.org/dc/elements/1.1/",
    "drone": "http://www.dji.com/drone-dji/1.0/",
    "xmpNote": "http://ns.adobe.com/xmp/note/",
}


def packet(inside: str, spaces: dict[str, str] = SPACES) -> bytes:
    names = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in spaces.items())
    return (
        '\ufeff<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<!-- kept as it is -->'
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {names}>{inside}</rdf:RDF></x:xmpmeta>\n'
        "<?xpacket end='w'?>"
    ).encode()


def xmp_of(inside: str, strip: Strip = "none", spaces: dict[str, str] = SPACES) -> str:
    xmp = fitted(xmp=packet(inside, spaces), strip=strip).xmp
    assert xmp is not None
    ElementTree.fromstring(xmp)  # sound XML
    text = xmp.decode()
    frame = packet("|", spaces).decode().split("|")
    assert text.startswith(frame[0])
    assert text.endswith(frame[1])
    return text[len(frame[0]) : -len(frame[1])]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('<rdf:Description tiff:Orientation="6"/>', '<rdf:Description tiff:Orientation="1"/>'),
        ("<rdf:Description dc:a='>&gt;' tiff:Orientation = '6'>é</rdf:Description>",) * 2,
        ("<tiff:Orientation>8</tiff:Orientation>", "<tiff:Orientation>1</tiff:Orientation>"),
        ("<tiff:Orientation/><tiff:ImageWidth></tiff:ImageWidth>", "<tiff:Orientation/><tiff:ImageWidth>W</tiff:ImageWidth>"),
        ('<a tiff:ImageWidth="640" tiff:ImageLength="480"/>', '<a tiff:ImageWidth="W" tiff:ImageLength="H"/>'),
        ('<a exif:PixelXDimension="9" exif:PixelYDimension="9"/>', '<a exif:PixelXDimension="W" exif:PixelYDimension="H"/>'),
        ("<a>é<xmp:Thumbnails>é<rdf:Alt><a tiff:Orientation='6'/></rdf:Alt></xmp:Thumbnails>b</a>", "<a>éb</a>"),
        ("<xmp:Thumbnails/><xmp:Rating>5</xmp:Rating>", "<xmp:Rating>5</xmp:Rating>"),
        ('<a xmpNote:HasExtendedXMP="0123" dc:b="&#10;&amp;"/>', '<a dc:b="&#10;&amp;"/>'),
        ("<tiff:ImageWidth><tiff:ImageWidth>6</tiff:ImageWidth></tiff:ImageWidth>", "<tiff:ImageWidth>W</tiff:ImageWidth>"),
        ("<dc:Orientation>6</dc:Orientation><a dc:ImageWidth='6'/>",) * 2,
        ("<exif:GPSLatitude>48,51.5N</exif:GPSLatitude><a exif:GPSAltitude='9'/>",) * 2,
    ],
)
def test_xmp_is_corrected_and_nothing_else_in_it_changes(before: str, after: str) -> None:
    for old, new in (
        ("tiff:Orientation = '6'", "tiff:Orientation = '1'"),
        ('"W"', '"70000"'),
        (">W<", ">70000<"),
        ('"H"', '"400"'),
    ):
        after = after.replace(old, new)
    assert xmp_of(before) == after


def test_xmp_goes_by_the_meaning_of_prefixes() -> None:
    spaces = {"rdf": SPACES["rdf"], "t": SPACES["tiff"], "tiff": "urn:something-else"}
    before = '<a t:Orientation="6" tiff:Orientation="6"><t:ImageWidth>6</t:ImageWidth></a>'
    after = '<a t:Orientation="1" tiff:Orientation="6"><t:ImageWidth>70000</t:ImageWidth></a>'
    assert xmp_of(before, spaces=spaces) == after


def test_xmp_without_gps_says_nothing_of_the_place() -> None:
    before = (
        '<a exif:GPSLatitude="48,51.5N" dc:title="x" drone:GpsLongitude="+2.3" xmlns:gps="urn:gps"/>'
        "<exif:GPSAltitude>9</exif:GPSAltitude><drone:GpsLatitude><b/>48</drone:GpsLatitude><exif:GPSMapDatum/>"
        '<dc:c exif:PixelXDimension="640"/>'
    )
    after = '<a dc:title="x" xmlns:gps="urn:gps"/><dc:c exif:PixelXDimension="70000"/>'
    assert xmp_of(before, "gps") == after


@pytest.mark.parametrize(
    "xmp",
    [
        b"",
        packet("<a>"),
        packet("<a/>")[:150],
        "<a/>".encode("utf-16"),
        packet("<b:a/>"),
        b'<!DOCTYPE a [<!ENTITY b "b">]><a>&b;</a>',
        b'<?xml version="1.0" encoding="cp037"?>' + '<!DOCTYPE a [<!ENTITY b "b">]><a>&b;</a>'.encode("cp037"),
        b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        b"<a>\xff\xfe</a>",
        b"<a>" + b" " * (1 << 24) + b"</a>",
    ],
    ids=["empty", "open", "cut", "utf-16", "prefix", "entity", "hidden entity", "external", "bytes", "large"],
)
def test_damaged_xmp_is_left_out_and_said(xmp: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    assert fitted(xmp=xmp).xmp is None
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert re.match(r"holiday\.jpg: its XMP is damaged \(.+\) and was left out$", lines[0])


def test_padding_behind_xmp_goes() -> None:
    assert fitted(xmp=packet("<a/>") + b"\n   \0\0").xmp == packet("<a/>")


def test_deep_and_wide_xmp_takes_no_stack_and_no_squared_time() -> None:
    depth, width = 100_000, 100_000
    inside = "<a>" * depth + '<a exif:GPSLatitude="1"/>' * width + "</a>" * depth
    assert xmp_of(inside, "gps") == inside.replace(' exif:GPSLatitude="1"', "")


@settings(max_examples=300, deadline=None)
@given(st.data(), st.sampled_from(["none", "gps"]))
def test_no_damage_to_xmp_makes_an_exception(data: st.DataObject, strip: Strip) -> None:
    inside = '<a tiff:Orientation="6" exif:GPSA="1"><xmp:Thumbnails>é</xmp:Thumbnails><exif:GPSB>1</exif:GPSB></a>'
    xmp = bytearray(packet(inside))
    for _ in range(data.draw(st.integers(1, 4))):
        xmp[data.draw(st.integers(0, len(xmp) - 1))] = data.draw(st.sampled_from(b"<>/\"'=:!?&; a\0\xff"))
    result = fitted(xmp=bytes(xmp), strip=strip).xmp
    if result is not None:
        ElementTree.parse(io.BytesIO(result))
