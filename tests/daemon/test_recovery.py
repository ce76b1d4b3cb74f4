"""The real daemon process, killed, stopped and replaced in the middle of things."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon import log, workers
from daemon.log import Fenced
from daemon.service import Daemon
from daemon.task import FOLDERS, Status
from daemon.workspace import Settings, Workspace
from tests.actor import KINDS
from tests.conftest import Queue, acting, name_of, wait_until

SERVE = Path(__file__).resolve().parent.parent / "serve.py"
PENDING, IN_PROGRESS, COMPLETED, BLOCKED = FOLDERS
X = name_of("x")


class Site:
    """A workspace with real daemon processes."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.processes: list[subprocess.Popen[str]] = []
        (workspace.root / "cai.yaml").write_text("backoff_s: 0.05\nstop_grace_s: 5\nscan_interval_s: 0.5\n")

    def launch(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts a daemon, without waiting for it."""
        started = subprocess.Popen(
            [sys.executable, str(SERVE), "-w", str(self.workspace.root), *(arguments or ("up",))],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.processes.append(started)
        return started

    def up(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts a daemon, and waits until it has written that it runs."""
        before = self.count("daemon.started")
        started = self.launch(*(arguments or ("up",)))
        wait_until(lambda: self.count("daemon.started") > before, "the daemon to start")
        return started

    def drop(self, text: str, name: str = X) -> None:
        """Drops a task file."""
        aside = self.workspace.root / "aside"
        aside.write_text(text)
        os.rename(aside, self.workspace.file(PENDING, name))

    def rows(self) -> list[log.Row]:
        """Reads the log."""
        if not self.workspace.log.exists():
            return []
        connection = log.connect_readonly(self.workspace.log)
        try:
            return list(log.select_events(connection))
        except Exception:  # noqa: BLE001 - the daemon is about to make it
            return []
        finally:
            connection.close()

    def count(self, type_: str) -> int:
        """Counts events of a type."""
        return sum(row.type == type_ for row in self.rows())

    def starts(self, name: str = X) -> int:
        """Counts how often the handler has begun."""
        return sum(len(p.read_text().split()) for p in self.workspace.root.glob(f"data/{name}.*/starts.txt"))

    def is_in(self, status: Status, name: str = X) -> bool:
        """Tells whether the task's file lies in a folder and the log has confirmed it."""
        moved = [row.payload["dst"] for row in self.rows() if row.type == "file.moved" and row.task_id == name]
        return self.workspace.file(status, name).exists() and moved[-1:] == [status.value]

    def wait_for(self, status: Status) -> None:
        """Waits until the task has ended up in a folder."""
        wait_until(lambda: self.is_in(status), f"{X} in {status}/", limit_s=20)

    def shim(self, attempt: int = 1) -> workers.Shim:
        """Gives the shim of an attempt."""
        return wait_until(lambda: workers.shim_of(self.workspace.attempt_dir(f"{X}.1", attempt)))  # type: ignore[no-any-return]

    def stop(self) -> None:
        """Stops the daemons that run, cleanly."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.send_signal(signal.SIGTERM)
        for process in self.processes:
            process.wait(20)


@pytest.fixture
def site(workspace: Workspace) -> Iterator[Site]:
    """A workspace; its daemons are stopped at the end, and then everything must agree."""
    made = Site(workspace)
    yield made
    made.stop()
    for process in made.processes:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def test_a_killed_daemon_does_not_kill_the_work(site: Site) -> None:
    """kill −9 in the middle, start again: the same child goes on, and there is one run.spawned."""
    first = site.up()
    site.drop(acting(seconds=1.5))
    shim = site.shim()
    wait_until(lambda: site.starts() == 1)
    first.kill()
    first.wait()
    assert shim.is_alive()
    site.up()
    site.wait_for(COMPLETED)
    assert site.count("run.spawned") == site.starts() == 1


def test_work_that_ends_while_no_daemon_runs_is_taken_in(site: Site) -> None:
    """An outcome that is durable is used, and its run is never begun again."""
    first = site.up()
    site.drop(acting(seconds=0.5))
    shim = site.shim()
    wait_until(lambda: site.starts() == 1)
    first.kill()
    first.wait()
    wait_until(lambda: not shim.is_alive())
    site.up()
    site.wait_for(COMPLETED)
    assert site.starts() == 1
    assert "Completed: figure 1" in site.workspace.file(COMPLETED, X).read_text()


def test_a_killed_shim_takes_the_work_with_it(site: Site) -> None:
    """Without its shim a child has nobody who writes down its end: it dies, and the task is tried again."""
    site.up()
    site.drop(acting(seconds=1.0))
    shim = site.shim()
    wait_until(lambda: site.starts() == 1)
    os.kill(shim.pid, signal.SIGKILL)
    site.wait_for(COMPLETED)
    assert site.count("run.spawned") == site.starts() == 2
    assert "ended without an outcome (lost)" in site.workspace.file(COMPLETED, X).read_text()


def test_daemon_and_shim_killed_together_lose_one_attempt(site: Site) -> None:
    """The next daemon finds the attempt dead and begins another one."""
    first = site.up()
    site.drop(acting(seconds=1.0))
    shim = site.shim()
    wait_until(lambda: site.starts() == 1)
    first.kill()
    os.kill(shim.pid, signal.SIGKILL)
    first.wait()
    site.up()
    site.wait_for(COMPLETED)
    assert site.count("run.exited") == site.starts() == 2


def test_sigterm_while_idle_ends_at_once(site: Site) -> None:
    """Exit code 0, and the log says so."""
    daemon = site.up()
    site.drop(acting())
    site.wait_for(COMPLETED)
    daemon.terminate()
    assert daemon.wait(20) == 0
    assert site.rows()[-1].type == "daemon.stopped"


def test_sigterm_before_the_first_step_ends_at_once(workspace: Workspace) -> None:
    """A stop that comes while the log is still being read is heeded, starts nothing, and is logged."""
    queue = Queue(workspace)
    queue.drop(X)
    daemon = queue.prepared()
    with daemon.heeding_signals():
        daemon.start()
        os.kill(os.getpid(), signal.SIGTERM)
        daemon.run()
    queue.abandon()
    types = [row.type for row in queue.rows()]
    assert types[-1] == "daemon.stopped"
    assert "task.claimed" not in types


def test_sigterm_while_a_run_lives_asks_it_for_a_checkpoint(site: Site) -> None:
    """The task goes back to pending/ without a crash, and the next daemon goes on with the same run."""
    daemon = site.up()
    site.drop(acting("wait"))
    wait_until(lambda: site.starts() == 1)
    daemon.terminate()
    assert daemon.wait(20) == 0
    assert site.is_in(PENDING)
    assert "stopped on request, checkpoint here" in site.workspace.file(PENDING, X).read_text()
    site.up()
    wait_until(lambda: site.starts() == 2)
    assert next(row.payload for row in site.rows() if row.type == "task.requeued")["crashed"] is False


def test_sigterm_before_a_handler_listens_is_no_crash(site: Site) -> None:
    """A handler that is still importing its libraries dies of the request; that is nobody's fault."""
    daemon = site.up()
    site.drop(acting("deaf"))
    wait_until(lambda: (site.workspace.data_dir(f"{X}.1") / "ready").exists())
    daemon.terminate()
    assert daemon.wait(20) == 0
    assert [row.payload["crashed"] for row in site.rows() if row.type == "task.requeued"] == [False]


def test_a_second_sigterm_ends_at_once(site: Site) -> None:
    """A run that does not listen is left to its shim, which ends it after the time of grace."""
    daemon = site.up()
    site.drop(acting("stubborn"))
    wait_until(lambda: (site.workspace.data_dir(f"{X}.1") / "ready").exists())
    daemon.terminate()
    shim = site.shim()
    assert shim.is_alive()
    with pytest.raises(subprocess.TimeoutExpired):
        daemon.wait(0.5)
    daemon.terminate()
    assert daemon.wait(3) == 0
    assert shim.is_alive()
    site.up()
    wait_until(lambda: site.count("run.exited") == 1, limit_s=20)
    site.workspace.pause.touch()


def test_a_daemon_killed_again_and_again_loses_nothing(site: Site) -> None:
    """Four tasks, a kill every few events: each is completed once, in one attempt."""
    names = [name_of(f"n{number}", second=number) for number in range(4)]
    for name in names:
        site.drop(acting(), name)
    for number in range(5):
        daemon = site.up()
        before = len(site.rows())
        wait_until(lambda before=before, number=number: len(site.rows()) > before + number % 4 or
                   all(site.is_in(COMPLETED, n) for n in names))  # fmt: skip
        daemon.kill()
        daemon.wait()
    site.up()
    wait_until(lambda: all(site.is_in(COMPLETED, n) for n in names), limit_s=30)
    assert [site.starts(name) for name in names] == [1] * 4
    assert site.count("task.completed") == 4


def test_replaced_daemon_leaves_even_where_it_has_nothing_to_write(workspace: Workspace) -> None:
    """A daemon that was taken over while it slept learns of it at its next look, not only when it appends."""
    ids = (f"id-{number}" for number in itertools.count())
    first = Daemon(workspace, Settings(), ids=ids, kinds=KINDS, say=lambda _: None)
    first.start()
    second = Daemon(workspace, Settings(), ids=ids, kinds=KINDS, say=lambda _: None)
    second.start(take_over=True)
    with pytest.raises(Fenced, match="newer daemon"):
        first.step()
    first.close()
    second.close()
