"""Reading animations: whole frames, their timing, and how often they play."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import pytest
from pictures import Pixels, chunk, exif, frames, noise, stored, whole
from PIL import Image

from gantool.errors import InputError
from gantool.images import open_picture

HEIGHT, WIDTH = 20, 30
DELAYS = (50, 70, 90, 110, 130)


def scene(number: int) -> Pixels:
    """Return a frame (20, 30, 4): a patch of noise that moves over nothing, or over black, by turns."""
    frame = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    frame[2 + number : 9 + number, 3 * number : 3 * number + 8] = noise(7, 8, 4, seed=number)
    if number % 2:
        frame[:, :, 3] = 255
    return frame


def saved(form: str, mode: str, **options: object) -> bytes:
    file = BytesIO()
    first, *others = (Image.fromarray(scene(number)).convert(mode) for number in range(len(DELAYS)))
    first.save(file, form, save_all=True, append_images=others, duration=list(DELAYS), **options)
    return file.getvalue()


def visible(pixels: Pixels) -> Pixels:
    """Return RGBA in which what does not show is black."""
    color, alpha = pixels[:, :, : 3 if pixels.shape[2] > 2 else 1], np.full(pixels.shape[:2], 255, np.uint8)
    if pixels.shape[2] in (2, 4):
        alpha = pixels[:, :, -1]
    return np.dstack([np.broadcast_to(color, (*alpha.shape, 3)) * (alpha > 0)[:, :, None], alpha])


def by_pillow(data: bytes) -> list[Pixels]:
    image = Image.open(BytesIO(data))
    found = []
    for number in range(image.n_frames):  # type: ignore[attr-defined]
        image.seek(number)
        found.append(np.asarray(image.convert("RGBA")))
    return found


@pytest.mark.parametrize("disposal", [0, 1, 2])
@pytest.mark.parametrize("mode", ["RGBA", "RGB", "P", "L"])
@pytest.mark.parametrize("form", ["GIF", "WEBP"])
def test_frames_and_their_delays_are_those_that_pillow_finds(form: str, mode: str, disposal: int) -> None:
    options = {"disposal": disposal} if form == "GIF" else {"lossless": True, "minimize_size": disposal == 2}
    data = saved(form, mode, **options)
    found, said = frames(data)
    assert said.delays == DELAYS
    for one, other in zip(found, by_pillow(data), strict=True):
        np.testing.assert_array_equal(visible(one), visible(other))


@pytest.mark.parametrize(("form", "written", "plays"), [
    ("GIF", None, 1), ("GIF", 0, 0), ("GIF", 1, 2), ("GIF", 4, 5),  # which counts what comes after the first time
    ("WEBP", 0, 0), ("WEBP", 1, 1), ("WEBP", 4, 4), ("PNG", 0, 0), ("PNG", 1, 1), ("PNG", 4, 4),
])  # fmt: skip
def test_how_often_it_plays_is_said_alike_for_all_formats(form: str, written: int | None, plays: int) -> None:
    _, said = frames(saved(form, "RGB", **({} if written is None else {"loop": written})))
    assert said.loop == plays


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_frames_can_be_read_in_any_order_and_again(form: str) -> None:
    data = saved(form, "RGBA", **({"lossless": True} if form == "WEBP" else {}))
    expected, _ = frames(data)
    with open_picture(data, "it", 10**9) as reader:
        for number in (3, 1, 1, 2, 4, 0):
            np.testing.assert_array_equal(whole(reader.bands(number, 7), reader.pages[number]), expected[number])
        given_up = reader.bands(1, 3)
        next(given_up)
        np.testing.assert_array_equal(whole(reader.bands(2, 7), reader.pages[2]), expected[2])
        two = zip(reader.bands(0, 5), reader.bands(1, 5), strict=True)
        both = [np.concatenate(bands) for bands in zip(*two, strict=True)]
    for one, other in zip(both, expected, strict=False):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_a_single_frame_is_no_animation(form: str) -> None:
    file = BytesIO()
    Image.fromarray(scene(1)).save(file, form, save_all=True, duration=50)
    found, said = frames(file.getvalue())
    assert (len(found), said.delays, said.loop) == (1, (), 0)


@dataclass(frozen=True)
class Drawing:
    """A frame of an APNG file: levels, where they go, what becomes of them (0 stay, 1 clear, 2 restore), over or instead."""

    pixels: Pixels
    left: int = 0
    top: int = 0
    disposal: int = 0
    over: bool = False
    delay: tuple[int, int] = (1, 10)


def rows(pixels: Pixels) -> bytes:
    swapped = pixels.astype(pixels.dtype.newbyteorder(">"))
    return zlib.compress(b"".join(b"\0" + row.tobytes() for row in swapped))


def apng(drawings: list[Drawing], still: bool = False, count: int | None = None) -> bytes:
    """Return a file by hand; `still` puts a picture in front that is not part of the animation."""
    first = drawings[0].pixels
    color = (0, 0, 4, 2, 6)[first.shape[2]]
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8 * first.dtype.itemsize, color, 0, 0, 0)
    parts = [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header)]
    parts.append(chunk(b"acTL", struct.pack(">II", len(drawings) if count is None else count, 3)))
    if still:
        parts.append(chunk(b"IDAT", rows(np.zeros((HEIGHT, WIDTH, first.shape[2]), first.dtype))))
    for number, d in enumerate(drawings):
        size = (d.pixels.shape[1], d.pixels.shape[0], d.left, d.top)
        parts.append(chunk(b"fcTL", struct.pack(">5I2H2B", 2 * number, *size, *d.delay, d.disposal, d.over)))
        data = rows(d.pixels)
        if number == 0 and not still:
            parts.append(chunk(b"IDAT", data))
        else:
            half = len(data) // 2  # data may be divided among chunks
            parts += [chunk(b"fdAT", struct.pack(">I", 9) + piece) for piece in (data[:half], data[half:])]
    return b"".join([*parts, chunk(b"IEND", b"")])


def composed(drawings: list[Drawing]) -> list[Pixels]:
    """Return the frames (20, 30, 4), 0 to 1, colours multiplied by alpha, by the words of the specification."""
    canvas = np.zeros((HEIGHT, WIDTH, 4))
    shown = []
    for number, d in enumerate(drawings):
        levels = d.pixels.astype(float) / np.iinfo(d.pixels.dtype).max
        color, alpha = levels[:, :, :-1], levels[:, :, -1:]
        if d.pixels.shape[2] in (1, 3):
            color, alpha = levels, np.ones((*levels.shape[:2], 1))
        new = np.dstack([np.broadcast_to(color, (*alpha.shape[:2], 3)) * alpha, alpha])
        place = slice(d.top, d.top + len(new)), slice(d.left, d.left + new.shape[1])
        before = canvas.copy()
        canvas[place] = new + canvas[place] * (1 - alpha) if d.over else new
        shown.append(canvas.copy())
        if d.disposal == 1 or (d.disposal == 2 and number == 0):
            canvas[place] = 0
        elif d.disposal == 2:
            canvas = before
    return shown


@pytest.mark.parametrize("still", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_apng_is_drawn_as_its_specification_says(channels: int, bits: int, still: bool) -> None:
    drawings = [Drawing(noise(HEIGHT, WIDTH, channels, bits=bits), disposal=2)]
    ways = [(disposal, over) for disposal in (0, 1, 2) for over in (False, True)] * 2
    for number, (disposal, over) in enumerate(ways, 1):
        pixels = noise(9, 12, channels, bits=bits, seed=number)
        drawings.append(Drawing(pixels, number, number // 2, disposal, over))
    found, said = frames(apng(drawings, still))
    assert (len(found), said.loop, said.delays) == (13, 3, (100,) * 13)
    white = (1 << bits) - 1
    for one, other in zip(found, composed(drawings), strict=True):
        assert np.iinfo(one.dtype).max == white
        shown = visible(one).astype(float) if bits == 8 else deep_visible(one)
        shown[:, :, :3] *= shown[:, :, 3:] / white
        assert np.abs(shown - other * white).max() <= 1


def deep_visible(pixels: Pixels) -> Pixels:
    color = pixels[:, :, : 3 if pixels.shape[2] > 2 else 1].astype(float)
    alpha = pixels[:, :, -1].astype(float) if pixels.shape[2] in (2, 4) else np.full(pixels.shape[:2], 65535.0)
    return np.dstack([np.broadcast_to(color, (*alpha.shape, 3)), alpha])


def test_opaque_frames_that_always_cover_all_stay_without_alpha() -> None:
    whole_frame = noise(HEIGHT, WIDTH, 3)
    assert frames(apng([Drawing(whole_frame), Drawing(whole_frame[:5, :5], 3, 3)]))[0][0].shape[2] == 3
    assert frames(apng([Drawing(whole_frame, disposal=1), Drawing(whole_frame[:5, :5])]))[0][0].shape[2] == 4


def test_delays_are_fractions_of_a_second() -> None:
    delays = [(1, 0), (1, 3), (0, 5), (2, 1)]
    _, said = frames(apng([Drawing(noise(HEIGHT, WIDTH, 1), delay=delay) for delay in delays]))
    assert said.delays == (10, 333, 0, 2000)


@pytest.mark.parametrize("data", [
    apng([Drawing(noise(HEIGHT, WIDTH, 3))] * 2, count=3),
    apng([Drawing(noise(HEIGHT, WIDTH, 3)), Drawing(noise(5, 5, 3), left=WIDTH - 4)]),
    apng([Drawing(noise(HEIGHT, WIDTH, 3)), Drawing(noise(5, 5, 3), top=1 << 31)]),
    apng([Drawing(noise(HEIGHT, WIDTH, 3)), Drawing(noise(5, 5, 3)[:0])]),
])  # fmt: skip
def test_damaged_animations_are_refused(data: bytes) -> None:
    with pytest.raises(InputError, match="it is damaged or cut short: (a frame lies outside|frames are missing)"):
        frames(data)


def test_a_damaged_later_frame_is_an_error_when_it_comes() -> None:
    data = bytearray(apng([Drawing(noise(HEIGHT, WIDTH, 3)), Drawing(noise(5, 5, 3))]))
    data[-30] ^= 1
    with open_picture(bytes(data), "it", 10**9) as reader:
        whole(reader.bands(0), reader.pages[0])
        with pytest.raises(InputError, match="it is damaged or cut short: wrong checksum"):
            whole(reader.bands(1), reader.pages[1])


@pytest.mark.parametrize("form", ["WEBP", "PNG"])
def test_each_frame_is_turned_upright(form: str) -> None:
    file = BytesIO()
    upright = [noise(HEIGHT, WIDTH, 3, seed=number) for number in range(3)]
    first, *others = (Image.fromarray(stored(frame, 6)) for frame in upright)
    first.save(file, form, save_all=True, append_images=others, lossless=True, exif=exif(6))
    found, _ = frames(file.getvalue())
    for one, other in zip(found, upright, strict=True):
        np.testing.assert_array_equal(one, other)
