"""Fetching from the Hub: one file of one commit, checked against its sha256, never waiting without end.

Everything that needs the network and its client, apart from `weights.py`, which lists names and must not import them. The
client's own cache and environment are kept.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from huggingface_hub import HfApi, constants, get_session, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import logging as client_logging

from gantool import cache
from gantool.entries import COMMIT, FILE, SHA256, Entry
from gantool.errors import WeightsError, first_line, printable, say

T = TypeVar("T")

DEADLINE = 60.0  # seconds without a byte, after which a request is given up: the client alone can take 387
REPORT_EVERY = 10.0  # seconds
CHUNK = 1 << 18  # bytes after which the client writes what it has; its 10 MiB hide progress and are lost when cut
RETRIES = (1.0, 3.0)  # seconds before asking the Hub for a hash again
SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")  # what weights are named in repositories, the best first


@dataclass(frozen=True)
class Pin:
    """What makes a file on the Hub one certain file."""

    commit: str
    sha256: str
    file: str

    def valid(self) -> bool:
        """Return whether both hashes are complete and the name is plain."""
        plain = FILE.fullmatch(self.file) and ".." not in self.file
        return bool(COMMIT.fullmatch(self.commit) and SHA256.fullmatch(self.sha256) and plain)


def fetch(entry: Entry, offline: bool = False, option: str = "-m") -> Path:
    """Return a file of the Hub in the client's cache, downloaded if it is not there, with the right hash in any case.

    Args:
        entry: of weights.toml, or a reference to the Hub.
        offline: never ask the network.
        option: by which the user can name a file of his own instead.

    Raises:
        WeightsError: it cannot be had, or is not what it should be.
    """
    offline = offline or constants.HF_HUB_OFFLINE
    pin = known_pin(entry)
    if pin is None and offline:
        raise WeightsError(_absent(entry, option))
    asked = pin or _ask(entry, option)
    path = _checked(entry, asked, offline, option)
    if pin is None:
        cache.remember("pins.json", _key(entry), asdict(asked))
        where = printable(cache.folder() / "pins.json")
        say(f"{entry.name} is {entry.repo} at commit {asked.commit}, sha256 {asked.sha256}: remembered in {where}")
    return path


def cached(entry: Entry) -> Path | None:
    """Return where a file of the Hub lies in the cache, unchecked, or None."""
    pin = known_pin(entry)
    if pin is None or entry.repo is None:
        return None
    found = try_to_load_from_cache(entry.repo, pin.file, revision=pin.commit)
    return Path(found) if isinstance(found, str) else None


def known_pin(entry: Entry) -> Pin | None:
    """Return commit and hash from weights.toml, or those that the Hub once told."""
    if entry.sha256:
        return Pin(entry.revision or "", entry.sha256, entry.file or "")
    found = cache.recall("pins.json").get(_key(entry))
    if not isinstance(found, dict) or found.keys() != {"commit", "sha256", "file"}:
        return None
    pin = Pin(**{name: str(value) for name, value in found.items()})
    return pin if pin.valid() else None


def _key(entry: Entry) -> str:
    return f"{entry.repo}@{entry.revision or 'main'}:{entry.file or ''}"


def _ask(entry: Entry, option: str) -> Pin:
    """Ask the Hub for commit and hash.

    Raises:
        WeightsError: it does not answer, does not have the file, or does not tell both.
    """
    repo, api = str(entry.repo), HfApi()
    timeout = constants.HF_HUB_ETAG_TIMEOUT
    info = _guarded(
        lambda: _patiently(lambda: api.model_info(repo, revision=entry.revision, files_metadata=True, timeout=timeout)),
        entry,
        option,
    )
    files = {str(sibling.rfilename): sibling.lfs for sibling in info.siblings or []}
    file = entry.file or _only_weights(entry, list(files))
    if file not in files:
        raise WeightsError(f"{entry.name} is not in {repo}: there is no {printable(file)}; there are {_names(list(files))}")
    lfs = files[file]
    pin = Pin(str(info.sha), str(lfs.sha256) if lfs else "", file)
    if not pin.valid():
        raise WeightsError(
            f"{entry.name} cannot be checked: the Hub tells no sha256 of {printable(file)} in {repo}; it is refused"
        )
    if COMMIT.fullmatch(entry.revision or "") and pin.commit != entry.revision:
        raise WeightsError(
            f"{entry.name} is refused: asked for commit {entry.revision} of {repo}, the Hub answered {pin.commit}"
        )
    return pin


def _patiently(call: Callable[[], T]) -> T:
    """Call again after a failure that may pass: anything but a refusal."""
    for seconds in RETRIES:
        try:
            return call()
        except Exception as error:
            if isinstance(error, HfHubHTTPError) and error.response.status_code < 500 and error.response.status_code != 429:
                raise
            time.sleep(seconds)
    return call()


def _only_weights(entry: Entry, files: list[str]) -> str:
    """Return the file that a repository can only mean."""
    for suffix in SUFFIXES:
        found = [file for file in files if file.endswith(suffix)]
        if len(found) == 1 or f"model{suffix}" in found:
            return found[0] if len(found) == 1 else f"model{suffix}"
        if found:
            raise WeightsError(
                f"{entry.name} holds several models, {_names(found)}: name one as {entry.repo}:{printable(found[0])}"
            )
    raise WeightsError(f"{entry.name} holds no weights: it has {_names(files)}, none of them ends in {' '.join(SUFFIXES)}")


def _names(files: list[str]) -> str:
    return ", ".join(printable(file)[:80] for file in files[:5]) + ", ..." * (len(files) > 5) if files else "no files"


def _checked(entry: Entry, pin: Pin, offline: bool, option: str) -> Path:
    """Return the file with the right hash; a wrong one is removed from the cache and fetched once more."""
    found = ""
    for _ in range(1 if offline else 2):
        path = _download(entry, pin, offline, option)
        stamp = cache.stamp(path)
        found = cache.sha256(path)
        if found == pin.sha256:
            return path
        if not offline and cache.stamp(path) == stamp:  # another process may have put a good one there meanwhile
            path.resolve().unlink(missing_ok=True)
            path.unlink(missing_ok=True)
    said = "weights.toml" if entry.sha256 else "the Hub"
    remedy = "run again with a network" if offline else "it was removed; somebody changed it, tell those who publish it"
    raise WeightsError(f"sha256 of {entry.name} ({pin.file} of {entry.repo}) is {found}, {said} says {pin.sha256}: {remedy}")


def _download(entry: Entry, pin: Pin, offline: bool, option: str) -> Path:
    """Return where the file lies in the cache; the client, which always asks the network for something, only fetches."""
    repo, root = str(entry.repo), Path(constants.HF_HUB_CACHE).resolve()
    found = try_to_load_from_cache(repo, pin.file, revision=pin.commit)
    if not isinstance(found, str):
        if offline:
            raise WeightsError(_absent(entry, option))
        found = _guarded(lambda: hf_hub_download(repo, pin.file, revision=pin.commit), entry, option)
    path = Path(found)
    if pin.commit not in path.parts or not path.resolve().is_relative_to(root):
        raise WeightsError(
            f"{entry.name} is refused: the Hub answered with another commit of {repo}, or a file outside the cache"
        )
    return path


def _guarded(call: Callable[[], T], entry: Entry, option: str) -> T:
    """Return what a call of the client returns, but wait no longer than makes sense, and say what went wrong.

    Raises:
        WeightsError: the call failed, or nothing arrived for `DEADLINE` seconds.
    """
    results: list[T] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            with _civil_client():
                results.append(call())
        except Exception as error:  # the client and what is below it raise a hundred kinds
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)  # abandoned if it hangs: nothing can stop it
    thread.start()
    _wait(thread, entry, option)
    if errors:
        raise WeightsError(_failure(entry, _cause(errors[0]), option)) from errors[0]
    return results[0]


def _wait(thread: threading.Thread, entry: Entry, option: str) -> None:
    begin = heard = reported = time.monotonic()
    most = 0
    while thread.is_alive():
        thread.join(min(1.0, REPORT_EVERY, DEADLINE))
        now = time.monotonic()
        received = _received(entry)
        if received > most:
            most, heard = received, now
        if now - heard > DEADLINE and thread.is_alive():
            raise WeightsError(_failure(entry, f"nothing came for {DEADLINE:.0f} seconds", option))
        if now - reported >= REPORT_EVERY and thread.is_alive():
            reported = now
            say(f"{entry.name}: waiting for {entry.repo} for {now - begin:.0f} s, {received / 2**20:.1f} MiB received")


def _received(entry: Entry) -> int:
    """Return how much of a file has come, whichever process fetches it."""
    sizes = [0]
    for path in (Path(constants.HF_HUB_CACHE) / f"models--{str(entry.repo).replace('/', '--')}" / "blobs").glob("*.incomplete"):
        with suppress(OSError):
            sizes.append(path.stat().st_size)
    return max(sizes)


class _Response(Protocol):
    """What is looked at in an answer of whatever HTTP library the client uses."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Return the headers, by name in any case."""
        ...


def _refuse_paths(response: _Response) -> None:
    """Refuse an answer whose headers would become paths outside the cache."""
    for name in ("ETag", "X-Linked-Etag", "X-Repo-Commit"):
        value = response.headers.get(name, "").removeprefix("W/")
        if "/" in value or "\\" in value or ".." in value:
            raise ValueError(f"its answer is refused, as the {name} header holds a path, {printable(value)[:80]}")


@contextmanager
def _civil_client() -> Iterator[None]:
    """Make the client write often, refuse paths in headers, and keep its many lines of warnings to itself."""
    constants.DOWNLOAD_CHUNK_SIZE = min(constants.DOWNLOAD_CHUNK_SIZE, CHUNK)
    session = get_session()
    hooks = session.event_hooks
    if _refuse_paths not in hooks["response"]:
        session.event_hooks = {**hooks, "response": [*hooks["response"], _refuse_paths]}
    level = client_logging.get_verbosity()
    client_logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        client_logging.set_verbosity(level)


def _absent(entry: Entry, option: str) -> str:
    return (
        f"{entry.name} is not in the cache ({printable(constants.HF_HUB_CACHE)}) and the network is not to be used: "
        f"run `gantool models download {entry.name}` where there is one, or name a local file with {option}"
    )


def _failure(entry: Entry, cause: str, option: str) -> str:
    remedy = f"try again, check network and proxy, or name a local file with {option}"
    return f"{entry.name} cannot be fetched from {entry.repo}: {cause}; {remedy}"


def _cause(error: BaseException) -> str:
    """Return what really happened, which the client hides behind its last words."""
    if isinstance(error, LocalEntryNotFoundError | ValueError) and error.__cause__:
        return _cause(error.__cause__)
    if isinstance(error, GatedRepoError):
        return "it is gated; ask its owners for access and set HF_TOKEN"
    if isinstance(error, RepositoryNotFoundError):
        return "there is no such repository, or it is private and HF_TOKEN is not set"
    if isinstance(error, RevisionNotFoundError):
        return "there is no such revision"
    if isinstance(error, EntryNotFoundError):
        return "there is no such file in it"
    if isinstance(error, HfHubHTTPError):
        return f"the Hub answered {error.response.status_code}"
    return first_line(error)
