"""Files on disk: read only when whole, moved never over another one, rewritten without losing an editor's save."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon import folders
from daemon.folders import NotReady, Unfit

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(autouse=True)
def _leases_may_break() -> Iterator[None]:
    """The kernel's word that a writer came while a lease was held is not for tests."""
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGIO, before)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A plain file."""
    path = tmp_path / "a.md"
    path.write_bytes(b"one\n")
    return path


# ------------------------------------------------------------------ reading


def test_a_plain_file_is_read_with_its_mark(file: Path) -> None:
    """The mark tells this state of the file from every later one."""
    content, mark = folders.read(file)
    assert (content, mark) == (b"one\n", folders.mark_of(file))
    file.write_bytes(b"longer\n")
    assert folders.mark_of(file) != mark


def hostile(tmp_path: Path, kind: str) -> Path:
    """Makes something that is no file to be read."""
    path = tmp_path / "x.md"
    (tmp_path / "target").write_bytes(b"secret")
    match kind:
        case "a symbolic link":
            path.symlink_to(tmp_path / "target")
        case "no regular file":
            os.mkfifo(path)
        case "a folder":
            path.mkdir()
        case "a socket or a pipe":
            with socket.socket(socket.AF_UNIX) as listening:
                listening.bind(str(path))
        case "2 hard links":
            os.link(tmp_path / "target", path)
        case "bytes; a task file has at most":
            with open(path, "wb") as stream:
                stream.truncate(1 << 30)
    return path


@pytest.mark.parametrize(
    "kind",
    ["a symbolic link", "no regular file", "a folder", "a socket or a pipe", "2 hard links",
     "bytes; a task file has at most"],
)  # fmt: skip
@pytest.mark.timeout(10)
def test_what_is_no_plain_file_is_not_read(tmp_path: Path, kind: str) -> None:
    """Links, pipes, folders, sockets and a sparse gigabyte are refused by name, without reading or waiting."""
    with pytest.raises(Unfit, match=kind):
        folders.read(hostile(tmp_path, kind))


def test_an_empty_file_is_not_ready(tmp_path: Path) -> None:
    """Something is still to be written into it."""
    (tmp_path / "a.md").touch()
    with pytest.raises(NotReady):
        folders.read(tmp_path / "a.md")


def test_a_file_that_is_open_for_writing_is_not_ready(file: Path) -> None:
    """However long its writer rests: the kernel knows that it is not closed."""
    with open(file, "ab"), pytest.raises(NotReady):
        folders.read(file)
    assert folders.read(file)[0] == b"one\n"


def test_a_writer_in_another_process_is_seen(file: Path) -> None:
    """It does not matter who writes."""
    code = f"f = open({str(file)!r}, 'ab'); print('open', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdin
        assert writer.stdout
        writer.stdout.readline()
        with pytest.raises(NotReady):
            folders.read(file)
        writer.stdin.close()
    assert folders.read(file)


def test_names_lists_task_files_only(tmp_path: Path) -> None:
    """Hidden files, editors' backups, other endings and names that are no text are nobody's business."""
    for name in (b"a.md", b"new\nline.md", b".b.md", b"c.md~", b"d.txt", b".e.md.swp", b".md", b"\xff.md", b"4913"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(b"x")
    assert list(folders.names(tmp_path)) == ["a"]


# ------------------------------------------------------------------ moving


def test_a_move_never_overwrites(tmp_path: Path, file: Path) -> None:
    """What lies at the destination stays, and so does the source."""
    (tmp_path / "b.md").write_bytes(b"other")
    with pytest.raises(FileExistsError):
        folders.move(file, tmp_path / "b.md")
    assert (file.read_bytes(), (tmp_path / "b.md").read_bytes()) == (b"one\n", b"other")


def test_a_move_of_nothing_says_so(tmp_path: Path) -> None:
    """A file that has gone is not made up."""
    with pytest.raises(FileNotFoundError):
        folders.move(tmp_path / "a.md", tmp_path / "b.md")


@pytest.mark.parametrize("kind", ["a symbolic link", "no regular file", "a folder", "a socket or a pipe"])
@pytest.mark.timeout(10)
def test_anything_can_be_moved_out_of_the_way(tmp_path: Path, kind: str) -> None:
    """A name that is taken by something odd can be freed: the thing itself is moved, not what it points to."""
    folders.move(hostile(tmp_path, kind), tmp_path / "y.md")
    assert os.path.lexists(tmp_path / "y.md")
    assert not os.path.lexists(tmp_path / "x.md")
    assert (tmp_path / "target").read_bytes() == b"secret"


def test_a_new_file_is_whole_and_overwrites_nothing(tmp_path: Path, file: Path) -> None:
    """A second one of the name is refused, and no temporary file stays."""
    folders.create(tmp_path / "b.md", b"two")
    with pytest.raises(FileExistsError):
        folders.create(file, b"three")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.md", "b.md"]
    assert file.read_bytes() == b"one\n"


def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    """The temporary file beside a file of 255 bytes' name needs no longer name."""
    path = tmp_path / ("ü" * 126 + ".md")
    folders.create(path, b"one")
    folders.rewrite(path, b"one", b"two")
    assert path.read_bytes() == b"two"


# ------------------------------------------------------------------ rewriting


def test_a_rewrite_replaces_the_content_and_keeps_the_mode(file: Path) -> None:
    """The mark that is returned is the one of the new file."""
    file.chmod(0o640)
    assert folders.rewrite(file, b"one\n", b"two\n") == folders.mark_of(file)
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"two\n", 0o640)
    assert os.listdir(file.parent) == ["a.md"]


def test_a_rewrite_of_a_file_that_has_changed_changes_nothing(file: Path) -> None:
    """What somebody saved since the file was read is put back, and the caller is told."""
    file.write_bytes(b"an editor's\n")
    assert folders.rewrite(file, b"one\n", b"two\n") is None
    assert file.read_bytes() == b"an editor's\n"
    assert os.listdir(file.parent) == ["a.md"]


def test_a_rewrite_waits_for_who_has_the_file_open(file: Path) -> None:
    """A writer that has opened the file would write into the one that is dropped, so it is not dropped."""
    with open(file, "r+b") as editor:
        assert folders.rewrite(file, b"one\n", b"two\n") is None
        editor.write(b"ONE\n")
    assert file.read_bytes() == b"ONE\n"


def test_a_rewrite_of_nothing_leaves_nothing(tmp_path: Path) -> None:
    """A file that was deleted is not written anew by the way."""
    with pytest.raises(FileNotFoundError):
        folders.rewrite(tmp_path / "a.md", b"", b"x")
    assert list(tmp_path.iterdir()) == []


EDITOR = """
import os, sys, time
path, way = sys.argv[1:]
buffer = b""
for n in range(200):
    time.sleep(n % 5 / 1000)
    buffer += b"%d\\n" % n
    if way == "appends":
        with open(path, "ab") as f: f.write(b"%d\\n" % n)
    elif way == "replaces":
        with open(path + "~", "wb") as f: f.write(buffer)
        os.replace(path + "~", path)
    else:
        with open(path, "wb") as f: f.write(buffer)
"""


@pytest.mark.parametrize("way", ["appends", "replaces", "truncates"])
def test_an_editor_s_save_in_the_middle_of_a_rewrite_survives(tmp_path: Path, way: str) -> None:
    """Against an editor that saves as fast as it can, in each of the ways that editors do, no save is lost."""
    path = tmp_path / "a.md"
    path.write_bytes(b"")
    with subprocess.Popen([sys.executable, "-c", EDITOR, str(path), way]) as writing:
        rewritten = 0
        while writing.poll() is None:
            try:
                old, _ = folders.read(path)
                ours = b"".join(x + b"\n" for x in old.split(b"\n") if x and not x.startswith(b"ours")) + b"ours\n"
                rewritten += folders.rewrite(path, old, ours) is not None
            except (NotReady, FileNotFoundError):
                continue
    numbers = [int(line) for line in path.read_bytes().split() if line != b"ours"]
    assert sorted(numbers) == list(range(200))
    assert rewritten
    assert os.listdir(tmp_path) == ["a.md"]


def test_what_a_crash_left_is_swept_away(tmp_path: Path, file: Path) -> None:
    """Temporary files of a killed daemon go; nobody else's file does."""
    kept = [file, tmp_path / ".a.md.swp", tmp_path / "b.cai-tmp"]
    for path in kept:
        path.touch()
    folders._write_aside(file, b"ours", 0o644)
    folders._write_aside(tmp_path / "gone.md", b"ours", 0o644).write_bytes(b"")
    assert folders.sweep(tmp_path) == []
    assert sorted(tmp_path.iterdir()) == sorted(kept)


KILLED_BETWEEN = """
import os, sys
from pathlib import Path
from daemon import folders
path, written = Path(sys.argv[1]), folders._write_aside
def save_meanwhile(*what, **how):
    aside = written(*what, **how)
    path.with_name(".editor").write_bytes(b"saved meanwhile")
    os.replace(path.with_name(".editor"), path)
    return aside
folders._write_aside = save_meanwhile
folders.mark_of = lambda _: os._exit(9)  # the first look at what the exchange brought out
folders.rewrite(path, b"old", b"ours")
"""


@pytest.mark.parametrize("since", [None, b"ours, and newer words"])
def test_a_save_survives_a_crash_in_the_middle_of_a_rewrite(tmp_path: Path, since: bytes | None) -> None:
    """What an editor saved right before an exchange after which the daemon died goes back, or is kept beside newer words."""
    path = tmp_path / "a.md"
    path.write_bytes(b"old")
    ran = subprocess.run([sys.executable, "-c", KILLED_BETWEEN, str(path)], cwd=ROOT, check=False)
    assert (ran.returncode, path.read_bytes()) == (9, b"ours")
    if since:
        path.write_bytes(since)
    kept = folders.sweep(tmp_path)
    assert path.read_bytes() == (since or b"saved meanwhile")
    assert [left.read_bytes() for left in kept] == ([b"saved meanwhile"] if since else [])
    assert sorted(tmp_path.iterdir()) == sorted([path, *kept])
    assert folders.sweep(tmp_path) == []


# ------------------------------------------------------------------ power


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace: apt install strace")
def test_a_move_is_on_disk_when_it_returns(tmp_path: Path, file: Path) -> None:
    """File, then rename, then both folders are flushed, in this order."""
    (tmp_path / "to").mkdir()
    there = tmp_path / "to" / "a.md"
    code = (
        f"from pathlib import Path; from daemon import folders; folders.move(Path({str(file)!r}), Path({str(there)!r}))"
    )
    trace = tmp_path / "trace"
    subprocess.run(
        ["strace", "-y", "-o", str(trace), "-e", "trace=fsync,renameat2", sys.executable, "-c", code], check=True
    )
    calls = [line for line in trace.read_text().splitlines() if "fsync" in line or "renameat2" in line]
    wanted = [f"fsync({{}}<{file}>", "renameat2(", f"<{tmp_path / 'to'}>", f"<{tmp_path}>"]
    assert len(calls) == 4
    for call, part in zip(calls, wanted, strict=True):
        assert part.rpartition("}")[2] in call
