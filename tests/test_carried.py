"""What a picture carries beside its pixels, through `gantool upscale` from every format to every format."""

from __future__ import annotations

import shutil
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from conftest import Result
from expected import Run, levels_apart, whole
from pictures import chunk, exif, noise, png_of, saved, smooth, stored
from PIL import ExifTags, Image, ImageCms, TiffImagePlugin

from gantool.images import Format

FORMS: list[Format] = ["png", "jpeg", "webp", "avif", "tiff"]
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
PROFILE = SRGB.replace(b"sRGB", b"mine")  # as good, and not one that any library puts in by itself
GRAY_PROFILE = SRGB[:16] + b"GRAY" + SRGB[20:]
THUMBNAIL = saved(smooth(8, 8), "JPEG")
PLACE = {1: "N", 2: (48.0, 51.0, 29.5), 29: "2024:05:06"}
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/"'
    ' xmlns:dc="http://purl.org/dc/elements/1.1/" dc:source="Ärger &amp; Co" tiff:Orientation="{turned}"'
    ' tiff:ImageWidth="{width}" exif:PixelYDimension="{height}"{place}/></rdf:RDF></x:xmpmeta>'
)
OLD_XMP = XMP.format(turned=6, width=30, height=40, place=' exif:GPSLatitude="48,51.5N"').encode()
WIDTH, HEIGHT = 40, 30  # upright; files lie on their side


def told(orientation: int = 6) -> Image.Exif:
    """EXIF as a camera writes it, without its thumbnail."""
    found = Image.Exif()
    found.endian = "<"
    found[0x010F], found[0x0112], found[0x0132] = "maker of cameras", orientation, "2024:01:02 03:04:05"
    found[0x011A], found[0x011B], found[0x0128] = 240.0, 240.0, 2
    found[0x0100], found[0x0101] = 30, 40
    found.get_ifd(0x8769).update({0xA002: 30, 0xA003: 40, 0x829A: 0.005, 0x9003: "2024:01:02 03:04:05"})
    found.get_ifd(0x8825).update(PLACE)
    return found


def with_thumbnail(found: Image.Exif) -> bytes:
    """Return EXIF with a second directory behind the first, as cameras have it; Pillow does not write that."""
    data = bytearray(found.tobytes()[6:])
    assert data[:4] == b"II*\0"
    count = int.from_bytes(data[8:10], "little")
    link, place = 10 + 12 * count, len(data) + len(data) % 2
    data = data.ljust(place, b"\0")
    data[link : link + 4] = place.to_bytes(4, "little")
    rows = [(0x0103, 3, 1, 6), (0x0201, 4, 1, place + 42), (0x0202, 4, 1, len(THUMBNAIL))]
    packed = b"".join(a.to_bytes(2, "little") + b.to_bytes(2, "little") + c.to_bytes(4, "little") + d.to_bytes(4, "little")
                      for a, b, c, d in rows)  # fmt: skip
    return bytes(data) + len(rows).to_bytes(2, "little") + packed + bytes(4) + THUMBNAIL


EXIF = with_thumbnail(told())


def carrying(form: Format) -> bytes:
    """Return a picture that lies on its side and carries all there is: EXIF with a thumbnail, XMP, a profile, 240 dpi."""
    lying = stored(smooth(HEIGHT, WIDTH), 6)
    if form == "png":
        packed = zlib.compress(PROFILE)
        text = b"XML:com.adobe.xmp\0\0\0\0\0" + OLD_XMP
        dots = round(240 / 0.0254).to_bytes(4, "big") * 2 + b"\1"
        chunks = [(b"iCCP", b"x\0\0" + packed), (b"eXIf", EXIF), (b"iTXt", text), (b"pHYs", dots)]
        return png_of(lying, *(chunk(*each) for each in chunks))
    if form == "tiff":
        fields = TiffImagePlugin.ImageFileDirectory_v2()
        found = told()
        for tag, value in {**found, 0x8769: found.get_ifd(0x8769), 0x8825: PLACE, 700: OLD_XMP, 34675: PROFILE}.items():
            fields[tag] = value
        return saved(lying, "TIFF", tiffinfo=fields)
    exact = {"webp": {"lossless": True}, "avif": {"quality": 100, "subsampling": "4:4:4"}}.get(form, {"subsampling": 0})
    return saved(lying, form.upper(), exif=b"Exif\0\0" + EXIF, xmp=OLD_XMP, icc_profile=PROFILE, **exact)


SOURCES = {form: carrying(form) for form in FORMS}


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A folder with a picture of each format that carries all there is."""
    for form, data in SOURCES.items():
        (tmp_path / "in" / f"{form}.{form}").parent.mkdir(exist_ok=True)
        (tmp_path / "in" / f"{form}.{form}").write_bytes(data)
    return tmp_path / "in"


def enlarged(sources: Path, run_cli: Run, *options: object) -> dict[str, Path]:
    """Make all pictures twice as large without a word; return the results by the sources' names."""
    out = sources.parent / "out"
    shutil.rmtree(out, ignore_errors=True)
    result = run_cli("upscale", sources, "-m", "nearest", "-s", 2, "-o", out, "-q", *options)
    assert result == Result(0, "", "")
    made = {path.stem: path for path in sorted(out.iterdir())}
    assert len(made) == len(list(sources.iterdir()))
    return made


def carried(path: Path) -> tuple[Image.Exif, dict[str, Any], bytes | None]:
    """Return a file's EXIF, what else Pillow tells, and XMP."""
    with Image.open(path) as image:
        image.load()
        xmp = image.info.get("xmp")
        if path.suffix == ".tif":
            xmp = image.tag_v2.get(700)  # type: ignore[attr-defined]
        return image.getexif(), image.info, xmp


# --- orientation -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_all_orientations_are_baked_and_the_tag_reset(form: str, tmp_path: Path, run_cli: Run) -> None:
    upright = smooth(HEIGHT, WIDTH)
    exact = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(form, {})
    (tmp_path / "in").mkdir()
    for orientation in range(1, 9):
        data = saved(stored(upright, orientation), form, exif=exif(orientation), **exact)
        (tmp_path / "in" / f"{orientation}.{form.lower()}").write_bytes(data)
    made = enlarged(tmp_path / "in", run_cli)
    for orientation in range(1, 9):
        path = made[str(orientation)]
        assert carried(path)[0].get(0x0112, 1) == 1
        apart = levels_apart(whole(path), upright.repeat(2, 0).repeat(2, 1))
        assert apart.max() <= (4 if form == "JPEG" else 0)


@pytest.mark.parametrize("form", FORMS)
def test_results_stand_upright_for_every_program(form: Format, sources: Path, run_cli: Run) -> None:
    expected = smooth(HEIGHT, WIDTH).repeat(2, 0).repeat(2, 1)
    for path in enlarged(sources, run_cli, "--format", form).values():
        with Image.open(path) as image:
            assert levels_apart(np.asarray(image), expected).mean() < 3
            assert image.getexif().get(0x0112, 1) == 1


# --- all else ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_what_a_picture_carries_is_kept_and_corrected(form: Format, sources: Path, run_cli: Run) -> None:
    new_xmp = XMP.format(turned=1, width=2 * WIDTH, height=2 * HEIGHT, place=' exif:GPSLatitude="48,51.5N"').encode()
    made = enlarged(sources, run_cli, "--format", form)
    assert set(made) == set(FORMS)
    for source, path in made.items():
        found, info, xmp = carried(path)
        assert info["icc_profile"] == PROFILE, source
        assert xmp == new_xmp, source
        assert found[0x010F] == "maker of cameras"
        assert found.get(0x0112, 1) == 1
        if source != "tiff":  # where these are how the file is stored
            assert (found[0x0100], found[0x0101]) == (80, 60), source
        directory = found.get_ifd(0x8769)
        assert (directory[0xA002], directory[0xA003]) == (80, 60), source
        assert (directory[0x829A], directory[0x9003]) == (0.005, "2024:01:02 03:04:05")
        assert dict(found.get_ifd(0x8825)) == PLACE, source
        assert [found[tag] for tag in (0x011A, 0x011B, 0x0128)] == pytest.approx([240, 240, 2], abs=0.02), source
        if form in ("png", "jpeg", "tiff"):
            assert info["dpi"] == pytest.approx((240, 240), abs=0.02), source
        assert found.get_ifd(ExifTags.IFD.IFD1) == {}, source
        assert THUMBNAIL[-40:] not in path.read_bytes(), source


@pytest.mark.parametrize("form", FORMS)
def test_strip_gps_leaves_out_the_place_alone(form: Format, sources: Path, run_cli: Run) -> None:
    new_xmp = XMP.format(turned=1, width=2 * WIDTH, height=2 * HEIGHT, place="").encode()
    for source, path in enlarged(sources, run_cli, "--format", form, "--strip", "gps").items():
        found, info, xmp = carried(path)
        assert 0x8825 not in found, source
        assert xmp == new_xmp
        assert found[0x010F] == "maker of cameras"
        assert found.get_ifd(0x8769)[0x9003] == "2024:01:02 03:04:05"
        assert info["icc_profile"] == PROFILE
        assert b"2024:05:06" not in path.read_bytes(), source


@pytest.mark.parametrize("form", FORMS)
def test_strip_all_leaves_nothing_but_the_profile(form: Format, sources: Path, run_cli: Run) -> None:
    for source, path in enlarged(sources, run_cli, "--format", form, "--strip", "all").items():
        found, info, xmp = carried(path)
        layout = {tag for tag in found if tag in tifffile.TIFF.TAGS and form == "tiff"}
        assert set(found) - layout == set(), source
        assert not layout & {0x010F, 0x0132, 0x011A, 0x011B, 0x0128, 0x8769, 0x8825}
        assert xmp is None
        assert info.get("dpi", (1, 1)) == (1, 1), source  # which Pillow says of TIFF that does not say it
        assert info["icc_profile"] == PROFILE
        assert b"maker of cameras" not in path.read_bytes()


@pytest.mark.parametrize("form", ["png", "jpeg", "tiff"])
def test_gray_keeps_its_profile_for_gray(form: Format, tmp_path: Path, run_cli: Run) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes(saved(noise(9, 9, 1), "PNG", icc_profile=GRAY_PROFILE))
    assert carried(enlarged(tmp_path / "in", run_cli, "--format", form)["a"])[1]["icc_profile"] == GRAY_PROFILE


@pytest.mark.parametrize("form", FORMS)
def test_a_profile_for_gray_does_not_go_with_a_coloured_background(form: Format, tmp_path: Path, run_cli: Run) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(saved(noise(9, 9, 2), "PNG", icc_profile=GRAY_PROFILE))
    result = run_cli("upscale", path, "-m", "nearest", "-s", 2, "--format", form, "--background", "red")
    assert result.err == f"{path}: its colour profile is for gray, which the result is not, and was left out\n"
    assert not carried(Path(result.out.strip()))[1].get("icc_profile")


def test_what_the_file_does_not_say_the_result_does_not(tmp_path: Path, run_cli: Run) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes(saved(noise(9, 9, 3), "PNG"))
    for form in FORMS:
        found, info, xmp = carried(enlarged(tmp_path / "in", run_cli, "--format", form)["a"])
        assert xmp is None
        assert not {"icc_profile", "exif"} & set(info)
        assert not {0x010F, 0x0112, 0x8769} & set(found)


def test_damaged_exif_costs_a_line_and_not_the_picture(tmp_path: Path, run_cli: Run) -> None:
    data = saved(smooth(20, 30), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    (tmp_path / "a.jpg").write_bytes(data)
    result = run_cli("upscale", tmp_path / "a.jpg", "-m", "nearest", "-s", 2)
    assert result.status == 0
    assert result.err.startswith(f"{tmp_path / 'a.jpg'}: its EXIF is damaged (")
    assert result.err.count("\n") == 1
    assert whole(tmp_path / "a_x2.png").shape == (40, 60, 3)
