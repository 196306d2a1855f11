"""Animations stay animated and pages stay pages through `gantool upscale`: each frame and page as if it were alone."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
from conftest import Result
from expected import Run, assert_near, larger, save_span, whole
from pictures import Pixels, chunk, noise, png_of
from PIL import Image, ImageCms, ImageSequence

RGB_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
DELAYS = [40, 250, 70, 1000]
KINDS = {"gif": "GIF", "webp": "WEBP", "png": "PNG"}


def scene(number: int) -> Pixels:
    """Return a frame (24, 30, 4): a patch of some colours that moves over nothing."""
    frame = np.zeros((24, 30, 4), np.uint8)
    frame[2 + 2 * number : 12 + 2 * number, 4 * number : 4 * number + 14] = [*noise(3, seed=number), 255]
    frame[5 + number, 5:25] = [250, 30 * number, 0, 255]
    return frame


def animation(form: str, loop: int, mode: str = "RGBA", **options: object) -> bytes:
    data = BytesIO()
    first, *others = (Image.fromarray(scene(number)).convert(mode) for number in range(len(DELAYS)))
    exact = {"WEBP": {"lossless": True, "exact": True}, "GIF": {"disposal": 2}}.get(form, {})
    first.save(data, form, save_all=True, append_images=others, duration=DELAYS, loop=loop, **exact, **options)
    return data.getvalue()


def png_animation(scenes: list[int], delays: list[int]) -> bytes:
    """Return an APNG by hand: Pillow would make one frame of equal ones."""
    whole_frame = struct.pack(">4I", 30, 24, 0, 0)
    parts = [chunk(b"acTL", struct.pack(">2I", len(scenes), 0))]
    for number, (place, delay) in enumerate(zip(scenes, delays, strict=True)):
        control = struct.pack(">I", max(0, 2 * number - 1)) + whole_frame + struct.pack(">2H2B", delay, 1000, 0, 0)
        rows = zlib.compress(b"".join(b"\0" + row.tobytes() for row in scene(place)))
        pixels = chunk(b"fdAT", struct.pack(">I", 2 * number) + rows) if number else chunk(b"IDAT", rows)
        parts += [chunk(b"fcTL", control), pixels]
    header = chunk(b"IHDR", struct.pack(">2I5B", 30, 24, 8, 6, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(parts) + chunk(b"IEND", b"")


def shown(source: Path | bytes) -> tuple[list[Pixels], list[int], int]:
    """Return an animation's frames as RGBA with black where nothing is to be seen, delays and loop, as Pillow finds them."""
    with Image.open(BytesIO(source) if isinstance(source, bytes) else source) as image:
        frames, delays = [], []
        for frame in ImageSequence.Iterator(image):
            frame.load()
            pixels = np.array(frame.convert("RGBA"))
            pixels[pixels[:, :, 3] == 0] = 0
            frames.append(pixels)
            delays.append(round(frame.info["duration"]))
        return frames, delays, image.info["loop"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a small SPAN of scale 2 with random weights."""
    return save_span(tmp_path_factory.mktemp("model"))


@pytest.fixture
def alone(model: Path, tmp_path: Path, run_cli: Run) -> Callable[[list[Pixels]], list[Pixels]]:
    """Enlarge frames as pictures of their own."""

    def run(frames: list[Pixels]) -> list[Pixels]:
        folder = tmp_path / "frames"
        folder.mkdir()
        for number, frame in enumerate(frames):
            (folder / f"{number}.png").write_bytes(png_of(frame))
        assert run_cli("upscale", folder, "-m", model, "-o", tmp_path / "alone", "-q") == Result(0, "", "")
        results = [whole(tmp_path / "alone" / f"{number}.png") for number in range(len(frames))]
        for result in results:
            if result.shape[2] == 4:
                result[result[:, :, 3] == 0] = 0
        return results

    return run


# --- animations --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("form", "target", "loop"), [
    ("gif", "png", 0), ("gif", "png", 3), ("gif", "webp", 0), ("gif", "webp", 2), ("webp", "webp", 0), ("webp", "webp", 5),
    ("webp", "png", 4), ("png", "png", 0), ("png", "png", 7), ("png", "webp", 0),
])  # fmt: skip
def test_every_frame_is_enlarged_as_if_it_were_alone(
    form: str, target: str, loop: int, model: Path, alone: Callable[[list[Pixels]], list[Pixels]], tmp_path: Path, run_cli: Run
) -> None:
    data = animation(KINDS[form], loop)
    before, delays, _ = shown(data)
    assert delays == DELAYS
    assert len(before) == 4
    (tmp_path / f"a.{form}").write_bytes(data)
    made = tmp_path / f"b.{target}"
    result = run_cli("upscale", tmp_path / f"a.{form}", "-m", model, "-o", made, "--quality", 100)
    assert result == Result(0, f"{made}\n", "")
    after, delays, plays = shown(made)
    assert delays == DELAYS
    assert plays == (loop + 1 if form == "gif" and loop else loop)  # GIF counts what comes after the first time
    for one, other in zip(after, alone(before), strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_animation_without_alpha_has_none_later(model: Path, tmp_path: Path, run_cli: Run) -> None:
    (tmp_path / "a.webp").write_bytes(animation("WEBP", 0, "RGB", kmax=1))  # no frame is a difference
    made = run_cli("upscale", tmp_path / "a.webp", "-m", model).out.strip()
    with Image.open(made) as image:
        assert (Path(made).name, image.mode, image.n_frames) == ("a_x2.png", "RGB", 4)  # type: ignore[attr-defined]


def test_an_animation_in_avif_plays_too(tmp_path: Path, run_cli: Run) -> None:
    (tmp_path / "a.gif").write_bytes(animation("GIF", 0))
    assert run_cli("upscale", tmp_path / "a.gif", "-m", "bicubic", "-s", 2, "-o", tmp_path / "b.avif").status == 0
    with Image.open(tmp_path / "b.avif") as image:
        assert (image.size, image.mode) == ((60, 48), "RGBA")
        assert [frame.load() and round(frame.info["duration"]) for frame in ImageSequence.Iterator(image)] == DELAYS


def test_frames_that_do_not_change_keep_their_time(tmp_path: Path, run_cli: Run) -> None:
    data = png_animation([0, 0, 1, 1], [40, 50, 60, 70])
    (tmp_path / "a.png").write_bytes(data)
    for target, expected in (("b.png", [40, 50, 60, 70]), ("b.webp", [90, 130])):  # whose encoder makes one of equal ones
        assert run_cli("upscale", tmp_path / "a.png", "-m", "nearest", "-s", 2, "-o", tmp_path / target).err == ""
        assert shown(tmp_path / target)[1] == expected


def test_what_an_animation_carries_is_kept(tmp_path: Path, run_cli: Run) -> None:
    told = Image.Exif()
    told[0x010F] = "maker of cameras"
    (tmp_path / "a.webp").write_bytes(animation("WEBP", 0, exif=told, xmp=b"<x/>", icc_profile=RGB_PROFILE))
    for target in ("b.webp", "b.png"):
        assert run_cli("upscale", tmp_path / "a.webp", "-m", "nearest", "-s", 2, "-o", tmp_path / target).err == ""
        with Image.open(tmp_path / target) as image:
            image.load()
            assert image.getexif()[0x010F] == "maker of cameras"
            assert (image.info["xmp"], image.info["icc_profile"]) == (b"<x/>", RGB_PROFILE)


@pytest.mark.parametrize(("target", "remedy"), [("b.jpg", "--format png or webp"), ("b.tif", "--format png or webp")])
def test_an_animation_is_refused_where_it_would_not_move(target: str, remedy: str, tmp_path: Path, run_cli: Run) -> None:
    (tmp_path / "a.gif").write_bytes(animation("GIF", 0, "RGB"))
    result = run_cli("upscale", tmp_path / "a.gif", "-m", "bicubic", "-o", tmp_path / target)
    name = {"b.jpg": "JPEG", "b.tif": "TIFF"}[target]
    message = f"{name} cannot hold an animation, which has 4 frames: use {remedy}"
    assert result == Result(1, "", f"gantool: {tmp_path / 'a.gif'}: {message}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["a.gif"]


def test_a_gif_of_one_frame_is_a_picture_for_every_format(tmp_path: Path, run_cli: Run) -> None:
    Image.fromarray(scene(0)[:, :, :3]).save(tmp_path / "a.gif")
    for target in ("b.jpg", "b.tif", "b.png", "b.webp"):
        assert run_cli("upscale", tmp_path / "a.gif", "-m", "bicubic", "-s", 2, "-o", tmp_path / target).status == 0
        with Image.open(tmp_path / target) as image:
            assert (image.size, getattr(image, "n_frames", 1)) == ((60, 48), 1)


def test_json_counts_frames(tmp_path: Path, run_cli: Run) -> None:
    (tmp_path / "a.gif").write_bytes(animation("GIF", 0))
    result = run_cli("upscale", tmp_path / "a.gif", "-m", "bicubic", "-s", 2, "--json")
    assert '"width": 60, "height": 48, "pages": 4' in result.out


# --- pages -------------------------------------------------------------------------------------------------------------

PAGES = [noise(20, 30, 3), noise(9, 50, 1), noise(33, 8, 3, bits=16), noise(12, 12, 1, bits=16), noise(10, 11, 4)]
PAGES[4][:, :, 3] |= 0x80


def document(pages: list[Pixels]) -> bytes:
    data = BytesIO()
    with tifffile.TiffWriter(data) as writer:
        for page in pages:
            extra = {"extrasamples": ["unassalpha"]} if page.shape[2] == 4 else {}
            writer.write(page.squeeze(), photometric="minisblack" if page.shape[2] == 1 else "rgb", **extra)
    return data.getvalue()


def read_pages(path: Path) -> list[Pixels]:
    with tifffile.TiffFile(path) as file:
        pixels = [page.asarray() for page in file.pages]
    return [each if each.ndim == 3 else each[:, :, None] for each in pixels]


@pytest.mark.parametrize("options", [(), ("-o", "b.tif"), ("--format", "tiff")])
def test_pages_stay_pages_each_of_its_own_size_and_type(options: tuple[str, ...], tmp_path: Path, run_cli: Run) -> None:
    (tmp_path / "a.tiff").write_bytes(document(PAGES))
    where = [str(tmp_path / part) if part.startswith("b.") else part for part in options]
    result = run_cli("upscale", tmp_path / "a.tiff", "-m", "bicubic", "-s", 2, *where)
    made = tmp_path / ("b.tif" if "b.tif" in options else "a_x2.tif")
    assert result == Result(0, f"{made}\n", "")
    for one, other in zip(read_pages(made), PAGES, strict=True):
        assert_near(one, larger(other, 2))


def test_sides_are_asked_of_each_page(tmp_path: Path, run_cli: Run) -> None:
    (tmp_path / "a.tif").write_bytes(document(PAGES))
    assert run_cli("upscale", tmp_path / "a.tif", "-m", "bicubic", "--long-side", 60).status == 0
    sizes = [page.shape[:2] for page in read_pages(tmp_path / "a_long60.tif")]
    assert sizes == [(40, 60), (11, 60), (60, 15), (60, 60), (55, 60)]


@pytest.mark.parametrize("form", ["png", "jpeg", "webp", "avif"])
def test_pages_are_refused_where_only_one_would_be_left(form: str, tmp_path: Path, run_cli: Run) -> None:
    (tmp_path / "a.tif").write_bytes(document(PAGES[:2]))
    result = run_cli("upscale", tmp_path / "a.tif", "-m", "bicubic", "--format", form)
    name = {"png": "PNG", "jpeg": "JPEG", "webp": "WebP", "avif": "AVIF"}[form]
    assert result == Result(1, "", f"gantool: {tmp_path / 'a.tif'}: {name} cannot hold 2 pages: use --format tiff\n")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


def test_a_damaged_later_page_leaves_no_output(tmp_path: Path, run_cli: Run) -> None:
    data = bytearray(document([PAGES[0], PAGES[0]]))
    with tifffile.TiffFile(BytesIO(bytes(data))) as file:
        row = file.pages[1].tags["StripOffsets"]
    data[row.valueoffset : row.valueoffset + 4] = b"\xff\xff\xff\x7f"
    (tmp_path / "a.tif").write_bytes(data)
    result = run_cli("upscale", tmp_path / "a.tif", "-m", "bicubic")
    assert (result.status, result.err.count("\n")) == (1, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]
