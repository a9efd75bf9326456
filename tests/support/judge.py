"""Stock git and git-lfs as judges of what gitrun makes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import zlib
from pathlib import Path


class Judge:
    """An empty bare repository, and git run on it, out of reach of any configuration."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory.parent),
            "LC_ALL": "C",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
        }
        self.run("init", "--bare", "--quiet", "--template=", str(directory))

    def run(self, *arguments: str, data: bytes = b"", codes: tuple[int, ...] = (0,)) -> bytes:
        """What `git ARGUMENTS` prints on both streams; its exit code must be one of `codes`."""
        done = subprocess.run(
            ["git", "--git-dir", self.directory, *arguments],
            cwd=self.directory.parent,
            input=data,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self._environment,
            check=False,
        )
        assert done.returncode in codes, done.stdout
        return done.stdout

    def write(self, kind: str, data: bytes) -> bytes:
        """Stores an object without any check of its content; its id, in hex."""
        content = b"%s %d\0%s" % (kind.encode(), len(data), data)
        oid = hashlib.sha1(content).hexdigest()
        path = self.directory / "objects" / oid[:2] / oid[2:]
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(zlib.compress(content, 1))
        return oid.encode()
