#!/usr/bin/env python3
"""Directories like those of machine-learning runs, for benchmarks and tests.

The same workload, seed and scale give the same names, bytes, modes and file times on every machine and Python
(``random.Random.randbytes`` is stable). Standard library only.

    workloads.py make WORKLOAD DEST [--seed N] [--scale F]    make a workload at DEST, which must not exist
    workloads.py mutate DIR [--percent P] [--seed N]          alter P % of the files below DIR, in place
    workloads.py info DIR                                     files, bytes and one digest of names and contents

workloads:
  small      what a Guild AI run leaves behind: 62 files, 3 MB
  many       10,000 files of 1-15 KB in nested directories, half text and half random
  many100k   100,000 files of 1-7 KB, 400 MB
  big        files of 2 GiB, 1 GiB, 512 MiB and 256 MiB, and 50 small ones
  mixed      2,000 small files and 40 of 5-100 MB, 12 of which repeat an earlier one
  hostile    a tiny tree of everything that trips tools up
  sparse     one file of 10 GB that is nearly all hole
  runs       1,000 directories of three files each
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import stat
from collections.abc import Callable, Iterable, Iterator

EPOCH = 1_700_000_000
"""Time of the first file and of every directory, in seconds; each further file is a second younger."""

CHUNK = 8 << 20
MIB = 1 << 20
LARGE = 1 << 20
"""From this size on `mutate` calls a file large."""

_NOUNS = (
    "loss accuracy epoch step lr batch train val test model layer weight bias grad norm adam sgd dropout conv dense"
    " relu softmax token vocab data cuda cpu seed flag run label checkpoint export metric f1 recall precision"
)
WORDS = _NOUNS.split()

_ATTRS = (
    "cmd comments compare dependencies deps env exit_status flags host id initialized label logged op opdef pip_freeze"
    " platform plugins random_seed run_params sourcecode_digest started stopped tags user user_flags vcs_commit"
)
GUILD_ATTRS = _ATTRS.split()
ATTR_SIZES = {"env": 2600, "pip_freeze": 4200, "deps": 900, "run_params": 500}


class Tree:
    """Writes files below `top`; what stands in them depends on the seed and on the keys given, on nothing else."""

    def __init__(self, top: str, seed: int) -> None:
        self.top = top
        self.seed = seed
        self.count = 0
        self._made: set[str] = set()

    def path(self, name: str) -> str:
        return os.path.join(self.top, name)

    def rng(self, *key: object) -> random.Random:
        return random.Random("/".join(str(part) for part in (self.seed, *key)))

    def put(self, name: str, content: bytes | Iterable[bytes], mode: int = 0o644) -> None:
        """Write one file, with its directories, `mode` and a time of its own."""
        path = self.path(name)
        self._make_parent(os.path.dirname(path))
        with open(path, "wb", buffering=0) as file:
            for chunk in [content] if isinstance(content, bytes) else content:
                file.write(chunk)
        if mode != 0o644:
            os.chmod(path, mode)
        time = (EPOCH + self.count) * 10**9 + (self.count * 7919) % 10**9
        os.utime(path, ns=(time, time))
        self.count += 1

    def noise(self, size: int, *key: object) -> Iterator[bytes]:
        """`size` random bytes, in pieces."""
        rng = self.rng(*key)
        while size > 0:
            yield rng.randbytes(min(size, CHUNK))
            size -= CHUNK

    def text(self, size: int, *key: object) -> bytes:
        """`size` bytes of log-like lines."""
        rng = self.rng(*key)
        lines: list[str] = []
        length = 0
        while length < size:
            head = f"{len(lines):06d} {rng.choice(WORDS)} {rng.random():.6f} "
            lines.append(head + " ".join(rng.choices(WORDS, k=5)) + "\n")
            length += len(lines[-1])
        return "".join(lines).encode()[:size]

    def _make_parent(self, parent: str) -> None:
        if parent not in self._made:
            os.makedirs(parent, exist_ok=True)
            self._made.add(parent)


# --- the workloads: each is a function of a tree and a scale ----------------------------------------------------------


def small(tree: Tree, _scale: float) -> None:
    """The layout that Guild AI 0.9 gives a run directory; the texts in its attributes mean nothing."""
    for attr in GUILD_ATTRS:
        tree.put(f".guild/attrs/{attr}", tree.text(ATTR_SIZES.get(attr, 40), "attr", attr))
    tree.put(".guild/opref", b"guildfile:. 0123456789abcdef train\n")
    tree.put(".guild/manifest", tree.text(1800, "manifest"))
    tree.put(".guild/output", tree.text(48_000, "output"))
    tree.put(".guild/output.index", tree.noise(9_000, "oindex"))
    _source_code(tree)
    _results(tree)


def _source_code(tree: Tree) -> None:
    for i in range(12):
        tree.put(f".guild/sourcecode/pkg/mod{i:02d}.py", tree.text(2000 + 700 * i, "src", i))
    for name in ("train.py", "guild.yml", "README.md", "requirements.txt"):
        tree.put(f".guild/sourcecode/{name}", tree.text(3500, "src", name), 0o755 if name == "train.py" else 0o644)


def _results(tree: Tree) -> None:
    tree.put("events.out.tfevents.1700000000.host.1234.0", tree.noise(180_000, "tfe"))
    tree.put("eval/events.out.tfevents.1700000100.host.1234.1", tree.noise(60_000, "tfe2"))
    for i in range(8):
        tree.put(f"metrics/epoch-{i:02d}.json", _metrics(tree, i))
    tree.put("log/train.log", tree.text(220_000, "log"))
    tree.put("log/stderr.log", tree.text(40_000, "elog"))
    tree.put("plots/loss.png", tree.noise(90_000, "png"))
    tree.put("predictions.csv", tree.text(150_000, "csv"))
    tree.put("checkpoint.pt", tree.noise(2 * MIB, "ckpt"))


def _metrics(tree: Tree, epoch: int) -> bytes:
    histogram = [tree.rng("h", epoch).random() for _ in range(40)]
    return json.dumps({"epoch": epoch, "loss": tree.rng("m", epoch).random(), "hist": histogram}, indent=1).encode()


def many(tree: Tree, scale: float) -> None:
    _small_files(tree, int(10_000 * scale), 1000, 15_000)


def many100k(tree: Tree, scale: float) -> None:
    _small_files(tree, int(100_000 * scale), 1000, 7000)


def big(tree: Tree, scale: float) -> None:
    for size in (2048, 1024, 512, 256):
        tree.put(f"ckpt/model-{size:04d}.pt", tree.noise(int(size * scale * MIB), "big", size))
    _small_files(tree, 50, 1000, 20_000, "small/")


def mixed(tree: Tree, scale: float) -> None:
    _small_files(tree, int(2000 * scale), 1000, 20_000, "small/")
    written: list[tuple[int, int]] = []
    for i in range(40):
        key, megabytes = written[i - 28] if i >= 28 else (i, 5 + int(95 * tree.rng("mx", i).random() ** 1.7))
        written.append((key, megabytes))
        content = tree.noise(int(megabytes * scale * 1_000_000), "mixed", key)
        tree.put(f"ckpt/step-{i:03d}/model.bin", content)


def _small_files(tree: Tree, count: int, low: int, high: int, prefix: str = "") -> None:
    """`count` files of `low` to `high` bytes, one to four directories deep; every second one is text."""
    for i in range(count):
        rng = tree.rng("f", prefix, i)
        size = rng.randint(low, high)
        place = prefix + "/".join(f"d{i // 40 // 16**level % 16:02d}" for level in range(1 + i % 4))
        if i % 2:
            tree.put(f"{place}/f{i:06d}.txt", tree.text(size, "t", prefix, i))
        else:
            tree.put(f"{place}/f{i:06d}.bin", rng.randbytes(size))


def hostile(tree: Tree, _scale: float) -> None:
    _hostile_files(tree)
    _hostile_to_git(tree)
    _hostile_kinds(tree)


def _hostile_files(tree: Tree) -> None:
    tree.put("plain.txt", b"plain\n")
    tree.put("exec.sh", b"#!/bin/sh\n", 0o755)
    tree.put("mode0600", b"secret\n", 0o600)
    tree.put("mode0640", b"group\n", 0o640)
    tree.put("empty-file", b"")
    tree.put("crlf.txt", b"a\r\nb\r\n")
    tree.put("with space/and 'quote\" and \\backslash", b"q\n")
    tree.put("new\nline", b"newline in the name\n")
    tree.put(os.fsdecode(b"latin1-\xe9\xff.bin"), b"not UTF-8\n")
    tree.put("caf\u00e9-nfc", b"nfc\n")
    tree.put("cafe\u0301-nfd", b"nfd\n")
    tree.put("-dash", b"leading dash\n")
    tree.put("Case", b"upper\n")
    tree.put("case", b"lower\n")


def _hostile_to_git(tree: Tree) -> None:
    tree.put(".gitignore", b"*.ignored\nignored-dir/\n")
    tree.put("a.ignored", b"ignored by .gitignore\n")
    tree.put("ignored-dir/x", b"ignored too\n")
    tree.put(".gitattributes", b"*.txt text eol=crlf\n*.id ident\n")
    tree.put("kw.id", b"$Id$\n")
    tree.put("lf.txt", b"one\ntwo\n")
    oid = b"0" * 64
    tree.put("pointer.txt", b"version https://git-lfs.github.com/spec/v1\noid sha256:" + oid + b"\nsize 5\n")
    tree.put("nested/.git/HEAD", b"ref: refs/heads/main\n")
    tree.put("nested/.git/config", b"[core]\n\trepositoryformatversion = 0\n\tbare = false\n")
    os.makedirs(tree.path("nested/.git/objects"), exist_ok=True)
    os.makedirs(tree.path("nested/.git/refs/heads"), exist_ok=True)
    tree.put("nested/code.py", b"print('inside a nested repository')\n")


def _hostile_kinds(tree: Tree) -> None:
    tree.put("n" * 200 + "/" + "m" * 200, b"long name\n")
    tree.put("large.bin", tree.noise(2 * MIB, "large"))
    os.makedirs(tree.path("empty-dir/inner"))
    os.chmod(tree.path("empty-dir"), 0o700)
    os.symlink("plain.txt", tree.path("link-file"))
    os.symlink("with space", tree.path("link-dir"))
    os.symlink("no/such/target", tree.path("link-dangling"))
    os.symlink("/etc/hostname", tree.path("link-absolute"))
    os.link(tree.path("plain.txt"), tree.path("hardlink.txt"))
    os.mkfifo(tree.path("fifo"))
    with open(tree.path("sparse.bin"), "wb") as file:
        file.truncate(4 * MIB)
    with contextlib.suppress(OSError):  # not every file system has extended attributes
        os.setxattr(tree.path("plain.txt"), "user.test", b"xattr value")


def sparse(tree: Tree, scale: float) -> None:
    size = int(10_000_000_000 * scale)
    tree.put("hole.bin", b"")
    with open(tree.path("hole.bin"), "r+b") as file:
        for i in range(4):
            file.seek(size // 4 * i)
            file.write(tree.rng("hole", i).randbytes(MIB))
        file.truncate(size)


def runs(tree: Tree, scale: float) -> None:
    for i in range(int(1000 * scale)):
        tree.put(f"run-{i:04d}/params.json", json.dumps({"lr": tree.rng("lr", i).random()}).encode())
        tree.put(f"run-{i:04d}/log/train.log", tree.text(2000, "log", i))
        tree.put(f"run-{i:04d}/model.bin", tree.noise(3000, "model", i))


Workload = Callable[[Tree, float], None]
WORKLOADS: dict[str, Workload] = {
    make.__name__: make for make in (small, many, many100k, big, mixed, hostile, sparse, runs)
}


# --- the commands -----------------------------------------------------------------------------------------------------


def make(workload: str, dest: str, seed: int = 1, scale: float = 1.0) -> None:
    """Make a workload at `dest`. Raises FileExistsError where something is there already."""
    os.makedirs(dest)
    WORKLOADS[workload](Tree(dest, seed), scale)
    for parent, directories, _ in os.walk(dest, topdown=False):
        for directory in directories:
            path = os.path.join(parent, directory)
            if not os.path.islink(path):
                os.utime(path, (EPOCH, EPOCH))


def mutate(top: str, percent: float = 1.0, seed: int = 1) -> dict[str, int]:
    """Rewrite 64 bytes in the middle of `percent` % of the small files, and of the large ones, smallest first.

    At least one of each kind is changed, where there is one. Sizes stay and times become now. Answers how many files
    changed, and their bytes.
    """
    rng = random.Random(f"mutate/{seed}")
    small_ones, large_ones = _by_size(top)
    chosen = rng.sample(small_ones, min(len(small_ones), _share(small_ones, percent)))
    chosen += sorted(large_ones)[: _share(large_ones, percent)]
    for size, path in chosen:
        with open(path, "r+b") as file:
            file.seek(size // 2 - 32)
            file.write(rng.randbytes(64))
    return {"changed": len(chosen), "bytes": sum(size for size, _ in chosen)}


def info(top: str) -> dict[str, int | str]:
    """Number and bytes of the regular files below `top`, and one SHA-256 over their names and contents."""
    count = total = 0
    whole = hashlib.sha256()
    for path, status in _regular_files(top):
        count += 1
        total += status.st_size
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
        whole.update(os.fsencode(os.path.relpath(path, top)) + b"\0" + digest)
    return {"files": count, "bytes": total, "tree_sha256": whole.hexdigest()}


def _regular_files(top: str) -> Iterator[tuple[str, os.stat_result]]:
    for parent, directories, names in os.walk(top):
        directories.sort()
        for name in sorted(names):
            path = os.path.join(parent, name)
            status = os.lstat(path)
            if stat.S_ISREG(status.st_mode):
                yield path, status


def _by_size(top: str) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    """Size and path of the small and of the large files that `mutate` may change: nothing of git's."""
    small_ones: list[tuple[int, str]] = []
    large_ones: list[tuple[int, str]] = []
    for path, status in _regular_files(top):
        if status.st_size >= 64 and ".git" not in path.split(os.sep):
            (large_ones if status.st_size >= LARGE else small_ones).append((status.st_size, path))
    return small_ones, large_ones


def _share(files: list[tuple[int, str]], percent: float) -> int:
    return max(1, round(len(files) * percent / 100))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make", help="make a workload")
    making.add_argument("workload", choices=sorted(WORKLOADS))
    making.add_argument("dest")
    making.add_argument("--seed", type=int, default=1)
    making.add_argument("--scale", type=float, default=1.0, help="times the files, or for large files their size")
    mutating = commands.add_parser("mutate", help="alter some of the files")
    mutating.add_argument("dir")
    mutating.add_argument("--percent", type=float, default=1.0)
    mutating.add_argument("--seed", type=int, default=1)
    commands.add_parser("info", help="count and digest").add_argument("dir")
    return parser


def main() -> None:
    args = _parser().parse_args()
    if args.command == "make":
        make(args.workload, args.dest, args.seed, args.scale)
    elif args.command == "mutate":
        print(json.dumps(mutate(args.dir, args.percent, args.seed)))
    else:
        print(json.dumps(info(args.dir)))


if __name__ == "__main__":
    main()
