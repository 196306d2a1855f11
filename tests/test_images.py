"""Reading and writing pictures: what is kept, what is converted, and what is refused in a sentence."""

from __future__ import annotations

import os
import random
import socket
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from torch import Tensor

from gantool import images
from gantool.errors import InputError
from gantool.images import Picture

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 4), np.uint8)  # RGBA, in fact: cut as needed


def save(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


def levels(tensor: Tensor | None) -> list[object]:
    assert tensor is not None
    return tensor.permute(1, 2, 0).tolist()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, color: int, rows: bytes, *extra: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *extra, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("LA", 2), ("RGB", 3), ("RGBA", 4)])
def test_png_pictures_keep_their_channels_and_levels(mode: str, channels: int, tmp_path: Path) -> None:
    pixels = RGB[:, :, :channels].squeeze()
    picture = images.read(save(Image.fromarray(pixels), tmp_path / "a.png"))
    planes = [picture.color] + ([picture.alpha] if picture.alpha is not None else [])
    assert (len(planes) == 2) == (mode in ("LA", "RGBA"))
    np.testing.assert_array_equal(torch.cat(planes).permute(1, 2, 0).numpy(), pixels.reshape(5, 7, channels))


def test_what_is_written_is_read_again_as_it_was(tmp_path: Path) -> None:
    for channels, alpha in ((1, False), (1, True), (3, False), (3, True)):
        picture = Picture(torch.randint(0, 256, (channels, 9, 4), dtype=torch.uint8), None)
        if alpha:
            picture = Picture(picture.color, torch.randint(0, 256, (1, 9, 4), dtype=torch.uint8))
        images.write(tmp_path / "a.png", picture)
        again = images.read(tmp_path / "a.png")
        assert torch.equal(again.color, picture.color)
        assert (again.alpha is None) == (picture.alpha is None)
        assert again.alpha is None or torch.equal(again.alpha, picture.alpha if picture.alpha is not None else again.color)


def test_a_png_palette_becomes_rgb_and_its_transparency_alpha(tmp_path: Path) -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.putdata([0, 1, 2])
    plain = images.read(save(image, tmp_path / "a.png"))
    assert levels(plain.color) == [[[10, 20, 30], [40, 50, 60], [70, 80, 90]]]
    assert plain.alpha is None
    partly = images.read(save(image, tmp_path / "b.png", transparency=bytes([255, 128, 0])))
    assert levels(partly.color) == levels(plain.color)
    assert levels(partly.alpha) == [[[255], [128], [0]]]
    one = images.read(save(image, tmp_path / "c.png", transparency=1))
    assert levels(one.alpha) == [[[255], [0], [255]]]


@pytest.mark.parametrize(("depth", "row", "expected"), [
    (1, 0b01000000, [0, 255]), (2, 0b01100000, [85, 170]), (4, 0x3A, [51, 170]), (8, None, [7, 200]),
])  # fmt: skip
def test_gray_of_few_bits_is_stretched_and_its_transparent_level_found(
    depth: int, row: int | None, expected: list[int], tmp_path: Path
) -> None:
    row_bytes = bytes([0, 7, 200]) if row is None else bytes([0, row])
    second = {1: 1, 2: 2, 4: 10, 8: 200}[depth]  # the raw sample of the second pixel
    path = tmp_path / "a.png"
    path.write_bytes(png(2, 1, depth, 0, row_bytes, chunk(b"tRNS", struct.pack(">H", second))))
    picture = images.read(path)
    assert levels(picture.color) == [[[expected[0]], [expected[1]]]]
    assert levels(picture.alpha) == [[[255], [0]]]


def test_a_transparent_rgb_color_becomes_alpha(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(2, 1, 8, 2, bytes([0, 1, 2, 3, 1, 2, 4]), chunk(b"tRNS", struct.pack(">HHH", 1, 2, 3))))
    picture = images.read(path)
    assert levels(picture.color) == [[[1, 2, 3], [1, 2, 4]]]
    assert levels(picture.alpha) == [[[0], [255]]]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_exif_orientation_is_baked(orientation: int, suffix: str, tmp_path: Path) -> None:
    """A picture that is dark but for its bright upper left as a viewer shows it."""
    upright = np.zeros((32, 48), np.uint8)
    upright[:16, :16] = 255
    upright[:16, 16:32] = 128
    stored = {  # how EXIF says that row 0 and column 0 of the file lie in the picture
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.T, 6: np.rot90(upright), 7: upright[::-1, ::-1].T, 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(Image.fromarray(np.ascontiguousarray(stored)), tmp_path / f"a.{suffix}", exif=exif)
    color = images.read(path).color[0]
    assert color.shape == (32, 48)
    assert np.abs(color.numpy().astype(int) - upright).max() <= (0 if suffix == "png" else 3)


@pytest.mark.parametrize("exif", [b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0nonsense", b"Exif\0\0" + bytes(20), b""])
def test_damaged_exif_is_left_aside(exif: bytes, tmp_path: Path) -> None:
    picture = images.read(save(Image.fromarray(RGB[:, :, :3]), tmp_path / "a.jpg", exif=exif))
    assert picture.color.shape == (3, 5, 7)


def test_an_orientation_that_does_not_exist_means_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 9
    path = save(Image.fromarray(RGB[:, :, :3]), tmp_path / "a.png", exif=exif)
    assert levels(images.read(path).color) == RGB[:, :, :3].tolist()


def test_a_color_profile_is_carried_through_and_one_for_other_colors_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for suffix in ("png", "jpg"):
        path = save(Image.fromarray(RGB[:, :, :3]), tmp_path / f"a.{suffix}", icc_profile=profile)
        picture = images.read(path)
        assert picture.icc == profile
        images.write(tmp_path / f"b.{suffix}", picture)
        assert images.read(tmp_path / f"b.{suffix}").icc == profile
    assert images.read(save(Image.fromarray(RGB[:, :, 0]), tmp_path / "gray.png", icc_profile=profile)).icc is None
    assert images.read(save(Image.fromarray(RGB[:, :, :3]), tmp_path / "c.png", icc_profile=b"x" * 200)).icc is None
    said = capsys.readouterr().err
    assert "gray.png: its colour profile" in said
    assert "c.png: its colour profile" in said


def test_content_decides_and_not_the_name(tmp_path: Path) -> None:
    save(Image.fromarray(RGB[:, :, :3]), tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert levels(images.read(tmp_path / "a.jpg").color) == RGB[:, :, :3].tolist()


def whole(form: str, mode: str = "RGB", **options: object) -> bytes:
    file = BytesIO()
    Image.effect_mandelbrot((64, 48), (-2, -1.5, 1, 1.5), 50).convert(mode).save(file, form, **options)
    return file.getvalue()


def animated() -> bytes:
    file = BytesIO()
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:])
    return file.getvalue()


BAD = {
    "is empty": b"",
    "is damaged or cut short": whole("PNG")[:-200],
    "is damaged or cut short: image file is truncated": whole("JPEG")[:-400],
    "is damaged or cut short: wrong checksum": whole("PNG")[:100] + b"?" + whole("PNG")[101:],
    "is not a PNG or JPEG picture": random.Random(0).randbytes(5000),
    "holds HTML or XML": b"<!DOCTYPE html><html><body>404</body></html>",
    "is a git-lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
    "has 16 bits a channel": png(1, 1, 16, 2, bytes(7)),
    "is a CMYK picture": whole("JPEG", "CMYK"),
    "is an animated picture": animated(),
    "is a GIF file": whole("GIF", "L"),
    "is a BMP file": whole("BMP"),
    "is a TIFF file": whole("TIFF"),
    "is a WebP file": whole("WEBP"),
    "has 100000x100000 pixels, more than the limit": png(100_000, 100_000, 8, 2, b""),
}


@pytest.mark.parametrize("sentence", BAD)
def test_a_bad_picture_is_refused_in_a_sentence_with_its_name(sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.png"
    path.write_bytes(BAD[sentence])
    with pytest.raises(InputError) as error:
        images.read(path)
    assert str(error.value).startswith(f"{path} ")
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_every_cut_of_a_picture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    for data in (whole("PNG"), whole("JPEG")[:-2]):
        for length in range(0, len(data) - 2, 37):
            path.write_bytes(data[:length])
            with pytest.raises(InputError, match=r"cut\.png is"):
                images.read(path)


def test_a_damaged_png_is_never_taken_for_good_and_a_damaged_jpeg_never_crashes(tmp_path: Path) -> None:
    draw = random.Random(1)
    path = tmp_path / "damaged"
    for form in ("PNG", "JPEG"):
        data = whole(form)
        for _ in range(300):
            damaged = bytearray(data)
            damaged[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
            path.write_bytes(damaged)
            try:
                images.read(path)
            except InputError:
                continue
            assert form == "JPEG"  # which has no checksums


def test_the_pixel_limit_is_an_option(tmp_path: Path) -> None:
    path = save(Image.fromarray(RGB[:, :, :3]), tmp_path / "a.png")
    assert images.read(path, max_pixels=35).color.shape == (3, 5, 7)
    with pytest.raises(InputError, match="has 7x5 pixels, more than the limit of 34: raise it with --max-pixels"):
        images.read(path, max_pixels=34)


def test_devices_pipes_sockets_folders_and_lost_links_are_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "lost.png").symlink_to(tmp_path / "nothing")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.png"))
        for name in ("pipe", "folder", "lost", "loop", "zero", "socket"):
            with pytest.raises(InputError, match=f"{name}.png (is a|cannot be read)"):
                images.read(tmp_path / f"{name}.png")


def test_jpeg_keeps_colors_at_full_resolution_from_quality_90_on() -> None:
    edge = torch.zeros(3, 16, 17, dtype=torch.uint8)
    edge[0, :, :9] = 255  # a red edge in the middle of a block of two pixels
    files = {quality: images.encode(Picture(edge), "jpeg", quality) for quality in (50, 89, 90, 95)}
    sampling = {quality: Image.open(BytesIO(data)).layer[0][1:3] for quality, data in files.items()}  # type: ignore[attr-defined]
    assert sampling == {50: (2, 2), 89: (2, 2), 90: (1, 1), 95: (1, 1)}
    assert len(files[50]) < len(files[95])


def test_a_transparent_jpeg_is_refused_with_the_remedy(tmp_path: Path) -> None:
    picture = Picture(torch.zeros(3, 4, 4, dtype=torch.uint8), torch.zeros(1, 4, 4, dtype=torch.uint8))
    with pytest.raises(InputError, match="JPEG cannot hold its transparency: use --format png"):
        images.write(tmp_path / "a.jpg", picture)
    assert list(tmp_path.iterdir()) == []


def test_only_whole_files_count_as_whole(tmp_path: Path) -> None:
    for form in ("PNG", "JPEG"):
        path = tmp_path / form
        path.write_bytes(whole(form))
        assert images.is_whole(path)
        path.write_bytes(whole(form)[:-10])
        assert not images.is_whole(path)
        path.write_bytes(b"")
        assert not images.is_whole(path)
    assert not images.is_whole(tmp_path / "missing")
