"""A git-lfs server that does wrong what the test asks for, and notes what it was sent."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Faulty:
    """What the server holds, does wrong, and has seen."""

    content: bytes
    fault: str = ""
    elsewhere: str = ""
    """The URL of another server, for redirects."""
    url: str = ""
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    """Method, path and headers of each request."""

    kept: set[str] = field(default_factory=set)
    """What was uploaded."""

    def authorizations(self) -> set[str]:
        """What it was sent as credentials."""
        return {headers["authorization"] for _, _, headers in self.seen if "authorization" in headers}


@contextmanager
def serving(content: bytes) -> Iterator[Faulty]:
    """The server, until the block ends."""
    state = Faulty(content)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

        def do_POST(self) -> None:
            self._note()
            asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
            if self.path.startswith("/verify"):
                _send(self, 422, b"{}")
            else:
                _batch(self, state, asked)

        def do_GET(self) -> None:
            self._note()
            _download(self, state)

        def do_PUT(self) -> None:
            self._note()
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            first = sum(method == "PUT" for method, _, _ in state.seen) == 1
            code = int(re.sub(r"\D", "", state.fault) or 200)
            code = code if first or not state.fault.endswith("-once") else 200
            if code == 200:
                state.kept.add(self.path.rpartition("/")[2])
            _send(self, code, b"{}", Retry_After="1")

        def _note(self) -> None:
            headers = {key.lower(): value for key, value in self.headers.items()}
            state.seen.append((self.command, self.path, headers))

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        state.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield state
        finally:
            server.shutdown()


def _send(request: BaseHTTPRequestHandler, code: int, body: bytes, **headers: str) -> None:
    request.send_response(code)
    for key, value in {"Content-Type": "application/vnd.git-lfs+json", **headers}.items():
        request.send_header(key.replace("_", "-"), value)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)


def _batch(request: BaseHTTPRequestHandler, state: Faulty, asked: dict[str, Any]) -> None:
    fault = state.fault
    if fault == "batch-html":
        _send(request, 200, b"<html>please sign in</html>", Content_Type="text/html")
    elif fault == "batch-500":
        _send(request, 500, b"{}")
    elif fault == "batch-401":
        _send(request, 401, b"{}", LFS_Authenticate='Basic realm="x"')
    elif fault == "batch-redirect":
        _send(request, 307, b"", Location=state.elsewhere + request.path)
    elif fault == "batch-429" and sum(method == "POST" for method, _, _ in state.seen) == 1:
        _send(request, 429, b"{}", Retry_After="1")
    else:
        told = {"transfer": "basic", "objects": [_object(state, one, asked) for one in asked.get("objects", [])]}
        if fault == "batch-sha512":
            told["hash_algo"] = "sha512"
        if fault == "batch-extra":
            told["objects"].append(_object(state, {"oid": "0" * 64, "size": 4}, asked))
        if fault == "batch-nothing":
            told["objects"] = []
        _send(request, 200, json.dumps(told).encode())


def _object(state: Faulty, asked: dict[str, Any], batch: dict[str, Any]) -> dict[str, Any]:
    if batch.get("operation") == "upload":
        actions = {"upload": {"href": f"{state.url}/objects/{asked['oid']}"}}
        if state.fault == "verify-fails":
            actions["verify"] = {"href": f"{state.url}/verify"}
        kept = asked["oid"] in state.kept and state.fault not in ("forgets", "verify-fails")
        return {"oid": asked["oid"], "size": asked["size"], **({} if kept else {"actions": actions})}
    fault, oid, size = state.fault, asked["oid"], asked["size"]
    if fault == "batch-other-oid":
        oid = "f" * 64
    if fault == "batch-other-size":
        size += 1
    if fault == "batch-missing":
        return {"oid": oid, "size": size, "error": {"code": 404, "message": "gone"}}
    host = state.elsewhere if fault == "href-elsewhere" else state.url
    href = {"href-file": "file:///etc/passwd"}.get(fault, f"{host}/objects/{oid}")
    action: dict[str, Any] = {"href": href}
    if fault == "action-expired":
        action["expires_at"] = "2001-01-01T00:00:00Z"
    return {"oid": oid, "size": size, "actions": {} if fault == "batch-no-actions" else {"download": action}}


def _download(request: BaseHTTPRequestHandler, state: Faulty) -> None:
    fault, content = state.fault, state.content
    if fault == "download-404":
        _send(request, 404, b"{}")
    elif fault == "download-redirect":
        _send(request, 302, b"", Location=state.elsewhere + request.path)
    elif fault == "download-429" and sum(method == "GET" for method, _, _ in state.seen) == 1:
        _send(request, 429, b"{}", Retry_After="1")
    elif fault in ("download-cut", "download-stall", "download-cut-once"):
        once = fault == "download-cut-once" and sum(method == "GET" for method, _, _ in state.seen) > 1
        request.send_response(200)  # also where a range was asked for
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content if once else content[: len(content) // 2])
        if fault == "download-stall":
            time.sleep(8)
        request.close_connection = True
    elif fault == "download-endless":
        request.send_response(200)
        request.send_header("Connection", "close")
        request.end_headers()
        request.close_connection = True
        try:
            for _ in range(400):
                request.wfile.write(content)
        except OSError:
            pass
    elif fault == "download-flipped":
        _send(request, 200, b"?" + content[1:])
    else:
        _send(request, 200, content)
