"""Files of the task folders: read safely, moved without overwriting, rewritten without losing a word.

Everything here is about the disk; what a file means is `taskfile`'s business and what follows from it `lifecycle`'s.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

MAX_SIZE_BYTES = 1 << 20  # a task file is a page of text
TEMPORARY = ".cai-tmp"

_F_SETLEASE, _F_GETLEASE = 1024, 1025
_RENAME_NOREPLACE, _RENAME_EXCHANGE = 1, 2
_AT_FDCWD = -100
_libc = ctypes.CDLL(None, use_errno=True)


class Unfit(Exception):
    """What lies under the name is no file that the queue may touch."""


class NotReady(Exception):
    """Somebody is still writing the file."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What tells one state of a file from another."""

    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> Mark:
        """Takes the mark of a stat."""
        return cls(found.st_ino, found.st_size, found.st_mtime_ns)


def names(folder: Path) -> dict[str, Mark]:
    """Lists the task files of a folder, by name without `.md`; hidden and other files are nobody's business.

    So are names that are no printable text: neither the log nor a terminal could show them.

    Raises:
        OSError: the folder cannot be read.
    """
    found = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_task_name(entry.name):
                try:
                    found[entry.name[:-3]] = Mark.of(entry.stat(follow_symlinks=False))
                except FileNotFoundError:
                    continue
    return found


def is_task_name(name: str) -> bool:
    """Tells whether a file's name makes it the queue's business."""
    return name.endswith(".md") and not name.startswith(".") and name.isprintable()


def mark_of(path: Path) -> Mark | None:
    """Gives a file's mark, or None where there is none."""
    try:
        return Mark.of(os.lstat(path))
    except FileNotFoundError:
        return None


def read(path: Path) -> tuple[bytes, Mark]:
    """Reads a task file that somebody else wrote.

    Returns:
        Its content and the mark of what was read.

    Raises:
        Unfit: it is a link, a pipe, a folder, too large, or not ours to read.
        NotReady: it is empty, or a process has it open for writing.
        FileNotFoundError: it has gone.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise
        kinds = {errno.ELOOP: "a symbolic link", errno.ENXIO: "a socket or a pipe", errno.EACCES: "not readable"}
        raise Unfit(
            f"file: {kinds.get(error.errno or 0, os.strerror(error.errno or 0))}; put a plain file here"
        ) from error
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            kind = "a folder" if stat.S_ISDIR(found.st_mode) else "no regular file"
            raise Unfit(f"file: {kind}; put a plain file here")
        if found.st_nlink > 1:
            raise Unfit(
                f"file: it has {found.st_nlink} hard links, so it could change behind the queue's back; copy it"
            )
        if found.st_size > MAX_SIZE_BYTES:
            raise Unfit(f"file: {found.st_size:,} bytes; a task file has at most {MAX_SIZE_BYTES:,}")
        if found.st_size == 0 or has_writer(fd):
            raise NotReady(str(path))
        content = b""
        while chunk := os.read(fd, MAX_SIZE_BYTES + 1 - len(content)):
            content += chunk
        return content, Mark.of(found)
    finally:
        os.close(fd)


def has_writer(fd: int) -> bool:
    """Tells whether any process has the file open for writing: the kernel grants a read lease only where none has.

    File systems without leases (network ones, mostly) answer no: there, the caller waits for the file to stay the
    same. Whoever calls this ignores SIGIO, which the kernel sends if a writer comes while the lease is held.
    """
    try:
        fcntl.fcntl(fd, _F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    fcntl.fcntl(fd, _F_SETLEASE, fcntl.F_UNLCK)
    return False


def move(src: Path, dst: Path) -> None:
    """Moves a file, never over another one; when it returns, the move is on disk.

    Raises:
        FileExistsError: something lies at `dst`.
        FileNotFoundError: nothing lies at `src`.
    """
    if stat.S_ISREG(os.lstat(src).st_mode):  # a link or a pipe that took a file's place has no content to flush
        fd = os.open(src, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    _rename(src, dst, _RENAME_NOREPLACE)
    sync_folder(dst.parent)
    sync_folder(src.parent)


def create(path: Path, content: bytes) -> None:
    """Writes a new file that is there whole or not at all.

    Raises:
        FileExistsError: there is one of this name.
    """
    temporary = _write_aside(path, content, mode=0o644)
    try:
        _rename(temporary, path, _RENAME_NOREPLACE)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


class _Held:
    """A file that nobody else can open for writing: who tries waits until it is let go, or is seen by `is_wanted`.

    File systems without leases hold nobody back; there, only the content tells.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        self.inode = os.fstat(self._fd).st_ino
        self._has_leases = True
        try:
            fcntl.fcntl(self._fd, _F_SETLEASE, fcntl.F_RDLCK)
        except OSError as error:
            self._has_leases = error.errno == errno.EAGAIN

    def __enter__(self) -> _Held:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def is_wanted(self) -> bool:
        """Tells whether somebody writes the file, or waits to."""
        return self._has_leases and fcntl.fcntl(self._fd, _F_GETLEASE) != fcntl.F_RDLCK

    def holds(self, content: bytes) -> bool:
        """Tells whether the file still has this content."""
        return os.pread(self._fd, MAX_SIZE_BYTES + 1, 0) == content


def rewrite(path: Path, old: bytes, new: bytes) -> Mark | None:
    """Replaces a file's content, unless somebody has changed it from `old` in the meantime.

    The new file is exchanged with the old one in one step, while both are held against writers; if what came out is not
    what was read, or somebody wants to write it, they are exchanged back. What an editor saves at that very moment is
    never lost, whether it writes in place or renames.

    Returns:
        The mark of the file that now holds `new`, or None where it still holds what the other one wrote.

    Raises:
        FileNotFoundError: the file has gone.
    """
    with _Held(path) as theirs:
        if theirs.is_wanted() or not theirs.holds(old):
            return None
        temporary = _write_aside(path, new, mode=stat.S_IMODE(os.stat(path).st_mode))
        written = Mark.of(os.lstat(temporary))
        with _Held(temporary):
            put, expected = written.inode, theirs.inode
            while True:
                try:
                    _rename(temporary, path, _RENAME_EXCHANGE)
                except OSError:
                    if put == written.inode:  # otherwise it is somebody's save, and the next start sees to it
                        temporary.unlink(missing_ok=True)
                    raise
                found = mark_of(temporary)
                if found is None:  # a file system that cannot exchange has replaced it
                    return written
                replaced = put == written.inode
                if found.inode == expected and not (replaced and (theirs.is_wanted() or not theirs.holds(old))):
                    temporary.unlink()
                    sync_folder(path.parent)
                    return written if replaced else None
                put, expected = found.inode, put  # somebody saved meanwhile: their file goes back


def sweep(folder: Path) -> list[Path]:
    """Clears up what a crash or a broken disk left of `create` and `rewrite`.

    Between an exchange and the look at what came out of it, a person's file lies aside. It goes back where the daemon's
    own text lies unchanged in its place; where somebody has written there since, it is kept under a name that can be seen.

    Returns:
        The files that were kept.

    Raises:
        OSError: the folder cannot be read or written to.
    """
    owners = {_digest(os.fsencode(name)): folder / f"{name}.md" for name in names(folder)}
    kept = []
    for entry in list(os.scandir(folder)):
        if not (entry.name.startswith(".") and entry.name.endswith(TEMPORARY)):
            continue
        aside = Path(entry.path)
        name, _, written = entry.name[1 : -len(TEMPORARY)].partition(".")
        owner = owners.get(name)
        if _digest_of(aside) in (written, _EMPTY):
            aside.unlink()
        elif owner and _digest_of(owner) == written:
            _give_back(aside, owner)
        else:
            kept.append(folder / f"left-by-a-crash-{name}.{written}.txt")
            os.replace(aside, kept[-1])
    return kept


def _give_back(aside: Path, owner: Path) -> None:
    """Exchanges a person's file with the daemon's own; where somebody is at that one, the next sweep sees what is what."""
    with _Held(owner) as ours:
        if ours.is_wanted():
            return
        _rename(aside, owner, _RENAME_EXCHANGE)
        sync_folder(owner.parent)
        found = mark_of(aside)
        if found and found.inode == ours.inode and not ours.is_wanted():
            aside.unlink()


def sync_folder(path: Path) -> None:
    """Makes a folder's entries durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _write_aside(path: Path, content: bytes, mode: int) -> Path:
    """Writes what is to stand in a file, beside it; the name says whose it is and what was written, see `sweep`."""
    temporary = path.with_name(f".{_digest(os.fsencode(path.stem))}.{_digest(content)}{TEMPORARY}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(fd, view) :]
        os.fchmod(fd, mode)
        os.fsync(fd)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)
    return temporary


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:24]


_EMPTY = _digest(b"")


def _digest_of(path: Path) -> str:
    """Gives the digest of a file's content, or nothing where it is no plain file of a task's size."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        is_plain = stat.S_ISREG(os.fstat(fd).st_mode)
        return _digest(os.pread(fd, MAX_SIZE_BYTES + 1, 0)) if is_plain else ""
    finally:
        os.close(fd)


def _rename(src: Path, dst: Path, flags: int) -> None:
    if _libc.renameat2(_AT_FDCWD, os.fsencode(src), _AT_FDCWD, os.fsencode(dst), flags) == 0:
        return
    code = ctypes.get_errno()
    if code == errno.EINVAL and flags == _RENAME_EXCHANGE:  # a file system without exchange: the last writer wins there
        os.replace(src, dst)
        return
    if code == errno.EINVAL:  # without NOREPLACE: a link fails where the name is taken
        os.link(src, dst)
        os.unlink(src)
        return
    raise OSError(code, os.strerror(code), str(src), None, str(dst))
