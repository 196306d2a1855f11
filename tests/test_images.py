"""Whole pictures as tensors: what is read and written for training, for measuring and for Python, and which files are whole."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import noise, png_of, saved, smooth, tiff
from PIL import Image, ImageCms
from test_reading_animations import saved as animation
from test_reading_tiff import pages

from gantool import images
from gantool.errors import InputError
from gantool.images import Picture
from gantool.images.levels import to_bits


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_pictures_keep_their_channels_and_levels(channels: int, tmp_path: Path) -> None:
    pixels = noise(70, 7, channels)
    (tmp_path / "a.png").write_bytes(png_of(pixels))
    for source in (tmp_path / "a.png", png_of(pixels)):
        picture = images.read(source)
        planes = [picture.color] + ([picture.alpha] if picture.alpha is not None else [])
        assert (len(planes) == 2) == (channels in (2, 4))
        np.testing.assert_array_equal(torch.cat(planes).permute(1, 2, 0).numpy(), pixels)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_what_is_written_is_read_again_as_it_was(suffix: str, channels: int, alpha: bool, tmp_path: Path) -> None:
    covers = torch.randint(0, 256, (1, 90, 4), dtype=torch.uint8) if alpha else None
    picture = Picture(torch.randint(0, 256, (channels, 90, 4), dtype=torch.uint8), covers)
    images.write(tmp_path / f"a{suffix}", picture, quality=100)
    again = images.read(tmp_path / f"a{suffix}")
    seen = torch.ones(90, 4, dtype=torch.bool) if covers is None else covers[0] > 0
    assert torch.equal(again.color[:, seen], picture.color.expand(again.color.shape[0], -1, -1)[:, seen])
    assert (again.alpha is None) == (covers is None)
    assert covers is None or (again.alpha is not None and torch.equal(again.alpha, covers))


def test_16_bits_are_rounded_to_8() -> None:
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    expected = np.floor(levels / 257 + 0.5)
    np.testing.assert_array_equal(images.read(png_of(levels)).color[0].numpy(), expected[:, :, 0])
    np.testing.assert_array_equal(to_bits(levels, 8), expected)
    np.testing.assert_array_equal(to_bits(to_bits(levels, 8), 16), expected * 257)


def test_of_pages_and_frames_the_first_is_taken() -> None:
    assert images.read(tiff(noise(4, 24, 32), photometric="minisblack")).color.shape == (1, 24, 32)
    assert images.read(animation("GIF", "RGB")).color.shape == (3, 20, 30)


def test_a_profile_is_carried_through(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for suffix in ("png", "jpg", "webp", "avif", "tif"):
        images.write(tmp_path / f"a.{suffix}", Picture(torch.zeros(3, 9, 9, dtype=torch.uint8), None, profile))
        assert images.read(tmp_path / f"a.{suffix}").icc == profile


def test_messages_name_the_file_and_the_limit_is_an_option(tmp_path: Path) -> None:
    path = tmp_path / "a\x1b.png"
    path.write_bytes(png_of(noise(5, 7, 3)))
    assert images.read(path, max_pixels=35).color.shape == (3, 5, 7)
    with pytest.raises(InputError, match=r"a\\x1b\.png has 7x5 pixels, more than the limit of 34"):
        images.read(path, max_pixels=34)
    path.write_bytes(png_of(noise(5, 7, 3))[:-1])
    with pytest.raises(InputError, match=r"a\\x1b\.png is damaged or cut short"):
        images.read(path)


def test_jpeg_keeps_colors_at_full_resolution_from_quality_90_on(tmp_path: Path) -> None:
    edge = torch.zeros(3, 16, 17, dtype=torch.uint8)
    edge[0, :, :9] = 255  # a red edge in the middle of a block of two pixels
    files = {}
    for quality in (50, 89, 90, 95):
        images.write(tmp_path / "a.jpg", Picture(edge), quality=quality)
        files[quality] = (tmp_path / "a.jpg").read_bytes()
    sampling = {quality: Image.open(BytesIO(data)).layer[0][1:3] for quality, data in files.items()}  # type: ignore[attr-defined]
    assert sampling == {50: (2, 2), 89: (2, 2), 90: (1, 1), 95: (1, 1)}
    assert len(files[50]) < len(files[95])


def test_what_cannot_be_written_is_refused_with_the_remedy(tmp_path: Path) -> None:
    picture = Picture(torch.zeros(3, 4, 4, dtype=torch.uint8), torch.zeros(1, 4, 4, dtype=torch.uint8))
    with pytest.raises(InputError, match="JPEG cannot hold transparency: .* or --format png"):
        images.write(tmp_path / "a.jpg", picture)
    with pytest.raises(InputError, match=r"a\.gif has no extension that is known: use \.avif"):
        images.write(tmp_path / "a.gif", picture)
    assert list(tmp_path.iterdir()) == []


FINISHED = {
    "png": saved(smooth(48, 64), "PNG"),
    "apng": animation("PNG", "RGB"),
    "jpeg": saved(smooth(48, 64), "JPEG"),
    "webp": saved(smooth(48, 64), "WEBP"),
    "webp, animated": animation("WEBP", "RGB"),
    "avif": saved(smooth(48, 64), "AVIF"),
    "tiff": saved(smooth(48, 64), "TIFF"),
    "tiff, pages": pages(smooth(48, 64), noise(9, 9, 1)),
    "bigtiff, tiles": tiff(smooth(48, 64), photometric="rgb", bigtiff=True, tile=(16, 16), byteorder=">"),
}


@pytest.mark.parametrize("kind", FINISHED)
def test_only_whole_files_count_as_whole(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    data = FINISHED[kind]
    path.write_bytes(data)
    assert images.is_whole(path)
    for length in (0, 1, 5, 12, 40, len(data) // 2, len(data) - 10, len(data) - 1):
        path.write_bytes(data[:length])
        assert not images.is_whole(path), length


def test_what_is_no_file_or_no_picture_is_not_whole(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\xff\xd9" * 30)
    assert not images.is_whole(tmp_path / "a.png")
    assert not images.is_whole(tmp_path / "missing")
    assert not images.is_whole(tmp_path)


@pytest.mark.parametrize("suffix", images.SUFFIXES.values())
def test_what_is_written_is_whole_and_found_again(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    images.write(path, Picture(torch.from_numpy(smooth(48, 64)).permute(2, 0, 1)))
    assert images.is_whole(path)
    assert suffix in images.EXTENSIONS
    assert images.SUFFIXES[images.FORMATS[suffix]] == suffix
    path.write_bytes(path.read_bytes()[:-10])
    assert not images.is_whole(path)
