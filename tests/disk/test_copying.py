"""The engine that copies and hashes large files: same bytes, same digests, holes kept, no error swallowed."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import random
import resource
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from blake3 import blake3

from gitrun import copying
from gitrun.errors import SystemFailed
from tests.support.mounts import mounted

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20
BLOCK = copying._BLOCK
SIZES = [0, 1, 4095, 4096, 4097, BLOCK - 1, BLOCK, BLOCK + 1, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1, 5 * BLOCK + 4097]


def digests(data: bytes) -> tuple[str, str]:
    return hashlib.sha256(data).hexdigest(), blake3(data).hexdigest()


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


@contextmanager
def opened(source: Path, target: Path) -> Iterator[tuple[int, int]]:
    with source.open("rb") as reader, target.open("x+b") as writer:
        yield reader.fileno(), writer.fileno()


def copy(source: Path, target: Path, reflink: copying.Reflink = "auto") -> copying.Copied:
    with opened(source, target) as (source_fd, target_fd):
        return copying.copy_hashing(source_fd, target_fd, reflink=reflink)


def sparse(path: Path) -> int:
    """A file of 64 MiB and some bytes: a hole, data, a hole, data that begins and ends between pages, a hole."""
    size = 64 * MIB + 123
    with path.open("wb") as file:
        for offset in (10 * MIB, 40 * MIB + 5000):
            file.seek(offset)
            file.write(noise(3 * MIB + 77))
        file.truncate(size)
    return size


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(noise(5 * BLOCK + 4097))
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target"


class TestCopy:
    @pytest.mark.parametrize("size", SIZES)
    def test_same_bytes_and_digests(self, tmp_path: Path, target: Path, size: int) -> None:
        source, data = tmp_path / "source", noise(size)
        source.write_bytes(data)
        assert copy(source, target, "never") == (*digests(data), size, False)
        assert target.read_bytes() == data

    def test_advance_hears_of_every_byte(self, source: Path, target: Path) -> None:
        heard: list[int] = []
        with opened(source, target) as (source_fd, target_fd):
            copying.copy_hashing(source_fd, target_fd, advance=heard.append)
        assert sum(heard) == source.stat().st_size
        assert len(heard) > 1

    def test_starts_at_the_beginning_wherever_the_descriptor_stands(self, source: Path, target: Path) -> None:
        with opened(source, target) as (source_fd, target_fd):
            os.lseek(source_fd, 1000, os.SEEK_SET)
            copying.copy_hashing(source_fd, target_fd, reflink="never")
        assert target.read_bytes() == source.read_bytes()

    def test_holes_are_kept(self, tmp_path: Path, target: Path) -> None:
        source = tmp_path / "source"
        size = sparse(source)
        copied = copy(source, target, "never")
        assert target.read_bytes() == source.read_bytes()
        assert copied == (*digests(source.read_bytes()), size, False)
        assert target.stat().st_blocks * 512 < 8 * MIB

    @pytest.mark.parametrize("size", [1, 4096, 3 * BLOCK, 3 * BLOCK + 1])
    def test_a_file_that_is_one_hole(self, tmp_path: Path, target: Path, size: int) -> None:
        source = tmp_path / "source"
        source.touch()
        os.truncate(source, size)
        assert copy(source, target, "never") == (*digests(bytes(size)), size, False)
        assert target.read_bytes() == bytes(size)
        assert target.stat().st_blocks == 0

    def test_odd_extents(self, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file system may say that data begins and ends between pages."""

        def seek(fd: int, offset: int, whence: int) -> int:
            data_from, data_to, size = 6000, 3 * BLOCK + 5, os.fstat(fd).st_size
            if whence == os.SEEK_HOLE:
                return data_to if data_from <= offset < data_to else offset
            if offset >= data_to:
                raise OSError(errno.ENXIO, "no data")
            assert offset < size
            return max(offset, data_from)

        content = bytearray(source.read_bytes())
        content[:6000] = bytes(6000)
        content[3 * BLOCK + 5 :] = bytes(len(content) - 3 * BLOCK - 5)
        source.write_bytes(content)
        monkeypatch.setattr(os, "lseek", seek)
        copied = copy(source, target, "never")
        assert (copied.sha256, copied.blake3) == digests(bytes(content))
        assert target.read_bytes() == content

    def test_several_at_once(self, tmp_path: Path) -> None:
        data = {tmp_path / f"source-{size}": noise(size) for size in SIZES}
        for path, content in data.items():
            path.write_bytes(content)
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(lambda path: copy(path, path.with_suffix(".copy"), "never"), data))
        assert [result[:2] for result in results] == [digests(content) for content in data.values()]
        assert all(path.with_suffix(".copy").read_bytes() == content for path, content in data.items())

    def test_sha_256_may_lag_behind(self, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """No buffer is filled again before it is hashed."""

        class Slow:
            def __init__(self) -> None:
                self._real = hashlib.sha256()
                self.hexdigest = self._real.hexdigest

            def update(self, data: memoryview) -> None:
                time.sleep(0.01)
                self._real.update(data)

        monkeypatch.setattr(copying, "sha256", Slow)
        monkeypatch.setattr(copying, "_RING", 2)
        assert copy(source, target, "never")[:2] == digests(source.read_bytes())

    def test_a_failure_of_the_second_thread_is_raised(
        self, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Broken:
            def update(self, _: memoryview) -> None:
                raise MemoryError

        monkeypatch.setattr(copying, "sha256", Broken)
        os.truncate(source, 10)
        with pytest.raises(MemoryError):
            copy(source, target, "never")

    def test_leaves_no_thread_and_no_flag_behind(self, source: Path, target: Path) -> None:
        os.truncate(source, 2 * BLOCK)
        with opened(source, target) as (source_fd, target_fd):
            before = fcntl.fcntl(target_fd, fcntl.F_GETFL)
            copying.copy_hashing(source_fd, target_fd)
            assert fcntl.fcntl(target_fd, fcntl.F_GETFL) == before
        assert threading.active_count() == 1


class TestSync:
    def test_the_copy_is_synced_when_it_is_whole(
        self, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        synced: list[bytes] = []
        monkeypatch.setattr(os, "fsync", lambda fd: synced.append(target.read_bytes()))
        copy(source, target)
        assert synced == [source.read_bytes()]

    def test_an_error_that_only_the_sync_sees_is_raised(
        self, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(fd: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left") as caught:
            copy(source, target)
        assert caught.value.errno == errno.ENOSPC


class TestReflink:
    def test_always_fails_where_there_is_none(
        self, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(copying, "_FICLONE", 0x40049400)  # nothing that any file system knows
        with pytest.raises(SystemFailed, match="reflink") as caught:
            copy(source, target, "always")
        assert caught.value.exit_code == 8
        assert target.read_bytes() == b""

    def test_never_makes_none(self, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(copying, "reflink", lambda *_: pytest.fail("asked for a reflink"))
        assert not copy(source, target, "never").linked

    def test_the_digests_are_those_of_the_target(
        self, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def reflink(source_fd: int, target_fd: int) -> bool:
            return bool(os.pwrite(target_fd, b"cloned", 0))

        monkeypatch.setattr(copying, "reflink", reflink)
        assert copy(source, target) == (*digests(b"cloned"), 6, True)

    def test_another_file_system_is_no_reason_to_fail(self, source: Path) -> None:
        target_fd = os.memfd_create("target")
        try:
            with source.open("rb") as file:
                assert not copying.reflink(file.fileno(), target_fd)
        finally:
            os.close(target_fd)

    def test_an_error_is_not_taken_for_a_refusal(
        self, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: object) -> int:
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(fcntl, "ioctl", broken)
        with pytest.raises(OSError, match="Input/output"):
            copy(source, target)

    @pytest.mark.parametrize("kind", ["xfs", "btrfs"])
    def test_real_one(self, tmp_path: Path, source: Path, kind: str) -> None:
        with mounted(kind, tmp_path) as place:
            original = place / "original"
            original.write_bytes(source.read_bytes())
            copied = copy(original, place / "target", "always")
            assert copied == (*digests(source.read_bytes()), source.stat().st_size, True)
            assert (place / "target").read_bytes() == source.read_bytes()


class TestFallBack:
    """Where `O_DIRECT` is refused, at once or at the first write, plain writes do."""

    def test_refused_when_set(self, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(fd: int, command: int, flags: int = 0) -> int:
            if flags & os.O_DIRECT:
                raise OSError(errno.EINVAL, "Invalid argument")
            return 0

        monkeypatch.setattr(fcntl, "fcntl", refuse)
        copy(source, target, "never")
        assert target.read_bytes() == source.read_bytes()

    def test_refused_when_written(self, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        real, refused = os.pwrite, []

        def refuse(fd: int, data: memoryview, offset: int) -> int:
            if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT:
                refused.append(offset)
                raise OSError(errno.EINVAL, "Invalid argument")
            return real(fd, data, offset)

        monkeypatch.setattr(os, "pwrite", refuse)
        copy(source, target, "never")
        assert target.read_bytes() == source.read_bytes()
        assert len(refused) <= 1

    def test_writes_that_do_less_than_asked(self, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        real = os.pwrite
        monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: real(fd, data[:100_001], offset))
        copy(source, target, "never")
        assert target.read_bytes() == source.read_bytes()

    def test_reads_that_do_less_than_asked(self, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        real = os.preadv
        monkeypatch.setattr(os, "preadv", lambda fd, parts, offset: real(fd, [parts[0][:100_001]], offset))
        assert copy(source, target, "never")[:2] == digests(source.read_bytes())
        with source.open("rb") as file:
            assert copying.blake3_file(file.fileno(), threads=2) == digests(source.read_bytes())[1]


class TestFull:
    def test_file_too_large(self, source: Path, target: Path) -> None:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3 * MIB + 5, before[1]))
        try:
            with pytest.raises(OSError, match="too large") as caught:
                copy(source, target, "never")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert caught.value.errno == errno.EFBIG
        assert threading.active_count() == 1

    @pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
    def test_disk_full(self, tmp_path: Path, kind: str) -> None:
        source = tmp_path / "source"
        source.write_bytes(noise(40 * MIB))
        with mounted(kind, tmp_path) as place:
            with pytest.raises(OSError, match="No space left") as caught:
                copy(source, place / "target", "never")
            assert caught.value.errno == errno.ENOSPC


class TestChangingSource:
    def test_grown_meanwhile(self, source: Path, target: Path) -> None:
        size = source.stat().st_size
        with opened(source, target) as (source_fd, target_fd), source.open("ab", buffering=0) as writer:

            def grow(_: int) -> None:
                writer.write(noise(BLOCK))

            copied = copying.copy_hashing(source_fd, target_fd, reflink="never", advance=grow)
        assert copied.size == size + 1
        assert (copied.sha256, copied.blake3) == digests(target.read_bytes())

    @pytest.mark.parametrize("gap", [1000, BLOCK + 1000, 2 * BLOCK + 1000])
    def test_ends_where_a_read_found_the_end(self, source: Path, gap: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """Even if the file has grown again when the next read comes."""
        real = os.preadv

        def read(fd: int, parts: list[memoryview], offset: int) -> int:
            if offset >= gap + BLOCK:
                return real(fd, parts, offset)
            return real(fd, [parts[0][: max(0, gap - offset)]], offset)

        monkeypatch.setattr(os, "preadv", read)
        with source.open("rb") as file:
            assert copying.blake3_file(file.fileno(), threads=2) == digests(source.read_bytes()[:gap])[1]

    def test_shrunk_meanwhile(self, source: Path, target: Path) -> None:
        size = source.stat().st_size
        with opened(source, target) as (source_fd, target_fd):
            copied = copying.copy_hashing(
                source_fd, target_fd, reflink="never", advance=lambda _: os.truncate(source, BLOCK + 9)
            )
        assert copied.size == BLOCK + 9 < size
        assert (copied.sha256, copied.blake3) == digests(target.read_bytes())

    def test_truncated_while_hashed(self, source: Path) -> None:
        with source.open("rb") as file:
            assert copying.hash_file(file.fileno(), advance=lambda _: os.truncate(source, 7)) == digests(
                noise(5 * BLOCK + 4097)[:BLOCK]
            )


class TestCopyChecking:
    @pytest.mark.parametrize("size", SIZES)
    def test_same_bytes_and_digest(self, tmp_path: Path, target: Path, size: int) -> None:
        source, data = tmp_path / "source", noise(size)
        source.write_bytes(data)
        heard: list[int] = []
        with opened(source, target) as (source_fd, target_fd):
            os.lseek(source_fd, size // 2, os.SEEK_SET)
            assert copying.copy_checking(source_fd, target_fd, advance=heard.append) == digests(data)[1]
        assert target.read_bytes() == data and sum(heard) == size

    def test_holes_are_kept(self, tmp_path: Path, target: Path) -> None:
        source = tmp_path / "source"
        sparse(source)
        with opened(source, target) as (source_fd, target_fd):
            assert copying.copy_checking(source_fd, target_fd) == digests(source.read_bytes())[1]
        assert target.read_bytes() == source.read_bytes()
        assert target.stat().st_blocks * 512 < 8 * MIB

    @pytest.mark.parametrize("how", ["grow", "shrink"])
    def test_the_digest_is_that_of_the_copy_whatever_happens_to_the_source(
        self, source: Path, target: Path, how: str
    ) -> None:
        def change(_: int) -> None:
            os.truncate(source, BLOCK + 9 if how == "shrink" else source.stat().st_size + BLOCK)

        with opened(source, target) as (source_fd, target_fd):
            digest = copying.copy_checking(source_fd, target_fd, advance=change)
        assert digest == digests(target.read_bytes())[1] != digests(noise(5 * BLOCK + 4097))[1]

    def test_a_full_disk(self, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Also when it is the last block that has no room, for which nobody waits any more."""
        real = os.pwrite

        def write(fd: int, data: bytes, offset: int) -> int:
            if offset >= 5 * BLOCK:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(fd, data, offset)

        monkeypatch.setattr(os, "pwrite", write)
        with opened(source, target) as (source_fd, target_fd), pytest.raises(OSError, match="No space"):
            copying.copy_checking(source_fd, target_fd)

    def test_a_reflink(self, tmp_path: Path) -> None:
        with mounted("btrfs", tmp_path) as place:
            data = noise(3 * BLOCK)
            (place / "source").write_bytes(data)
            with opened(place / "source", place / "target") as (source_fd, target_fd):
                assert copying.copy_checking(source_fd, target_fd) == digests(data)[1]
            assert (place / "target").read_bytes() == data


class TestHash:
    @pytest.mark.parametrize("size", SIZES)
    def test_digests(self, tmp_path: Path, size: int) -> None:
        path, data = tmp_path / "source", noise(size)
        path.write_bytes(data)
        with path.open("rb") as file:
            assert copying.hash_file(file.fileno()) == digests(data)
            for threads in (1, 2, 3):
                assert copying.blake3_file(file.fileno(), threads=threads) == digests(data)[1]

    def test_sparse(self, tmp_path: Path) -> None:
        path = tmp_path / "source"
        sparse(path)
        with path.open("rb") as file:
            assert copying.hash_file(file.fileno()) == digests(path.read_bytes())
            for threads in (1, 2):
                assert copying.blake3_file(file.fileno(), threads=threads) == digests(path.read_bytes())[1]

    @pytest.mark.parametrize("threads", [1, 2])
    def test_read_errors_are_raised(self, source: Path, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
        real = os.preadv

        def broken(fd: int, parts: list[memoryview], offset: int) -> int:
            if offset >= 3 * BLOCK:
                raise OSError(errno.EIO, "Input/output error")
            return real(fd, parts, offset)

        monkeypatch.setattr(os, "preadv", broken)
        with source.open("rb") as file, pytest.raises(OSError, match="Input/output"):
            copying.blake3_file(file.fileno(), threads=threads)
        with source.open("rb") as file, pytest.raises(OSError, match="Input/output"):
            copying.hash_file(file.fileno())
        assert threading.active_count() == 1
