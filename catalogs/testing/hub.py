"""A Hub on the loopback interface that the real `huggingface_hub` client talks to.

    with HubServer() as hub, hub.client():
        publish(catalog, "me/corpus")
        hub.files("me/corpus")

It speaks the part of the API that uploads and downloads need: accounts, repositories, uploads of
small and large files (in one piece or in parts), commits, listings and ranged downloads. Like the
real one it keeps large files on another host than the API, so a client that sent its token there
would be seen. `fail` makes any step go wrong, as networks do.

Xet storage is not spoken; `client()` turns it off, and the client falls back to plain LFS.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

from catalogs.testing.hub_repos import BlobStore, Repo, RepoError

__all__ = ["HubRequest", "HubServer"]

_LICENCES = re.compile(
    r"(cc|mit|apache|bsd|gpl|lgpl|agpl|mpl|odc|odbl|cdla|other|unknown)[a-z0-9.-]*"
)


@dataclass(frozen=True, slots=True)
class HubRequest:
    """A request that was received; `step` is the name that `HubServer.fail` takes."""

    step: str
    method: str
    path: str
    authorised: bool
    range: str | None


@dataclass
class _Failure:
    """What `HubServer.fail` asked for: skip `after` requests, then spoil `times` of them."""

    status: int | None
    after: int
    times: int


@dataclass
class _Hold:
    """What `HubServer.hold` asked for: whether a request has come, and whether it may go."""

    reached: threading.Event = field(default_factory=threading.Event)
    dropped: threading.Event = field(default_factory=threading.Event)


class HubServer:
    """A Hub with one user, empty at first. Use it as a context manager.

    `part_bytes` makes large files be sent in parts of that size; `page` is the length of a page
    of a tree listing.
    """

    def __init__(
        self,
        *,
        user: str = "me",
        token: str = "hf_loopback",
        part_bytes: int | None = None,
        page: int = 1000,
    ):
        self.user = user
        self.token = token
        self.part_bytes = part_bytes
        self.page = page
        self.requests: list[HubRequest] = []
        self.repos: dict[tuple[str, str], Repo] = {}
        self.lock = threading.RLock()
        self._failures: dict[str, _Failure] = {}
        self._holds: dict[str, _Hold] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="loopback-hub-")
        self.store = BlobStore(Path(self._folder.name) / "blobs")
        self._servers = [self._bind(_Api), self._bind(_Files)]
        self.endpoint, self.file_host = (
            f"http://127.0.0.1:{server.server_address[1]}" for server in self._servers
        )

    def _bind(self, handler: type[_Handler]) -> ThreadingHTTPServer:
        bound = type(handler.__name__, (handler,), {"hub": self})
        server = ThreadingHTTPServer(("127.0.0.1", 0), bound)
        server.daemon_threads = True
        return server

    def __enter__(self) -> HubServer:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()
        self._folder.cleanup()

    # -- for tests -------------------------------------------------------------------------

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that make a process use this Hub as its user."""
        return {"HF_ENDPOINT": self.endpoint, "HF_TOKEN": self.token, "HF_HUB_DISABLE_XET": "1"}

    @contextlib.contextmanager
    def client(self) -> Iterator[None]:
        """Make `huggingface_hub` in this process use this Hub as its user."""
        before = {name: os.environ.get(name) for name in self.environment}
        os.environ.update(self.environment)
        constants: Any = __import__("huggingface_hub.constants", fromlist=["constants"])
        xet = constants.HF_HUB_DISABLE_XET
        constants.HF_HUB_DISABLE_XET = True
        try:
            yield
        finally:
            constants.HF_HUB_DISABLE_XET = xet
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name)
                else:
                    os.environ[name] = value

    def repo(self, repo_id: str, kind: str = "dataset") -> Repo:
        """A repository by its id; `kind` is model or dataset."""
        if (kind, repo_id) not in self.repos:
            raise RepoError(404, "RepoNotFound", f"no {kind} {repo_id}")
        return self.repos[kind, repo_id]

    def files(self, repo_id: str, kind: str = "dataset") -> dict[str, bytes]:
        """What a repository holds now, by path."""
        files = self.repo(repo_id, kind).head.files
        return {path: self.store.read(entry.identity) for path, entry in sorted(files.items())}

    def fail(self, step: str, *, status: int | None = None, after: int = 0, times: int = 1) -> None:
        """Spoil the next `times` requests of a step, once `after` of them went well.

        With a `status` they are answered with it, else the connection is cut half way. Steps:
        whoami, create, yaml, info, tree, paths, preupload, batch, upload, part, complete, verify,
        commit, head, resolve, download.
        """
        self._failures[step] = _Failure(status, after, times)

    def hold(self, step: str) -> None:
        """Keep the requests of a step waiting until `drop_held`."""
        self._holds[step] = _Hold()

    def wait_until_held(self, step: str, *, timeout_s: float) -> None:
        """Return once a request of a held step has come."""
        if not self._holds[step].reached.wait(timeout_s):
            raise TimeoutError(f"no {step} request came within {timeout_s} s")

    def drop_held(self, step: str) -> None:
        """Drop the connections of held requests, unanswered and without effect."""
        self._holds.pop(step).dropped.set()

    def count(self, step: str) -> int:
        """How many requests of a step were received."""
        return sum(request.step == step for request in self.requests)

    # -- for the handlers --------------------------------------------------------------------

    def held(self, step: str) -> bool:
        """Wait here if the step is held; True when the request is to be dropped."""
        hold = self._holds.get(step)
        if hold is None:
            return False
        hold.reached.set()
        return hold.dropped.wait()

    def spoiled(self, step: str) -> _Failure | None:
        """The failure that is due for a request of this step, if any."""
        with self.lock:
            failure = self._failures.get(step)
            if failure is None or failure.times == 0:
                return None
            if failure.after:
                failure.after -= 1
                return None
            failure.times -= 1
            return failure


class _CutError(Exception):
    """The connection is to be dropped without an answer."""


class _Handler(BaseHTTPRequestHandler):
    """Routes requests to methods by `routes`: (method, pattern, step, name of the method)."""

    protocol_version = "HTTP/1.1"
    hub: ClassVar[HubServer]
    routes: ClassVar[tuple[tuple[str, str, str, str], ...]] = ()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Keep the test's output clean."""

    def handle_one_request(self) -> None:
        with contextlib.suppress(ConnectionError, _CutError):
            super().handle_one_request()
            return
        self.close_connection = True

    def _dispatch(self) -> None:
        url = urlsplit(self.path)
        self.query = {key: values[0] for key, values in parse_qs(url.query).items()}
        for method, pattern, step, name in self.routes:
            match = re.fullmatch(pattern, url.path)
            if method == self.command and match:
                self._serve(step, name, {k: unquote(v or "") for k, v in match.groupdict().items()})
                return
        self._body()
        self.answer(501, {"error": f"{self.command} {url.path} is not spoken here"})

    do_GET = do_HEAD = do_POST = do_PUT = _dispatch  # noqa: N815

    def _serve(self, step: str, name: str, values: dict[str, str]) -> None:
        self.body = self._body()
        seen = HubRequest(step, self.command, self.path, self.authorised, self.headers["Range"])
        self.hub.requests.append(seen)
        self.failure = self.hub.spoiled(step)
        if self.hub.held(step):
            raise _CutError
        if self.failure and self.failure.status:
            self.answer(self.failure.status, {"error": "out of order"}, {"Retry-After": "0"})
        elif self.failure and step != "download":
            raise _CutError
        else:
            try:
                with self.hub.lock:
                    getattr(self, name)(**values)
            except RepoError as error:
                self.answer(error.status, {"error": str(error)}, {"X-Error-Code": error.code})

    @property
    def authorised(self) -> bool:
        return self.headers["Authorization"] == f"Bearer {self.hub.token}"

    def _body(self) -> bytes:
        if self.headers["Transfer-Encoding"] == "chunked":
            pieces = []
            while size := int(self.rfile.readline(), 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)
        return self.rfile.read(int(self.headers["Content-Length"] or 0))

    def answer(
        self, status: int, body: Any = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        """Send an answer; anything but bytes becomes JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


_ID = r"(?P<repo_id>[^/]+/[^/]+?)"
_KIND = r"/api/(?P<kind>model|dataset)s/" + _ID
_PLAIN = r"/(?P<kind>datasets/|)" + _ID


class _Api(_Handler):
    """The Hub's own host: everything but the bytes of large files."""

    routes = (
        ("GET", r"/api/whoami-v2", "whoami", "whoami"),
        ("POST", r"/api/validate-yaml", "yaml", "validate_yaml"),
        ("POST", r"/api/repos/create", "create", "create"),
        ("GET", _KIND, "info", "info"),
        ("GET", _KIND + r"/revision/(?P<revision>[^/]+)", "info", "info"),
        ("GET", _KIND + r"/tree/(?P<revision>[^/]+)(?P<below>/.*)?", "tree", "tree"),
        ("POST", _KIND + r"/paths-info/(?P<revision>[^/]+)", "paths", "paths_info"),
        ("POST", _KIND + r"/preupload/(?P<revision>[^/]+)", "preupload", "preupload"),
        ("POST", _KIND + r"/commit/(?P<revision>[^/]+)", "commit", "commit"),
        ("POST", _PLAIN + r"\.git/info/lfs/objects/batch", "batch", "batch"),
        ("POST", r"/verify", "verify", "verify"),
        ("HEAD", _PLAIN + r"/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "head", "resolve"),
        ("GET", _PLAIN + r"/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "resolve", "resolve"),
    )

    def _writable(self) -> None:
        if not self.authorised:
            raise RepoError(401, "Unauthorized", "Invalid username or password.")

    def _repo(self, kind: str, repo_id: str) -> Repo:
        repo = self.hub.repo(repo_id, "dataset" if kind.startswith("dataset") else "model")
        if repo.private and not self.authorised:
            raise RepoError(401, "RepoNotFound", "Repository not found")
        return repo

    def whoami(self) -> None:
        self._writable()
        self.answer(200, {"type": "user", "name": self.hub.user, "orgs": []})

    def validate_yaml(self) -> None:
        text = json.loads(self.body)["content"]
        front = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
        problems = []
        try:
            data = yaml.safe_load(front.group(1)) if front else {}
            licences = data.get("license", "other")
            problems += [
                {"message": f'"license" must be one of the list, not {name}'}
                for name in (licences if isinstance(licences, list) else [licences])
                if not _LICENCES.fullmatch(str(name))
            ]
        except yaml.YAMLError as error:
            problems.append({"message": str(error)})
        self.answer(400 if problems else 200, {"errors": problems, "warnings": []})

    def create(self) -> None:
        self._writable()
        wish = json.loads(self.body)
        kind = wish.get("type") or "model"
        name = f"{wish.get('organization') or self.hub.user}/{wish['name']}"
        url = f"{self.hub.endpoint}/{'datasets/' if kind == 'dataset' else ''}{name}"
        if (kind, name) in self.hub.repos:
            self.answer(409, {"error": "You already created this repo", "url": url})
            return
        private = wish.get("private") or wish.get("visibility") == "private"
        self.hub.repos[kind, name] = Repo(kind, name, bool(private), self.hub.store)
        self.answer(200, {"url": url, "name": name})

    def info(self, kind: str, repo_id: str, revision: str = "main") -> None:
        repo = self._repo(kind, repo_id)
        commit = repo.at(revision)
        siblings = [{"rfilename": path} for path in sorted(commit.files)]
        about = {"id": repo_id, "sha": commit.oid, "private": repo.private, "siblings": siblings}
        self.answer(200, about | {"tags": [], "downloads": 0, "likes": 0, "disabled": False})

    def tree(self, kind: str, repo_id: str, revision: str, below: str = "") -> None:
        commit = self._repo(kind, repo_id).at(revision)
        prefix = below.strip("/") + "/" if below.strip("/") else ""
        paths = [path for path in sorted(commit.files) if path.startswith(prefix)]
        if self.query.get("recursive", "").lower() != "true":
            paths = [path for path in paths if "/" not in path.removeprefix(prefix)]
        start = int(self.query.get("cursor", 0))
        page = paths[start : start + self.hub.page]
        headers = {}
        if start + self.hub.page < len(paths):
            here = self.hub.endpoint + urlsplit(self.path).path
            cursor = start + self.hub.page
            headers["Link"] = f'<{here}?recursive=true&cursor={cursor}>; rel="next"'
        self.answer(200, [commit.files[path].described(path) for path in page], headers)

    def paths_info(self, kind: str, repo_id: str, revision: str) -> None:
        files = self._repo(kind, repo_id).at(revision).files
        wanted = json.loads(self.body)["paths"]
        self.answer(200, [files[path].described(path) for path in wanted if path in files])

    def preupload(self, kind: str, repo_id: str, revision: str) -> None:
        self._writable()
        files = json.loads(self.body)["files"]
        self.answer(200, {"files": self._repo(kind, repo_id).preupload(files)})

    def commit(self, kind: str, repo_id: str, revision: str) -> None:
        self._writable()
        lines = [json.loads(line) for line in self.body.splitlines() if line]
        commit = self._repo(kind, repo_id).commit(lines)
        url = f"{self.hub.endpoint}/{repo_id}/commit/{commit.oid}"
        self.answer(200, {"success": True, "commitOid": commit.oid, "commitUrl": url})

    def batch(self, kind: str, repo_id: str) -> None:
        self._writable()
        self._repo(kind, repo_id)
        objects = [self._instructions(wish) for wish in json.loads(self.body)["objects"]]
        self.answer(200, {"transfer": "basic", "objects": objects})

    def _instructions(self, wish: dict[str, Any]) -> dict[str, Any]:
        oid, size = wish["oid"], wish["size"]
        if self.hub.store.has(oid):
            return {"oid": oid, "size": size}
        upload: dict[str, Any] = {"href": f"{self.hub.file_host}/upload/{oid}"}
        if self.hub.part_bytes and size > self.hub.part_bytes:
            parts = -(-size // self.hub.part_bytes)
            upload = {
                "href": f"{self.hub.file_host}/complete/{oid}",
                "header": {
                    "chunk_size": str(self.hub.part_bytes),
                    **{str(n): f"{self.hub.file_host}/part/{oid}/{n}" for n in range(1, parts + 1)},
                },
            }
        verify = {"href": f"{self.hub.endpoint}/verify"}
        return {"oid": oid, "size": size, "actions": {"upload": upload, "verify": verify}}

    def verify(self) -> None:
        known = self.hub.store.has(json.loads(self.body)["oid"])
        self.answer(200 if known else 404, {})

    def resolve(self, kind: str, repo_id: str, revision: str, path: str) -> None:
        commit, entry = self._repo(kind, repo_id).entry(revision, path)
        headers = {"X-Repo-Commit": commit.oid, "ETag": f'"{entry.identity}"'}
        if entry.sha256 is None:
            _send_file(self, self.hub.store.read(entry.oid), headers)
            return
        headers |= {"X-Linked-Etag": f'"{entry.sha256}"', "X-Linked-Size": str(entry.size)}
        headers["Location"] = f"{self.hub.file_host}/download/{entry.sha256}"
        self.answer(302, b"", headers)


class _Files(_Handler):
    """The host of large files, addressed by signed links that need no token."""

    routes = (
        ("PUT", r"/upload/(?P<oid>[0-9a-f]{64})", "upload", "upload"),
        ("PUT", r"/part/(?P<oid>[0-9a-f]{64})/(?P<number>\d+)", "part", "part"),
        ("POST", r"/complete/(?P<oid>[0-9a-f]{64})", "complete", "complete"),
        ("GET", r"/download/(?P<oid>[0-9a-f]{64})", "download", "download"),
    )

    def upload(self, oid: str) -> None:
        self._keep(oid, self.body)

    def part(self, oid: str, number: str) -> None:
        self.hub.store.write(f"{oid}.part{number}", self.body)
        self.answer(200, b"", {"ETag": f'"{hashlib.md5(self.body).hexdigest()}"'})

    def complete(self, oid: str) -> None:
        numbers = [part["partNumber"] for part in json.loads(self.body)["parts"]]
        self._keep(oid, b"".join(self.hub.store.read(f"{oid}.part{n}") for n in sorted(numbers)))

    def _keep(self, oid: str, data: bytes) -> None:
        if hashlib.sha256(data).hexdigest() != oid:
            raise RepoError(400, "BadDigest", "the content does not have the promised sha256")
        self.hub.store.write(oid, data)
        self.answer(200)

    def download(self, oid: str) -> None:
        _send_file(self, self.hub.store.read(oid), {"ETag": f'"{oid}"'})


def _send_file(handler: _Handler, data: bytes, headers: dict[str, str]) -> None:
    """Send a file or the range of it that was asked for; half of it when it is to be cut."""
    status = 200
    if wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", handler.headers["Range"] or ""):
        first, last = int(wanted[1]), int(wanted[2] or len(data) - 1)
        headers |= {"Content-Range": f"bytes {first}-{last}/{len(data)}"}
        status, data = 206, data[first : last + 1]
    if handler.failure is None:
        handler.answer(status, data, headers)
        return
    handler.send_response(status)
    for name, value in {**headers, "Content-Length": str(len(data))}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(data[: len(data) // 2])
    raise _CutError
