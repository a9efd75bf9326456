#!/usr/bin/env python3
"""Serves git repositories with git-lfs over HTTP on this machine alone, to try `gitrun push` and `clone` with a real server.

    .tools/servers/bin/python scripts/serve_remote.py                    large files in a directory
    .tools/servers/bin/python scripts/serve_remote.py --s3               in a bucket of an S3 server of its own (moto), by signed URLs
    .tools/servers/bin/python scripts/serve_remote.py --bucket s3://lfs  in that bucket, which must exist

git's own `git http-backend` answers for git, giftless for git-lfs, both behind one address with a password.  It prints one
line of JSON (`url`, `username`, `password`, `root`); a repository `<url>/<name>.git` is made when it is first asked for.  The
server ends with its standard input, and removes what it keeps unless `--root` says where.

A bucket is reached as boto3 finds it (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, …).
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import re
import secrets
import shutil
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

Environ = dict[str, Any]
Start = Callable[..., Any]

_REPOSITORY = re.compile(r"/([A-Za-z0-9._+-]+)\.git(/.*)")
_LFS = re.compile(r"/info/lfs(/.*)")
_READER = "reader"
"""A user who may fetch, and may not push."""


class Server(socketserver.ThreadingMixIn, WSGIServer):
    """A thread for each request."""

    daemon_threads = True


class Quiet(WSGIRequestHandler):
    """Says nothing of requests."""

    def log_message(self, *_: Any) -> None:
        """Nothing."""


class Front:
    """Asks for the password, then hands requests to git or to giftless."""

    def __init__(self, root: Path, password: str, lfs: Any) -> None:
        self._root, self._lfs = root, lfs
        self._users = {
            "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode(): user for user in ("writer", _READER)
        }

    def __call__(self, environ: Environ, start: Start) -> Iterable[bytes]:
        """One request."""
        user = self._users.get(environ.get("HTTP_AUTHORIZATION", ""))
        if user is None and not environ["PATH_INFO"].startswith("/lfs/"):  # whose addresses giftless has signed
            return _answer(start, "401 Unauthorized", [("WWW-Authenticate", 'Basic realm="gitrun"')])
        found = _REPOSITORY.fullmatch(environ["PATH_INFO"])
        if environ["PATH_INFO"].startswith("/lfs/"):
            return self._giftless(environ, start, environ["PATH_INFO"])
        if not found:
            return _answer(start, "404 Not Found")
        name, rest = found.groups()
        large = _LFS.fullmatch(rest)
        if user == _READER and ("git-receive-pack" in rest + environ.get("QUERY_STRING", "") or _is_upload(environ)):
            return _answer(start, "403 Forbidden")
        if large:
            return self._giftless(environ, start, f"/lfs/{name}{large[1]}")
        return self._git(environ, start, name, rest)

    def _giftless(self, environ: Environ, start: Start, path: str) -> Iterable[bytes]:
        if environ.get("HTTP_AUTHORIZATION") in self._users:  # which was ours to check
            environ = {key: value for key, value in environ.items() if key != "HTTP_AUTHORIZATION"}
        answer: Iterable[bytes] = self._lfs({**environ, "PATH_INFO": path, "SCRIPT_NAME": ""}, start)
        return answer

    def _git(self, environ: Environ, start: Start, name: str, rest: str) -> Iterable[bytes]:
        repository = self._root / "git" / f"{name}.git"
        if not repository.exists():
            subprocess.run(["git", "init", "-q", "--bare", repository], check=True)
            subprocess.run(["git", "-C", repository, "config", "http.receivepack", "true"], check=True)
            subprocess.run(["git", "-C", repository, "config", "uploadpack.allowFilter", "true"], check=True)
        variables = {
            **os.environ,
            **{key: value for key, value in environ.items() if isinstance(value, str)},
            "GIT_PROJECT_ROOT": str(self._root / "git"),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": f"/{name}.git{rest}",
            "REMOTE_USER": "writer",
        }
        if "HTTP_CONTENT_ENCODING" in environ:
            variables["HTTP_CONTENT_ENCODING"] = environ["HTTP_CONTENT_ENCODING"]
        body = _body(environ)
        done = subprocess.run(["git", "http-backend"], input=body, env=variables, capture_output=True, check=False)
        head, _, data = done.stdout.partition(b"\r\n\r\n")
        headers = [tuple(line.split(": ", 1)) for line in head.decode().splitlines() if ": " in line]
        status = next((value for key, value in headers if key == "Status"), "200 OK")
        start(status, [pair for pair in headers if pair[0] != "Status"])
        return [data]


def _is_upload(environ: Environ) -> bool:
    """Whether a batch request of git-lfs is to upload; its body is put back."""
    if not environ["PATH_INFO"].endswith("/objects/batch"):
        return environ["REQUEST_METHOD"] == "PUT"
    body = _body(environ)
    environ["wsgi.input"] = io.BytesIO(body)
    return b'"upload"' in body


def _body(environ: Environ) -> bytes:
    stream = environ["wsgi.input"]
    if environ.get("HTTP_TRANSFER_ENCODING", "").lower() != "chunked":
        return bytes(stream.read(int(environ.get("CONTENT_LENGTH") or 0)))
    parts = []
    while size := int(stream.readline().split(b";")[0], 16):
        parts.append(stream.read(size))
        stream.readline()
    stream.readline()
    environ["CONTENT_LENGTH"] = str(sum(map(len, parts)))
    return b"".join(parts)


def _answer(start: Start, status: str, headers: list[tuple[str, str]] | None = None) -> list[bytes]:
    start(status, [("Content-Type", "text/plain"), *(headers or [])])
    return [status.encode()]


def giftless(root: Path, bucket: str) -> Any:
    """giftless as an application, with its storage in a directory or in a bucket."""
    if bucket:
        factory, storage = "giftless.transfer.basic_external:factory", "giftless.storage.amazon_s3:AmazonS3Storage"
        options: dict[str, Any] = {"bucket_name": bucket.removeprefix("s3://"), "path_prefix": "lfs"}
    else:
        factory, storage = "giftless.transfer.basic_streaming:factory", "giftless.storage.local_storage:LocalStorage"
        options = {"path": str(root / "lfs")}
    config = {
        "TESTING": False,
        "AUTH_PROVIDERS": ["giftless.auth.allow_anon:read_write"],
        "PRE_AUTHORIZED_ACTION_PROVIDER": {"options": {"private_key": secrets.token_hex(), "default_lifetime": 900}},
        "TRANSFER_ADAPTERS": {
            "basic": {"factory": factory, "options": {"storage_class": storage, "storage_options": options}}
        },
    }
    from giftless.app import init_app

    return init_app(additional_config=config)


@contextmanager
def own_bucket() -> Iterator[str]:
    """A bucket of an S3 server that runs as long as the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [Path(sys.executable).with_name("moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as moto:
        try:
            keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
            os.environ.update(keys, AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}")
            import boto3

            while moto.poll() is None:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    time.sleep(0.1)
            boto3.client("s3").create_bucket(Bucket="runs")
            yield "s3://runs"
        finally:
            moto.terminate()


def main() -> None:
    """Serves until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="where everything is kept (default: nowhere, once it has ended)")
    parser.add_argument("--bucket", default="", metavar="s3://NAME", help="keep large files in this bucket")
    parser.add_argument("--s3", action="store_true", help="keep large files in a bucket of an S3 server of its own")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    root = options.root or Path(tempfile.mkdtemp(prefix="gitrun-remote-"))
    (root / "git").mkdir(parents=True, exist_ok=True)
    (root / "lfs").mkdir(exist_ok=True)
    password = secrets.token_urlsafe(12)
    with (
        own_bucket() if options.s3 else nullcontext(options.bucket) as bucket,
        make_server("127.0.0.1", options.port, Front(root, password, giftless(root, bucket)), Server, Quiet) as server,
    ):
        url = f"http://127.0.0.1:{server.server_port}"
        told = {"url": url, "username": "writer", "password": password, "root": str(root), "reader": _READER}
        print(json.dumps(told), flush=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sys.stdin.read()
        server.shutdown()
    if options.root is None:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
