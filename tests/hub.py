"""A small Hub on 127.0.0.1 for the real client, with the faults that real networks and hubs have."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

REPO = "someone/models"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass(frozen=True)
class Request:
    """One request as it came."""

    method: str
    path: str
    range: str | None


@dataclass
class Hub:
    """What the server has and how it misbehaves; change it at any time.

    Attributes:
        repo: the only one that it has.
        files: name -> content, all at `COMMIT` of the repo.
        large: whether the files lie in LFS, so that the Hub tells their sha256.
        statuses: answered to the next requests, one each, before all goes well.
        always: answered to every request.
        sent: content sent instead of the true one, for this many bodies.
        cut: bodies that end after so many bytes; `cuts` of them.
        headers: replace or add to those of HEAD.
        hangs: whether HEAD is never answered.
        ranges: whether a part can be asked for.
        redirect: answered to requests for files, with {path} for theirs.
        pause: seconds before a body.
        pace: seconds after each quarter of a body.
    """

    port: int = 0
    repo: str = REPO
    files: dict[str, bytes] = field(default_factory=dict)
    large: bool = True
    statuses: list[int] = field(default_factory=list)
    always: int | None = None
    sent: list[bytes] = field(default_factory=list)
    cut: int = 0
    cuts: int = 0
    ranges: bool = True
    headers: dict[str, str] = field(default_factory=dict)
    hangs: bool = False
    redirect: str = ""
    pause: float = 0.0
    pace: float = 0.0
    requests: list[Request] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def count(self, method: str, part: str = "/resolve/") -> int:
        """Return how many requests of a kind came."""
        return sum(request.method == method and part in request.path for request in self.requests)


@contextmanager
def serve() -> Iterator[Hub]:
    """Run a Hub until the block ends."""
    hub = Hub()

    class Bound(_Handler):
        state = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
    server.daemon_threads = True
    hub.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    state: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""

    def do_HEAD(self) -> None:  # noqa: N802
        self._answer(body=False)

    def do_GET(self) -> None:  # noqa: N802
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        hub, path = self.state, unquote(urlsplit(self.path).path)
        hub.requests.append(Request(self.command, path, self.headers.get("Range")))
        status = hub.always or (hub.statuses.pop(0) if hub.statuses else None)
        if status:
            return self._send(status, {}, b"")
        if hub.hangs:
            hub.closing.wait(30)
            self.close_connection = True
            return None
        if path.startswith("/api/models/"):
            return self._describe(path.removeprefix("/api/models/"))
        return self._file(path.removeprefix("/moved"), path.startswith("/moved"), body)

    def _describe(self, path: str) -> None:
        repo, _, revision = path.partition("/revision/")
        if repo != self.state.repo:
            return self._send(404, {"X-Error-Code": "RepoNotFound"}, b"")
        if revision not in ("", "main", COMMIT):
            return self._send(404, {"X-Error-Code": "RevisionNotFound"}, b"")
        siblings = []
        for name, content in self.state.files.items():
            lfs = {"size": len(content), "sha256": sha256(content), "pointerSize": 134}
            siblings.append(
                {"rfilename": name, "size": len(content), "blobId": "0" * 40, **({"lfs": lfs} if self.state.large else {})}
            )
        answer = {
            "id": repo,
            "modelId": repo,
            "sha": COMMIT,
            "siblings": siblings,
            "tags": [],
            "downloads": 0,
            "private": False,
        }
        return self._send(200, {"Content-Type": "application/json"}, json.dumps(answer).encode())

    def _file(self, path: str, moved: bool, body: bool) -> None:
        hub = self.state
        repo, _, rest = path.lstrip("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        if repo != self.state.repo:
            return self._send(404, {"X-Error-Code": "RepoNotFound"}, b"")
        if revision not in ("main", COMMIT):
            return self._send(404, {"X-Error-Code": "RevisionNotFound"}, b"")
        if name not in hub.files:
            return self._send(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, b"")
        content = hub.files[name]
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{sha256(content)}"', "Accept-Ranges": "bytes"}
        if hub.redirect and not moved:
            return self._send(302, {**headers, "Location": hub.redirect.format(path=path), **hub.headers}, b"")
        if not body:
            return self._send(200, {**headers, **hub.headers}, content, body=False)
        return self._body(content, headers)

    def _body(self, content: bytes, headers: dict[str, str]) -> None:
        hub = self.state
        if hub.sent:
            content = hub.sent.pop(0)
        status, asked = 200, self.headers.get("Range")
        if hub.ranges and asked:
            start = int(asked.removeprefix("bytes=").partition("-")[0])
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            status, content = 206, content[start:]
        time.sleep(hub.pause)
        length = None
        if hub.cuts and hub.cut < len(content):
            hub.cuts -= 1
            length, content = len(content), content[: hub.cut]
            self.close_connection = True
        self._send(status, headers, content, length=length)

    def _send(self, status: int, headers: dict[str, str], content: bytes, body: bool = True, length: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        quarter = -(-len(content) // 4) if self.state.pace else len(content)
        for start in range(0, len(content) if body else 0, max(quarter, 1)):
            self.wfile.write(content[start : start + quarter])
            if self.state.pace and self.state.closing.wait(self.state.pace):
                return


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
