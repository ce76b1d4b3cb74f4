"""What lands in the folders, by every way in which people and programs put files there, and what comes of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon import folders
from daemon.task import Status
from daemon.workspace import Workspace
from tests.conftest import ACT, Queue, acting, name_of

PENDING, IN_PROGRESS, COMPLETED, BLOCKED = Status.PENDING, Status.IN_PROGRESS, Status.COMPLETED, Status.BLOCKED
X = name_of("x")


@pytest.fixture
def paused(workspace: Workspace) -> Queue:
    """A queue that starts nothing, so that what is taken in stays where it is."""
    workspace.pause.touch()
    return Queue(workspace)


@pytest.fixture
def quiet(paused: Queue, queue: Queue) -> Queue:
    """A started daemon that starts nothing."""
    assert paused.workspace.pause.exists()
    queue.step()
    return queue


# ------------------------------------------------------------------ half-written files


def test_a_file_is_taken_in_when_its_writer_closes_it(quiet: Queue) -> None:
    """However slowly it is written, half of it is never read."""
    with open(quiet.path(X), "w") as slow:
        for piece in ("---\nhandler: act\n", "---\n", "# The title\n"):
            quiet.step(2)
            assert quiet.find(X) is None
            slow.write(piece)
            slow.flush()
            quiet.clock.advance(60)
            quiet.step(2)
            assert quiet.find(X) is None
    quiet.step()
    assert quiet.task(X).text == "---\nhandler: act\n---\n# The title\n"
    assert quiet.types(X) == ["task.submitted"]


def test_an_empty_file_waits_for_its_content(quiet: Queue) -> None:
    """`touch` submits nothing; the content that follows does."""
    quiet.path(X).touch()
    quiet.step(3)
    assert quiet.find(X) is None
    quiet.path(X).write_text(ACT)
    quiet.step()
    assert quiet.task(X).text == ACT


def test_a_file_that_is_not_ready_keeps_nobody_awake(workspace: Workspace) -> None:
    """An empty file, or one that stays open, is looked at no oftener than an empty folder; who closes one wakes the daemon."""
    queue = Queue(workspace, scan_interval_s=1e9).start()
    assert queue.daemon
    queue.step()
    queue.path(name_of("empty")).touch()
    with open(queue.path(X), "w") as stream:
        stream.write(ACT)
        stream.flush()
        queue.step(3)
        assert queue.daemon._patience_s() == 1.0
    queue.until_status(X, COMPLETED)
    queue.abandon()


def test_on_a_network_file_system_a_file_counts_as_whole_when_it_rests(workspace: Workspace) -> None:
    """Where the kernel cannot tell of writers, a file must stay the same for two seconds."""
    workspace.pause.touch()
    queue = Queue(workspace).start(remote=True)
    for text in ("---\nhan", "---\nhandler: act\n---\n"):
        queue.path(X).write_text(text)
        queue.step()
        queue.clock.advance(1.5)
        queue.step()
        assert queue.find(X) is None
    queue.clock.advance(1.0)
    queue.step()
    assert queue.task(X).text == "---\nhandler: act\n---\n"
    queue.abandon()


def test_an_edit_made_without_a_daemon_is_seen_on_a_network_file_system(workspace: Workspace) -> None:
    """A status line that is owed at start does not hide an edit that is still coming to rest."""
    workspace.pause.touch()
    queue = Queue(workspace).start(remote=True)
    queue.drop(X, acting(more="depends_on: [20260101_000000_P1_other]\n"))
    for _ in range(3):
        queue.clock.advance(3.0)
        queue.step()
    assert "- Waiting: " in queue.text(X)
    queue.abandon()
    content = queue.path(X).read_text()
    queue.path(X).write_text(content.partition("\n## Status")[0] + "A second thought.\n")
    queue.start(remote=True)
    for _ in range(3):
        queue.step()
        queue.clock.advance(3.0)
    assert "A second thought." in queue.task(X).text
    queue.abandon()


# ------------------------------------------------------------------ ways to write a file


def by_cp(src: Path, dst: Path) -> None:
    """cp."""
    subprocess.run(["cp", src, dst], check=True)


def by_rsync(src: Path, dst: Path) -> None:
    """rsync, which writes aside and renames."""
    if not shutil.which("rsync"):
        pytest.skip("needs rsync: apt install rsync")
    subprocess.run(["rsync", "-a", "--checksum", src, dst], check=True)


def by_mv(src: Path, dst: Path) -> None:
    """mv."""
    subprocess.run(["mv", shutil.copy(src, src.with_suffix(".moving")), dst], check=True)


def by_submit(src: Path, dst: Path) -> None:
    """A program that writes aside and renames."""
    folders.create(dst, src.read_bytes())


@pytest.mark.parametrize("way", [by_cp, by_rsync, by_mv, by_submit], ids=lambda way: way.__name__)
def test_a_file_arrives_by_any_way_once(quiet: Queue, way: Callable[[Path, Path], None]) -> None:
    """One file is one submission, with its whole text."""
    src = quiet.workspace.root / f"{X}.md"
    src.write_text(ACT * 1 + "text\n" * 1000)
    way(src, quiet.path(X))
    quiet.step(3)
    assert quiet.types(X) == ["task.submitted"]
    assert quiet.task(X).text == src.read_text()


def by_sed(path: Path) -> None:
    """sed -i, which makes a new file."""
    subprocess.run(["sed", "-i", "s/Old words/New words/", path], check=True)


def by_vim(path: Path) -> None:
    """vim with its defaults."""
    if not shutil.which("vim"):
        pytest.skip("needs vim: apt install vim")
    subprocess.run(
        ["vim", "-u", "NONE", "-N", "-n", "-es", "-c", "%s/Old words/New words/", "-c", "wq", path],
        check=True, stdin=subprocess.DEVNULL, timeout=20,
    )  # fmt: skip


def by_vim_with_backup(path: Path) -> None:
    """vim that renames the old file away and writes a new one."""
    if not shutil.which("vim"):
        pytest.skip("needs vim: apt install vim")
    subprocess.run(
        ["vim", "-u", "NONE", "-N", "-es", "-c", "set backup backupcopy=no", "-c", "%s/Old words/New words/", "-c", "wq",
         path], check=True, stdin=subprocess.DEVNULL, timeout=20,
    )  # fmt: skip


def by_truncating(path: Path) -> None:
    """An editor that writes in place."""
    path.write_text(path.read_text().replace("Old words", "New words"))


def by_rsyncing_over(path: Path) -> None:
    """rsync of a changed copy."""
    changed = path.with_suffix(".changed")
    changed.write_text(path.read_text().replace("Old words", "New words"))
    by_rsync(changed, path)


EDITORS = [by_sed, by_vim, by_vim_with_backup, by_truncating, by_rsyncing_over]


@pytest.mark.parametrize("edit", EDITORS, ids=lambda edit: edit.__name__)
def test_a_pending_file_is_edited_by_any_editor(quiet: Queue, edit: Callable[[Path], None]) -> None:
    """The edit is one event with the new text; it is neither a withdrawal nor another task."""
    quiet.drop(X, ACT + "Old words\n")
    quiet.step()
    edit(quiet.path(X))
    quiet.step()
    quiet.clock.advance(1.0)
    quiet.step(2)
    assert quiet.types(X) == ["task.submitted", "task.edited"]
    assert quiet.task(X).text == ACT + "New words\n"
    assert "The file was edited" in quiet.text(X)


@pytest.mark.parametrize("edit", EDITORS, ids=lambda edit: edit.__name__)
def test_a_running_file_is_edited_without_harm(queue: Queue, edit: Callable[[Path], None]) -> None:
    """The run keeps to its snapshot; the words of the user and every status line survive."""
    queue.drop(X, acting("wait") + "Old words\n")
    queue.until(lambda: queue.find(X) and queue.task(X).spawned)
    queue.until(lambda: "Started" in queue.text(X), advance_s=1.0)
    edit(queue.path(X, IN_PROGRESS))
    queue.until(lambda: "The file was edited" in queue.text(X), advance_s=1.0)
    assert queue.starts(X) <= 1
    queue.move(X, IN_PROGRESS, BLOCKED)
    queue.until_status(X, BLOCKED)
    text = queue.text(X)
    assert "New words" in text
    assert all(word in text for word in ("Started, attempt 1", "The file was edited", "Cancelled"))


def test_an_editor_that_saves_an_old_buffer_loses_no_status_line(queue: Queue) -> None:
    """Lines that an editor has overwritten are written again."""
    queue.drop(X, acting("block"))
    queue.until_status(X, BLOCKED)
    queue.settle()
    assert "bring the data" in queue.text(X)
    queue.path(X, BLOCKED).write_text(acting("block"))
    queue.settle()
    assert "bring the data" in queue.text(X)
    assert "task.edited" not in queue.types(X)


def test_windows_line_ends_and_missing_ones_are_no_edit(quiet: Queue) -> None:
    """A file is not called edited because of how its lines end."""
    quiet.drop(X, ACT.replace("\n", "\r\n") + "no newline at the end")
    quiet.drop(name_of("y"), ACT + "- [x] `a >= 1`\n\n\n")
    quiet.step(2)
    quiet.restart()
    quiet.step(2)
    assert quiet.types(X) == ["task.submitted"]
    assert quiet.types(name_of("y")) == ["task.submitted"]


def test_a_file_that_became_unreadable_text_is_reported_once(quiet: Queue) -> None:
    """Bad bytes in a blocked task's file are kept, and are one edit however often the daemon starts."""
    quiet.drop(X)
    quiet.step()
    quiet.move(X, PENDING, BLOCKED)
    quiet.settle()
    with open(quiet.path(X, BLOCKED), "ab") as stream:
        stream.write(b"\n\xff\xfe\n")
    quiet.settle()
    for _ in range(2):
        quiet.restart()
        quiet.settle()
    assert quiet.types(X).count("task.edited") == 1
    assert b"\xff\xfe" in quiet.path(X, BLOCKED).read_bytes()


# ------------------------------------------------------------------ hostile things


def fill(path: Path, kind: str) -> None:
    """Puts something hostile in the place of a task file."""
    target = path.parent.parent.parent / "secret"
    target.write_bytes(ACT.encode())
    match kind:
        case "symbolic link":
            path.symlink_to(target)
        case "dangling link":
            path.symlink_to("nowhere")
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "socket":
            with socket.socket(socket.AF_UNIX) as listening, contextlib.chdir(path.parent):
                listening.bind(path.name)
        case "hard link":
            os.link(target, path)
        case "gigabyte":
            with open(path, "wb") as stream:
                stream.truncate(1 << 30)


UNFIT = ["symbolic link", "dangling link", "pipe", "folder", "socket", "hard link", "gigabyte"]


@pytest.mark.parametrize("kind", UNFIT)
def test_what_is_no_plain_file_is_left_alone_with_one_event(queue: Queue, kind: str) -> None:
    """It stays where it lies, is reported once, also over restarts, and other tasks go on."""
    fill(queue.path(X), kind)
    queue.drop(name_of("good"))
    queue.until_status(name_of("good"), COMPLETED)
    queue.restart()
    queue.settle()
    assert queue.types(X) == ["task.rejected"]
    assert queue.task(X).status is Status.IGNORED
    assert queue.lies_in(X) == [PENDING]
    assert not queue.daemon or not queue.daemon.degraded


@pytest.mark.parametrize("kind", UNFIT)
def test_something_odd_under_a_taken_name_stops_nothing(queue: Queue, kind: str) -> None:
    """A link or pipe in pending/ under the name of a completed task is set aside like any second file."""
    queue.drop(X)
    queue.until_status(X, COMPLETED)
    fill(queue.path(X), kind)
    queue.drop(name_of("good"))
    queue.until_status(name_of("good"), COMPLETED)
    queue.settle()
    assert queue.lies_in(X) == [COMPLETED]
    assert queue.lies_in(f"{X}~1") == [PENDING]


@pytest.mark.parametrize("kind", UNFIT)
def test_something_odd_in_the_place_of_a_task_s_file_stops_nothing(quiet: Queue, kind: str) -> None:
    """The task runs by the text in the log; what took its file's place travels with it and is never followed."""
    quiet.drop(X, acting())
    quiet.step()
    quiet.path(X).unlink()
    fill(quiet.path(X), kind)
    quiet.workspace.pause.unlink()
    quiet.until_status(X, COMPLETED)
    assert quiet.lies_in(X) == [COMPLETED]
    assert (quiet.workspace.root / "secret").read_bytes() == ACT.encode()


def test_an_unfit_file_that_is_mended_is_taken_in(quiet: Queue) -> None:
    """When the second link is gone, the file is a plain one, though it has not changed itself."""
    fill(quiet.path(X), "hard link")
    quiet.step(2)
    assert quiet.task(X).status is Status.IGNORED
    (quiet.workspace.root / "secret").unlink()
    quiet.step()
    assert quiet.task(X).status is PENDING


BROKEN = {
    "NUL": (b"---\nhandler: act\n---\n\0", "NUL character"),
    "bad UTF-8": (b"---\nhandler: act\n---\n\xff\n", "not UTF-8"),
    "billion laughs": (b"---\na: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]\n---\n", "aliases"),
    "python object": (b"---\nhandler: !!python/object/apply:os.system [id]\n---\n", "tags"),
    "a path upwards": (b"---\nhandler: act\ndepends_on: ['../../x']\nreview: ../x\n---\n", "../../x"),
    "unknown handler": (b"---\nhandler: sing\n---\n", "'sing' is not one of act"),
    "several faults": (b"---\nhandler: sing\nstage: 9\n---\n", "stage: 9"),
    "no YAML": (b"---\nhandler: [\n---\n", "mend the YAML"),
    "huge number": (b"---\nhandler: act\nstage: 0x" + b"f" * 9000 + b"\n---\n", "not readable"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_goes_to_blocked_with_its_faults(queue: Queue, kind: str) -> None:
    """One event, all faults in the file, every byte of the user's kept, and other tasks go on."""
    content, fault = BROKEN[kind]
    queue.drop(X, content)
    queue.drop(name_of("good"))
    queue.until_status(name_of("good"), COMPLETED)
    queue.settle()
    assert queue.types(X) == ["task.rejected", "file.moved"]
    assert queue.lies_in(X) == [BLOCKED]
    written = queue.path(X, BLOCKED).read_bytes()
    assert written.startswith(content.rstrip(b"\n"))
    assert "Refused: " in queue.text(X)
    assert fault in queue.text(X)


@pytest.mark.parametrize("name", ["no_task", "20260105_090000_P9_x", "ü" * 126, "-rf", "a b", "20260105_090000_P1_x~7"])
def test_a_wrong_name_goes_to_blocked(queue: Queue, name: str) -> None:
    """A file that was dropped with any name is answered, under that name."""
    queue.drop(name)
    queue.settle()
    assert queue.lies_in(name) == [BLOCKED]
    assert "Refused: name: " in queue.text(name)
    queue.drop(name)
    queue.settle()
    (aside,) = [n for n in queue.daemon.tasks if n != name] if queue.daemon else []
    assert queue.lies_in(aside) == [BLOCKED]


@pytest.mark.parametrize("name", [b"\xff\xfe.md", b"new\nline.md", b"\x1b[2J.md"])
def test_a_name_that_is_no_text_is_nobody_s_business(queue: Queue, name: bytes) -> None:
    """It can neither be logged nor shown, so it is left alone, and other tasks go on."""
    path = os.fsencode(queue.path(X).parent) + b"/" + name
    with open(path, "wb") as stream:
        stream.write(ACT.encode())
    queue.drop(name_of("good"))
    queue.until_status(name_of("good"), COMPLETED)
    assert os.path.exists(path)
    assert len(queue.daemon.tasks if queue.daemon else []) == 1


def test_a_mended_file_is_taken_in(queue: Queue) -> None:
    """Who mends a refused file and moves it back to pending/ has it done."""
    queue.drop(X, "---\nhandler: sing\n---\n")
    queue.settle()
    path = queue.path(X, BLOCKED)
    path.write_text(path.read_text().replace("sing", "act"))
    queue.settle()
    queue.move(X, BLOCKED, PENDING)
    queue.until_status(X, COMPLETED)
    assert "Refused" in queue.text(X)


def test_a_file_that_is_still_broken_is_refused_again(queue: Queue) -> None:
    """Moving a refused file back without mending it brings it back to blocked/."""
    queue.drop(X, "---\nhandler: sing\n---\n")
    queue.settle()
    queue.move(X, BLOCKED, PENDING)
    queue.settle()
    assert queue.lies_in(X) == [BLOCKED]
    assert queue.types(X).count("task.rejected") == 2


@pytest.mark.parametrize("seen_first", [True, False])
def test_a_blocked_file_that_was_broken_is_refused_when_it_comes_back(queue: Queue, seen_first: bool) -> None:
    """The old parameters never run under a new, broken text, whether or not the daemon saw the edit in blocked/."""
    queue.drop(X, acting("block"))
    queue.until_status(X, BLOCKED)
    queue.settle()
    path = queue.path(X, BLOCKED)
    path.write_text(path.read_text().replace('do: "block"', 'do: "sing"'))
    if seen_first:
        queue.settle()
    queue.move(X, BLOCKED, PENDING)
    queue.settle()
    assert queue.lies_in(X) == [BLOCKED]
    assert "'sing' is not one of" in queue.text(X)
    assert queue.starts(X) == 1


def test_a_file_that_comes_back_is_read_when_it_is_whole(queue: Queue) -> None:
    """Somebody who is still writing the file in pending/ is waited for."""
    queue.drop(X, acting("block"))
    queue.until_status(X, BLOCKED)
    queue.move(X, BLOCKED, PENDING)
    with open(queue.path(X), "r+") as editor:
        queue.step(3)
        assert queue.task(X).status is BLOCKED
        text = editor.read()
        editor.seek(0)
        editor.truncate()
        editor.write(text.replace('do: "block"', 'do: "complete"'))
    queue.until_status(X, COMPLETED)
    assert queue.starts(X) == 2


def test_a_refused_file_that_is_deleted_is_withdrawn(queue: Queue) -> None:
    """Nobody has to keep a file that was no task."""
    queue.drop(X, "nothing")
    queue.settle()
    queue.path(X, BLOCKED).unlink()
    queue.settle()
    assert queue.task(X).status is Status.WITHDRAWN


@pytest.mark.parametrize("dst", [IN_PROGRESS, COMPLETED])
def test_a_refused_file_that_is_moved_elsewhere_comes_back(queue: Queue, dst: Status) -> None:
    """A file that is no task cannot be declared done."""
    queue.drop(X, "nothing")
    queue.settle()
    queue.move(X, BLOCKED, dst)
    queue.settle()
    assert queue.lies_in(X) == [BLOCKED]


# ------------------------------------------------------------------ names that are taken


@pytest.mark.parametrize("status", [PENDING, COMPLETED, BLOCKED])
def test_a_second_file_of_a_name_is_refused(queue: Queue, status: Status) -> None:
    """Both files are kept, the first under its name; the second says why it was set aside."""
    if status is PENDING:
        queue.workspace.pause.touch()
        queue.step()
    queue.drop(X, acting("block" if status is BLOCKED else "complete") + "first\n")
    queue.until_status(X, status)
    if status is not PENDING:
        queue.drop(X, ACT + "second\n")
        queue.settle()
        assert "first" in queue.text(X)
        assert "second" in queue.text(f"{X}~1")
        assert f"there is a task {X} already" in queue.text(f"{X}~1")
        assert queue.lies_in(f"{X}~1") == [BLOCKED]
    else:
        with pytest.raises(FileExistsError):
            folders.create(queue.path(X), b"second")
    assert queue.types(X).count("task.submitted") == 1


def test_a_second_file_of_a_running_name_is_refused(queue: Queue) -> None:
    """A running task is not disturbed by a file of its name."""
    queue.drop(X, acting("wait"))
    queue.until(lambda: queue.find(X) and queue.task(X).spawned)
    queue.drop(X, ACT + "second\n")
    queue.until_status(f"{X}~1", BLOCKED)
    assert queue.task(X).status is IN_PROGRESS
    queue.drop(X, ACT + "third\n")
    queue.until_status(f"{X}~2", BLOCKED)
    queue.move(X, IN_PROGRESS, BLOCKED)
    queue.until_status(X, BLOCKED)


def test_a_copy_elsewhere_changes_nothing(queue: Queue) -> None:
    """A copy in another folder is no move: the task's own file is still at home."""
    queue.drop(X)
    queue.until_status(X, COMPLETED)
    shutil.copy(queue.path(X, COMPLETED), queue.path(X, BLOCKED))
    queue.settle()
    assert queue.task(X).status is COMPLETED
    queue.path(X, BLOCKED).unlink()


# ------------------------------------------------------------------ moves by hand

DIRECTIONS = {
    # from, to: where it ends, and the event that says so
    (PENDING, IN_PROGRESS): (PENDING, None),
    (PENDING, COMPLETED): (PENDING, None),
    (PENDING, BLOCKED): (BLOCKED, "task.cancelled"),
    (PENDING, None): (None, "task.withdrawn"),
    (COMPLETED, PENDING): (PENDING, "task.requeued"),
    (COMPLETED, IN_PROGRESS): (COMPLETED, None),
    (COMPLETED, BLOCKED): (COMPLETED, None),
    (BLOCKED, PENDING): (PENDING, "task.requeued"),
    (BLOCKED, IN_PROGRESS): (BLOCKED, None),
    (BLOCKED, COMPLETED): (BLOCKED, None),
    (BLOCKED, None): (None, "task.withdrawn"),
    (IN_PROGRESS, PENDING): (PENDING, "task.requeued"),
    (IN_PROGRESS, BLOCKED): (BLOCKED, "task.cancelled"),
    (IN_PROGRESS, COMPLETED): (BLOCKED, "task.cancelled"),
    (IN_PROGRESS, None): (IN_PROGRESS, None),
}
DO = {PENDING: "complete", COMPLETED: "complete", BLOCKED: "block", IN_PROGRESS: "wait"}


@pytest.mark.parametrize("stopped", [False, True], ids=["daemon up", "daemon away"])
@pytest.mark.parametrize(("src", "dst"), DIRECTIONS, ids=lambda s: s.value if s else "away")
def test_a_move_by_hand_is_a_command(queue: Queue, src: Status, dst: Status | None, stopped: bool) -> None:
    """In every direction, whether the daemon runs or finds it at start: the file ends where its task then stands."""
    queue.drop(X, acting(DO[src]) + "Mine.\n")
    if src is PENDING:
        queue.workspace.pause.touch()
        queue.until_status(X, PENDING)
    elif src is IN_PROGRESS:
        queue.until(lambda: queue.find(X) and queue.task(X).spawned and queue.task(X).place is IN_PROGRESS)
        queue.until(lambda: queue.starts(X) == 1)
    else:
        queue.until_status(X, src)
    queue.workspace.pause.touch()
    if stopped:
        queue.abandon()
    if dst:
        queue.move(X, src, dst)
    else:
        queue.path(X, src).unlink()
    if stopped:
        queue.start()
    end, event = DIRECTIONS[src, dst]
    queue.until(lambda: queue.lies_in(X) == ([end] if end else []) and queue.task(X).place is end, advance_s=0.1)
    queue.until(lambda: queue.task(X).live == (end is IN_PROGRESS))
    queue.until(lambda: end is None or "Mine." in queue.text(X), advance_s=0.1)
    seen = [t for t in queue.types(X) if t in ("task.cancelled", "task.withdrawn", "task.requeued")]
    assert seen == ([event] if event else [])
    if end is IN_PROGRESS:
        assert "restored from the log" in queue.until(
            lambda: "restored" in queue.text(X) and queue.text(X), advance_s=1
        )
        queue.move(X, IN_PROGRESS, BLOCKED)
        queue.until_status(X, BLOCKED)


def test_a_deleted_completed_file_is_tidied_away(queue: Queue) -> None:
    """The log remembers; the task stays completed."""
    queue.drop(X)
    queue.until_status(X, COMPLETED)
    queue.path(X, COMPLETED).unlink()
    queue.settle()
    assert queue.task(X).status is COMPLETED
    assert queue.lies_in(X) == []


def test_a_person_s_task_is_moved_by_the_person(queue: Queue) -> None:
    """Pending to in_progress to completed by hand, each move a line in the file; the daemon runs nothing."""
    queue.drop(X, "---\nassignee: ada\n---\n# Look at the rows\n")
    queue.settle()
    queue.move(X, PENDING, IN_PROGRESS)
    queue.settle()
    assert queue.task(X).status is IN_PROGRESS
    queue.move(X, IN_PROGRESS, COMPLETED)
    queue.settle()
    assert queue.types(X) == ["task.submitted", "file.external", "task.claimed", "file.external", "task.completed"]
    assert "Started by hand" in queue.text(X)


def test_a_file_deleted_while_its_lines_are_due_degrades_nothing(quiet: Queue) -> None:
    """Between a deletion and the moment in which it counts as one, a line that is owed is simply not written."""
    quiet.drop(X)
    quiet.step()
    quiet.path(X).write_text(ACT + "more\n")
    quiet.step()
    quiet.path(X).unlink()
    quiet.drop(name_of("y"), acting(more=f"depends_on: [{X}]\n"))
    quiet.step(3)
    quiet.clock.advance(1.0)
    quiet.step(2)
    assert quiet.task(X).status is Status.WITHDRAWN


# ------------------------------------------------------------------ hints


def test_hints_are_not_needed(workspace: Workspace) -> None:
    """A daemon whose watcher has died finds everything by looking."""
    queue = Queue(workspace, scan_interval_s=10.0).start()
    queue.step()
    assert queue.daemon
    assert queue.daemon._watch
    queue.daemon._watch.close()
    queue.drop(X)
    queue.clock.advance(1.1)
    queue.until_status(X, COMPLETED, advance_s=1.0)
    queue.abandon()


def test_hints_are_enough(workspace: Workspace) -> None:
    """Between two whole looks, a dropped file is found by the watcher's word."""
    queue = Queue(workspace, scan_interval_s=1e9).start()
    queue.step()
    queue.drop(X)
    queue.until_status(X, COMPLETED)
    queue.abandon()


def test_a_thousand_files_at_once_are_all_taken_in(quiet: Queue) -> None:
    """A flood of drops is one transaction, in the order of priority when it comes to work."""
    for number in range(1000):
        quiet.path(name_of(f"n{number}", priority=number % 4)).write_text(ACT)
    quiet.step()
    assert quiet.daemon
    assert len(quiet.daemon.tasks) == 1000
