"""Bands of rows: regrouped, shared between readers, computed ahead, and never lost or changed on the way."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import closing

import numpy as np
import pytest

from gantool import bands
from gantool.bands import Band, Bands, Rows, ahead, around, exactly, join, share


def picture(height: int, width: int = 5, channels: int = 4) -> Band:
    """Random pixels that nobody may change."""
    pixels = np.random.default_rng(height).integers(0, 256, (height, width, channels), np.uint8)
    pixels.flags.writeable = False
    return pixels


def cut(pixels: Band, *heights: int) -> Bands:
    """Bands of these heights in turn, over and over."""
    row = 0
    while row < len(pixels):
        for height in heights:
            if row < len(pixels):
                yield pixels[row : row + height]
            row += height


def until(condition: Callable[[], bool]) -> bool:
    """Wait for another thread."""
    end = time.monotonic() + 10
    while not condition() and time.monotonic() < end:
        time.sleep(0.001)
    return condition()


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "bands"]


@pytest.mark.parametrize("heights", [(1,), (7,), (64,), (1, 20, 3)])
@pytest.mark.parametrize("rows", [1, 4, 37, 100])
def test_bands_are_regrouped_to_any_height(heights: tuple[int, ...], rows: int) -> None:
    pixels = picture(37)
    result = list(exactly(cut(pixels, *heights), rows))
    assert all(len(band) == rows for band in result[:-1])
    assert np.array_equal(np.concatenate(result), pixels)


def test_rows_are_found_by_number_and_those_before_are_forgotten() -> None:
    pixels = picture(40)
    rows = Rows(cut(pixels, 3, 8))
    for start, stop in ((0, 2), (0, 9), (5, 6), (5, 20), (30, 32), (31, 50)):
        assert np.array_equal(rows.between(start, stop), pixels[start:stop])  # type: ignore[arg-type]
    assert rows.between(40, 41) is None


@pytest.mark.parametrize("heights", [(1,), (7,), (64,), (1, 20, 3)])
@pytest.mark.parametrize("reach", [0, 2, 10, 50])
def test_a_window_is_a_band_with_the_rows_around_it(heights: tuple[int, ...], reach: int) -> None:
    pixels = picture(37)
    row = 0
    for window in around(cut(pixels, *heights), reach):
        stop = row + window.band.stop - window.band.start
        assert np.array_equal(window.rows[window.band], pixels[row:stop])
        top = max(0, row - reach)
        assert np.array_equal(window.rows[max(0, window.band.start - reach) :], pixels[top : stop + reach])
        assert len(window.rows) <= stop - row + 2 * reach
        row = stop
    assert row == 37


@pytest.mark.parametrize("heights", [(1,), (7,), (64,), (1, 20, 3)])
def test_channels_of_two_pictures_are_joined_whatever_their_bands(heights: tuple[int, ...]) -> None:
    pixels = picture(37)
    result = np.concatenate(list(join(cut(pixels[..., :3], *heights), cut(pixels[..., 3:], 5, 9))))
    assert np.array_equal(result, pixels)


@pytest.mark.parametrize("rows", [30, 40])
def test_pictures_of_different_heights_are_not_joined(rows: int) -> None:
    with pytest.raises((AssertionError, ValueError)):
        list(join(cut(picture(37), 8), cut(picture(rows), 8)))


def test_shared_bands_may_be_read_in_any_order() -> None:
    pixels = picture(37)
    early, late = share(cut(pixels, 4), 2)
    first = [next(early), next(early)]
    assert np.array_equal(np.concatenate(list(late)), pixels)
    assert np.array_equal(np.concatenate([*first, *early]), pixels)


def test_readers_in_threads_of_their_own_have_all_bands() -> None:
    pixels = picture(500)
    results: list[list[Band]] = [[], [], []]
    readers = share(cut(pixels, 1), 3)
    threads = [threading.Thread(target=result.extend, args=(reader,)) for result, reader in zip(results, readers, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert all(np.array_equal(np.concatenate(result), pixels) for result in results)


def remembered(alive: list[weakref.ref[Band]]) -> Bands:
    """Bands without end, of which one can tell which are still held."""

    def band() -> Band:
        pixels = picture(2).copy()
        alive.append(weakref.ref(pixels))
        return pixels

    while True:
        yield band()


def living(alive: list[weakref.ref[Band]]) -> int:
    return sum(reference() is not None for reference in alive)


def test_shared_bands_are_kept_only_for_readers_that_are_behind() -> None:
    alive: list[weakref.ref[Band]] = []
    first, second = share(remembered(alive), 2)
    for _ in range(10):
        next(first)
    assert living(alive) == 10
    for _ in range(7):
        next(second)
    assert living(alive) == 3
    del second  # given up
    for _ in range(10):
        next(first)
    assert living(alive) == 0


@pytest.mark.parametrize("error", [ValueError("damaged"), KeyboardInterrupt()])
def test_an_error_of_the_source_reaches_every_reader_after_the_bands_before_it(error: BaseException) -> None:
    def source() -> Bands:
        yield picture(2)
        raise error

    for reader in share(source(), 2):
        assert np.array_equal(next(reader), picture(2))
        with pytest.raises(type(error)):
            next(reader)


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_bands_come_from_another_thread_in_order_and_not_too_many_ahead(depth: int) -> None:
    made: list[int] = []
    here = threading.get_ident()

    def source() -> Bands:
        for number in range(20):
            assert threading.get_ident() != here
            made.append(number)
            yield picture(number + 1)

    result = ahead(source(), depth)
    for taken in range(1, 21):
        assert np.array_equal(next(result), picture(taken))
        assert until(lambda taken=taken: len(made) == min(20, taken + depth))  # type: ignore[misc]
    assert next(result, None) is None
    assert workers() == []


def test_no_more_bands_are_computed_than_may_be_ahead() -> None:
    made: list[int] = []

    def source() -> Bands:
        for number in range(20):
            made.append(number)
            yield picture(2)

    with closing(ahead(source(), 2)) as result:
        next(result)
        assert until(lambda: len(made) == 3)
        time.sleep(0.05)
        assert len(made) == 3


@pytest.mark.parametrize("error", [ValueError("damaged"), KeyboardInterrupt()])
def test_an_error_comes_in_its_turn(error: BaseException) -> None:
    def source() -> Bands:
        yield picture(2)
        yield picture(3)
        raise error

    result = ahead(source())
    assert [len(next(result)), len(next(result))] == [2, 3]
    with pytest.raises(type(error)) as caught:
        next(result)
    assert caught.value is error
    assert workers() == []


class Source:
    """Bands without end that tell when they are closed."""

    def __init__(self) -> None:
        self.closed = threading.Event()

    def bands(self) -> Bands:
        try:
            while True:
                yield picture(2)
        finally:
            self.closed.set()


def test_closing_ends_the_thread_and_closes_the_source() -> None:
    source = Source()
    with closing(ahead(source.bands())) as result:
        next(result)
        assert len(workers()) == 1
    assert workers() == []
    assert source.closed.is_set()


def test_what_is_ahead_of_something_ahead_ends_too() -> None:
    source = Source()
    with closing(ahead(exactly(ahead(source.bands()), 3))) as result:
        next(result)
        assert len(workers()) == 2
    assert source.closed.wait(10)
    assert until(lambda: workers() == [])


def test_forgetting_the_bands_ends_the_thread() -> None:
    source = Source()
    result = ahead(source.bands())
    next(result)
    del result
    gc.collect()
    assert source.closed.is_set()
    assert workers() == []


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_of_who_takes_the_bands_ends_the_thread(error: type[BaseException]) -> None:
    source = Source()

    def take() -> None:
        for _ in ahead(source.bands()):
            raise error

    with pytest.raises(error):
        take()
    assert source.closed.wait(10)
    assert until(lambda: workers() == [])


def test_a_band_that_takes_long_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bands, "_PATIENCE", 0.05)
    going_on, closed = threading.Event(), threading.Event()

    def source() -> Bands:
        try:
            yield picture(2)
            going_on.wait(10)
            yield picture(2)
        finally:
            closed.set()

    begin = time.monotonic()
    with closing(ahead(source())) as result:
        next(result)
    assert time.monotonic() - begin < 5
    assert not closed.is_set()
    going_on.set()
    assert closed.wait(10)  # then the thread ends by itself
    assert until(lambda: workers() == [])


def test_a_signal_is_heard_while_a_band_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    class Heard(BaseException):
        pass

    def handler(number: int, frame: object) -> None:
        raise Heard

    monkeypatch.setattr(bands, "_PATIENCE", 0.05)
    going_on = threading.Event()

    def source() -> Bands:
        os.kill(os.getpid(), signal.SIGUSR1)
        going_on.wait(10)
        yield picture(2)

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with pytest.raises(Heard):
            next(ahead(source()))
    finally:
        going_on.set()
        signal.signal(signal.SIGUSR1, before)
    assert until(lambda: workers() == [])


def test_a_band_that_never_comes_does_not_keep_the_process() -> None:
    code = """
import threading
import numpy as np
from gantool.bands import ahead

def source():
    yield np.zeros((1, 1, 1), np.uint8)
    threading.Event().wait()

result = ahead(source())
next(result)
raise SystemExit(7)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (7, b"")


def test_no_part_of_the_way_needs_torch() -> None:
    code = "import sys, gantool.bands, gantool.resizing, gantool.transparency; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
