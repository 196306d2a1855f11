"""The real client of the Hub against a small Hub on 127.0.0.1, with everything that can go wrong between them."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hub import COMMIT, REPO, Hub, serve, sha256

CHECKOUT = Path(__file__).parents[1]
CONTENT = random.Random(1).randbytes(1_200_000)
CHANGED = CONTENT[:700_000] + bytes([CONTENT[700_000] ^ 1]) + CONTENT[700_001:]  # same size, one bit
SCRIPT = """
import sys
from gantool import hub
hub.DEADLINE, hub.REPORT_EVERY, hub.RETRIES = float(sys.argv.pop(1)), 1.0, (0.05, 0.05)
from gantool.cli import main
main()
"""


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str
    seconds: float


@dataclass
class User:
    """Somebody with a cache and a weights.toml of his own, who runs `gantool models` in a process."""

    hub: Hub
    home: Path
    table: dict[str, object]
    env: dict[str, str] = field(default_factory=dict)

    def write(self, **changes: object) -> None:
        """Change the entry; None removes a key."""
        self.table |= changes
        lines = [f"{key} = {json.dumps(value)}" for key, value in self.table.items() if value is not None]
        (self.home / "own.toml").write_text("[mine]\n" + "\n".join(lines))

    def start(self, *args: str, deadline: float) -> subprocess.Popen[str]:
        env = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "GANTOOL", "HUGGING"))}
        env |= {
            "PYTHONPATH": str(CHECKOUT), "HF_HOME": str(self.home / "hf"), "HF_ENDPOINT": self.hub.url, "NO_PROXY": "*",
            "HF_HUB_DOWNLOAD_TIMEOUT": "5", "HF_HUB_ETAG_TIMEOUT": "5", "GANTOOL_WEIGHTS": str(self.home / "own.toml"),
            **self.env,
        }  # fmt: skip
        command = [sys.executable, "-c", SCRIPT, str(deadline), "models", *args]
        return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *args: str, deadline: float = 30) -> Done:
        begin = time.monotonic()
        process = self.start(*args, deadline=deadline)
        out, err = process.communicate(timeout=100)
        return Done(process.returncode, out, err, time.monotonic() - begin)

    def download(self, *more: str, deadline: float = 30) -> Done:
        return self.run("download", "mine", *more, deadline=deadline)

    def blobs(self) -> list[Path]:
        return [path for path in (self.home / "hf" / "hub").glob("models--*/blobs/*") if path.is_file()]


@pytest.fixture
def user(tmp_path: Path) -> Iterator[User]:
    """A user whose entry names one file of the Hub, pinned."""
    with serve() as hub:
        hub.files["model.safetensors"] = CONTENT
        table = {
            "system": "span", "repo": REPO, "revision": COMMIT, "file": "model.safetensors",
            "sha256": sha256(CONTENT), "bytes": len(CONTENT),
        }  # fmt: skip
        somebody = User(hub, tmp_path, dict(table))
        somebody.write()
        yield somebody


def check_refused(done: Done, *words: str) -> None:
    """One sentence on standard error, status 3, nothing on standard output."""
    assert done.status == 3, done
    assert done.out == ""
    assert "Traceback" not in done.err
    for word in ("mine", *words):
        assert word in done.err, done.err
    lines = [line for line in done.err.splitlines() if "waiting for" not in line]
    assert len(lines) == 1, done.err


def check_fetched(user: User, done: Done) -> None:
    assert done.status == 0, done
    path = Path(done.out.strip())
    assert path.read_bytes() == CONTENT
    assert path.is_relative_to(user.home / "hf" / "hub")


def test_a_file_is_fetched_once_into_the_clients_own_cache(user: User) -> None:
    first = user.download()
    check_fetched(user, first)
    assert first.err == ""
    before = len(user.hub.requests)
    assert user.download().out == first.out
    assert len(user.hub.requests) == before


def test_listing_and_verifying_tell_what_is_cached(user: User) -> None:
    assert "not downloaded" in next(line for line in user.run("list").out.splitlines() if line.startswith("mine"))
    user.download()
    [row] = [row for row in map(json.loads, user.run("list", "--json").out.splitlines()) if row["name"] == "mine"]
    assert (row["state"], row["size"], row["system"]) == ("cached", len(CONTENT), "span")
    assert any(line.startswith("mine  ok") for line in user.run("verify").out.splitlines())
    user.blobs()[0].write_bytes(CHANGED)
    wrong = user.run("verify", "mine")
    assert (wrong.status, wrong.out[:11]) == (3, "mine  WRONG")


def test_a_cut_download_is_resumed_where_it_stopped(user: User) -> None:
    user.hub.cut, user.hub.cuts = 600_000, 1
    check_fetched(user, user.download())
    starts = [int(r.range.removeprefix("bytes=").rstrip("-")) for r in user.hub.requests if r.range]
    assert len(starts) == 1
    assert 262_144 <= starts[0] <= 600_000


def test_a_cut_download_starts_again_where_ranges_are_ignored(user: User) -> None:
    user.hub.cut, user.hub.cuts, user.hub.ranges = 600_000, 1, False
    check_fetched(user, user.download())


@pytest.mark.slow
def test_a_download_that_is_cut_for_ever_is_given_up(user: User) -> None:
    user.hub.cut, user.hub.cuts, user.hub.ranges = 600_000, 1000, False  # the client alone would never stop
    done = user.download(deadline=4)
    check_refused(done, REPO, "-m")
    assert done.seconds < 30
    assert [path for path in user.blobs() if path.suffix != ".incomplete"] == []


@pytest.mark.slow
def test_a_slow_download_may_take_longer_than_the_deadline(user: User) -> None:
    user.hub.pace = 2.0
    done = user.download(deadline=5)
    check_fetched(user, done)
    assert done.seconds > 5
    assert "MiB received" in done.err


def test_a_download_that_stalls_is_given_up(user: User) -> None:
    user.hub.pace = 30.0
    done = user.download(deadline=3)
    check_refused(done, "nothing came for 3 seconds")
    assert done.seconds < 20


def test_two_answers_of_503_are_outlived(user: User) -> None:
    user.hub.statuses = [503, 503]
    check_fetched(user, user.download())


def test_endless_503_is_given_up_at_the_deadline(user: User) -> None:
    user.hub.always = 503
    done = user.download(deadline=3)
    check_refused(done, REPO, "-m")
    assert done.seconds < 20


def test_a_hub_that_never_answers_is_given_up_with_a_line_now_and_then(user: User) -> None:
    user.hub.hangs = True
    done = user.download(deadline=3)
    check_refused(done, "nothing came for 3 seconds")
    assert done.err.count("waiting for") >= 1
    assert done.seconds < 20


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"repo": "someone/else"}, "no such repository"),
        ({"revision": "f" * 40}, "no such revision"),
        ({"file": "other.safetensors"}, "no such file"),
    ],
)
def test_what_is_not_there_is_named(user: User, changes: dict[str, object], cause: str) -> None:
    user.write(**changes)
    check_refused(user.download(), cause, str(changes.get("repo", REPO)))


@pytest.mark.parametrize("status", [401, 429, 503])
def test_a_refusal_of_the_hub_is_named_by_its_status(user: User, status: int) -> None:
    user.write(unpinned=True, sha256=None, bytes=None, revision=None)
    user.hub.always = status
    check_refused(user.download(), str(status))


def test_nobody_listening_is_said(user: User) -> None:
    user.env["HF_ENDPOINT"] = "http://127.0.0.1:9"
    user.write(unpinned=True, sha256=None, bytes=None, revision=None)
    check_refused(user.download(), "refused", REPO)


def test_a_login_page_is_not_taken_for_a_model(user: User) -> None:
    user.hub.headers = {"X-Repo-Commit": "", "ETag": ""}
    check_refused(user.download())
    assert user.blobs() == []


def test_wrong_bytes_of_the_right_size_are_removed_and_fetched_once_more(user: User) -> None:
    user.hub.sent = [CHANGED]
    check_fetched(user, user.download())
    assert user.hub.count("GET") == 2


def test_bytes_that_stay_wrong_are_refused_and_removed(user: User) -> None:
    user.hub.sent = [CHANGED] * 9
    check_refused(user.download(), "sha256", sha256(CHANGED), sha256(CONTENT))
    assert user.hub.count("GET") == 2
    assert user.blobs() == []


def test_a_damaged_file_in_the_cache_is_found_and_replaced(user: User) -> None:
    path = Path(user.download().out.strip())
    path.resolve().write_bytes(CHANGED)
    check_refused(user.download("--offline"), sha256(CHANGED), "network")
    check_fetched(user, user.download())


def test_offline_works_from_the_cache_and_only_from_it(user: User) -> None:
    missing = user.download("--offline")
    check_refused(missing, "cache", "gantool models download mine")
    assert user.hub.requests == []
    user.download()
    asked = len(user.hub.requests)
    check_fetched(user, user.download("--offline"))
    user.env["HF_HUB_OFFLINE"] = "1"
    check_fetched(user, user.download())
    assert len(user.hub.requests) == asked


def test_the_clients_offline_variable_is_kept(user: User) -> None:
    user.env["HF_HUB_OFFLINE"] = "1"
    check_refused(user.download(), "cache")
    assert user.hub.requests == []


def test_eight_processes_that_want_one_model_fetch_it_once(user: User) -> None:
    user.hub.pause = 1.0
    processes = [user.start("download", "mine", deadline=90) for _ in range(8)]
    ends = [(process.communicate(timeout=100), process.returncode) for process in processes]
    assert [status for _, status in ends] == [0] * 8, ends
    assert len({out for (out, _), _ in ends}) == 1
    assert user.hub.count("GET") == 1


def test_a_killed_download_does_not_harm_the_next(user: User) -> None:
    user.hub.pause = 3.0
    process = user.start("download", "mine", deadline=30)
    while not user.hub.count("GET"):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    user.hub.pause = 0.0
    check_fetched(user, user.download())


def test_an_unpinned_file_is_asked_for_once_checked_and_remembered(user: User) -> None:
    user.write(unpinned=True, sha256=None, bytes=None, revision=None)
    first = user.download()
    check_fetched(user, first)
    assert COMMIT in first.err
    assert sha256(CONTENT) in first.err
    assert "pins.json" in first.err
    assert user.hub.count("GET", "/api/models") == 1
    asked = len(user.hub.requests)
    user.hub.files["model.safetensors"] = CHANGED  # another version under the same name is not taken
    second = user.download()
    check_fetched(user, second)
    check_fetched(user, user.download("--offline"))
    assert second.err == ""
    assert len(user.hub.requests) == asked
    assert user.run("verify", "mine").status == 0


def test_an_unpinned_file_with_other_bytes_than_the_hub_says_is_refused(user: User) -> None:
    user.write(unpinned=True, sha256=None, bytes=None, revision=None)
    user.hub.sent = [CHANGED] * 9
    check_refused(user.download(), "the Hub says", sha256(CHANGED))
    assert not list(user.home.rglob("pins.json"))


def test_an_unpinned_file_without_a_hash_on_the_hub_is_refused_unfetched(user: User) -> None:
    user.write(unpinned=True, sha256=None, bytes=None, revision=None)
    user.hub.large = False
    check_refused(user.download(), "tells no sha256")
    assert user.hub.count("GET") == 0


@pytest.mark.parametrize(
    ("header", "value"),
    [("ETag", "W/../../../outside"), ("X-Linked-Etag", '"../../../../outside"'), ("X-Repo-Commit", "..\\..\\outside")],
)
def test_paths_in_headers_reach_nothing_outside_the_cache(user: User, header: str, value: str) -> None:
    user.hub.headers = {header: value}
    check_refused(user.download(), f"{header} header holds a path")
    assert not list(user.home.rglob("*outside*"))
    assert {path.name for path in user.home.iterdir()} <= {"own.toml", "hf"}


def test_another_commit_than_the_pinned_one_is_refused(user: User) -> None:
    user.hub.headers = {"X-Repo-Commit": "f" * 40}
    check_refused(user.download(), "another commit")


def test_a_redirect_is_followed_and_a_loop_is_not(user: User) -> None:
    user.hub.redirect = "/moved{path}"
    check_fetched(user, user.download())
    user.env["HF_HOME"] = str(user.home / "fresh")
    user.hub.redirect = "{path}"
    check_refused(user.download())


def test_a_cache_that_cannot_be_written_is_named(user: User) -> None:
    (user.home / "file").write_text("")
    user.env["HF_HOME"] = str(user.home / "file" / "hf")
    check_refused(user.download(), str(user.home / "file"))


def test_a_reference_to_the_hub_needs_no_entry(user: User) -> None:
    reference = f"{REPO}:model.safetensors"
    user.write(file="other.safetensors")  # so that the reference is not the entry's
    check_fetched(user, user.run("download", reference))
    check_fetched(user, user.run("download", REPO))
    check_fetched(user, user.run("download", f"{REPO}@{COMMIT}:model.safetensors"))
    user.env["HF_HOME"] = str(user.home / "fresh")
    user.hub.files = {"a.pth": b"1", "b.pth": b"2", "README.md": b"3"}
    several = user.run("download", f"{REPO}@main")
    assert several.status == 3
    assert "a.pth, b.pth" in several.err
    user.hub.files = {"README.md": b"3"}
    none = user.run("download", f"{REPO}@main")
    assert none.status == 3
    assert "holds no weights" in none.err
