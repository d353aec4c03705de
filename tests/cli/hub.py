"""A model hub on loopback: the listing of a repository, and its files with ranges. Just what `ponder pull` uses."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Serves `repositories` (name → folder). `log` has the requests.

    With `cut_after` the line breaks after so many bytes of a body, and at once where a range is asked for.
    """

    def __init__(self, repositories: dict[str, Path]) -> None:
        self.repositories = repositories
        self.cut_after: int | None = None
        self.claimed_sizes: dict[str, int] = {}
        self.damaged: set[str] = set()
        self.log: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub.answer(self)

            do_HEAD = do_GET

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.02}
        )
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.partition("?")[0]
        self.log.append(f"{request.command} {path} {request.headers.get('Range', '')}".strip())
        for name, folder in self.repositories.items():
            if path.startswith(f"/api/models/{name}"):
                return self._send(request, json.dumps(self._listing(name, folder)).encode())
            if path.startswith(f"/{name}/resolve/{COMMIT}/"):
                file = path.rpartition("/")[2]
                return self._file(request, folder / file)
        self._send(
            request, b"{}", 404, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "not found"}
        )

    def _listing(self, name: str, folder: Path) -> dict[str, Any]:
        siblings: list[dict[str, Any]] = []
        for path in sorted(folder.iterdir()):
            data = path.read_bytes()
            size = self.claimed_sizes.get(path.name, len(data))
            blob = hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()
            entry = {"rfilename": path.name, "size": size, "blobId": blob}
            if path.suffix in (".safetensors", ".bin"):
                digest = hashlib.sha256(data).hexdigest()
                entry["lfs"] = {"size": size, "sha256": digest, "pointerSize": 134}
            siblings.append(entry)
        return {"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings, "tags": []}

    def _file(self, request: BaseHTTPRequestHandler, path: Path) -> None:
        data = path.read_bytes()
        if path.name in self.damaged:
            data = bytes(len(data))
        start, status, headers = 0, 200, {"ETag": '"x"', "X-Repo-Commit": COMMIT}
        if wanted := request.headers.get("Range"):
            start = int(wanted.removeprefix("bytes=").split("-")[0])
            status = 206
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self._send(request, data[start:], status, headers)

    def _send(
        self,
        request: BaseHTTPRequestHandler,
        body: bytes,
        status: int = 200,
        headers: dict[str, str] | None = None,
    ) -> None:
        request.send_response(status)
        for name, value in (headers or {}).items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if request.command == "HEAD":
            return
        if self.cut_after is not None and (
            len(body) > self.cut_after or "Range" in request.headers
        ):
            request.wfile.write(body[: 0 if "Range" in request.headers else self.cut_after])
            request.wfile.flush()
            request.connection.shutdown(2)
            request.close_connection = True
            return
        request.wfile.write(body)
