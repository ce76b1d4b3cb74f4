"""The daemon: looks at folders and runs, decides through `lifecycle`, logs, and makes the world follow the log.

Every step is the same: look, decide, commit, act. Starting after a crash is nothing special: the first step finds what
the last one left undone and does it. A file is moved only after the event that says so is committed, and the move is
confirmed by another event, so at each moment the log tells which moves are still owed.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from daemon import folders, redaction, salvage, schedule, taskfile, workers
from daemon.filing import Filing
from daemon.intake import Intake
from daemon.ledger import Ledger, timestamp
from daemon.lifecycle import Block, Claim, Reject
from daemon.log import EventLog
from daemon.pod import Pod
from daemon.reviewing import Reviewing
from daemon.runs import Runs
from daemon.task import FOLDERS, Status, Task
from daemon.watch import Watch
from daemon.workspace import BadWorkspace, Lock, Settings, Workspace, is_remote
from handlers.contract import KINDS, Parameter

HANDLERS = (sys.executable, "-P", "-m", "handlers")
RESERVE_BYTES = 4 << 20  # kept on the disk, and given up when it is full, so that the log can say so
COPY_EVERY = 5000  # events; what damage to both files can cost at most


class Daemon:
    """One workspace's daemon."""

    def __init__(
        self,
        workspace: Workspace,
        settings: Settings,
        *,
        ids: Iterator[str],
        kinds: Mapping[str, tuple[Parameter, ...]] = KINDS,
        command: Sequence[str] = HANDLERS,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        say: Callable[[str], None] = print,
        remote: bool | None = None,
    ) -> None:
        """Prepares; nothing is touched before `start`.

        Args:
            workspace: its folders.
            settings: what cai.yaml says.
            ids: gives the events' ids.
            kinds: the handlers that there are, with their parameters.
            command: what runs an attempt; the attempt's folder is appended.
            now: the wall clock, seconds since the epoch; written down, never relied on.
            monotonic: the clock that durations are measured with.
            say: takes a line for the terminal.
            remote: whether the task folders are on a network file system; by default, looked up.
        """
        self.workspace = workspace
        self.settings = settings
        self._ids, self._now, self._monotonic, self._print = ids, now, monotonic, say
        self._kinds = kinds
        self.is_remote = is_remote(workspace.tasks) if remote is None else remote
        self._launcher = workers.Launcher(command, settings.stop_grace_s)
        self.paused = False
        self.degraded = ""
        self.stopping = False  # asked to stop once: no new work, live runs asked to leave a checkpoint
        self.leaving = False  # asked twice: leave at once, the runs' shims see to the rest
        self._next_scan_s = 0.0
        self._copied = 0  # of the events that this daemon has appended

    # -------------------------------------------------------------- life

    def start(self, take_over: bool = False) -> None:
        """Takes the workspace and reads its log.

        Raises:
            Locked: another daemon has it.
            BadWorkspace: it is none.
        """
        self.workspace.check()
        if not self.workspace.log.exists() and self.workspace.log_copy.exists():
            raise BadWorkspace(f"{self.workspace.log} is gone; `cai rebuild` writes it anew from its copy")
        signal.signal(signal.SIGIO, signal.SIG_IGN)  # see folders.has_writer
        me = {"pid": os.getpid(), "host": socket.gethostname(), "since": timestamp(self._now())[:19] + "Z"}
        self._lock = Lock(self.workspace.lock, me, take_over)
        self.log = EventLog(self.workspace.log, socket.gethostname(), wal=not is_remote(self.workspace.state))
        self.log.take_over()
        self.paused = self.log.last_note("queue.paused", "queue.resumed") == "queue.paused"
        self.ledger = Ledger(self.log, self._ids, self._now, self._print)
        self._clear_up()
        self.tasks = self.ledger.tasks
        self._intake = Intake(self.workspace, self._kinds, self.tasks, self.ledger.lines_of, self.is_remote)
        self._filing = Filing(self.workspace, self.ledger, self._intake, self._monotonic)
        self._reviewing = Reviewing(self.workspace, self.ledger, self._filing.drop)
        hide = redaction.hider(os.environ, self.workspace.root / ".env")
        self._runs = Runs(
            self.workspace, self.settings, self.ledger, self._launcher, self._filing.drop, self._monotonic, hide
        )
        self._pod = Pod(self.settings, self.ledger.note, self.ledger.say, hide, self._monotonic)
        replaced = {"replaced": self._lock.ended} if self._lock.ended else {}
        self.ledger.note("daemon.started", pid=os.getpid(), python=sys.version.split()[0], **replaced)
        self._wake_r, self._wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._watch = None if self.is_remote else Watch((self.workspace.tasks, self.workspace.reviews), self._wake_w)
        self._keep_reserve()
        self._keep_copy()
        for name, text in self.log.proposals():
            self._filing.drop(name, text)

    def close(self) -> None:
        """Gives the workspace back. Live runs go on."""
        if self._watch:
            self._watch.close()
        self._runs.close()
        os.close(self._wake_r)
        os.close(self._wake_w)
        self.log.close()
        self._lock.release()

    def run(self, once: bool = False) -> None:
        """Works until it is asked to stop or, with `once`, until nothing is left that it could do.

        Raises:
            Fenced: a newer daemon has taken over.
        """
        old_fd = signal.set_wakeup_fd(self._wake_w, warn_on_full_buffer=False)
        try:
            while not self.leaving:
                try:
                    self.step()
                    if self.stopping and not self.ledger.live:
                        break
                    if once and self.is_idle():
                        break
                except (OSError, sqlite3.OperationalError) as error:
                    self._degrade(error)
                if self.settings.pod_stop and not once:
                    self._pod.attend(self.needs_a_person())
                self._wait()
            if not self.leaving:
                self.ledger.note("daemon.stopped", reason="asked to" if self.stopping else "the queue is empty")
                self._keep_copy()
        finally:
            signal.set_wakeup_fd(old_fd)

    @contextlib.contextmanager
    def heeding_signals(self) -> Iterator[None]:
        """Takes SIGTERM, SIGINT and SIGHUP as the wish to stop; around `start` too, so that its end is logged."""
        handlers = {s: signal.signal(s, self._on_signal) for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _on_signal(self, *_: object) -> None:
        self.leaving = self.stopping
        self.stopping = True

    def needs_a_person(self) -> bool:
        """Tells whether the machine is kept for nothing; a person who paused the queue may be at work on it."""
        return not self.ledger.live and not self.paused and bool(self.degraded or self.is_idle())

    def is_idle(self) -> bool:
        """Tells whether nothing is running, owed or ready, so that only a person can bring the queue further."""
        backing_off = any(t.status is Status.PENDING and t.not_before > self._now() for t in self.tasks.values())
        ready = schedule.next_task(self.tasks, self._now(), taskfile.order)
        to_start = not self.paused and (backing_off or ready)
        owed = self.ledger.unsettled - set(self._filing.obstacles)
        return not (self.ledger.live or owed or self._intake.again or self.ledger.stale or to_start)

    # -------------------------------------------------------------- one step

    def step(self) -> None:
        """Looks at everything once, and does what follows.

        Raises:
            OSError, sqlite3.OperationalError: the disk is full or broken; nothing is lost, and the next step goes on.
            Fenced: a newer daemon has taken over.
        """
        if self.degraded:
            self._clear_up()
        self._look()
        self._filing.settle()
        self._runs.attend(self.stopping)
        self._filing.settle()
        self._reviewing.attend()
        if not (self.paused or self.stopping or self.degraded):
            self._pick_up()
        self._filing.write_status()
        self._keep_reserve()
        if self.log.appended - self._copied >= COPY_EVERY:
            self._keep_copy()

    def _clear_up(self) -> None:
        for status in FOLDERS:
            for path in folders.sweep(self.workspace.folder(status)):
                self.ledger.say(
                    f"{path}: somebody's text that a crash left aside; take what is missing from it and delete it"
                )

    def _look(self) -> None:
        self.log.check_in_charge()
        wants_pause = self.workspace.pause.exists()
        if wants_pause != self.paused:
            self.ledger.note("queue.paused" if wants_pause else "queue.resumed")
            self.paused = wants_pause
            self.ledger.say("Paused: nothing new is started" if wants_pause else "Resumed")
        now_s = self._monotonic()
        hints = {n[:-3] for n in self._watch.take() if folders.is_task_name(n)} if self._watch else set()
        if now_s >= self._next_scan_s:
            watching = self._watch is not None and self._watch.is_alive()
            self._next_scan_s = now_s + (self.settings.scan_interval_s if watching else 1.0)
            commands = self._intake.everything(now_s)
        else:
            commands = self._intake.these(hints | self._intake.again | self._intake.unfinished, now_s)
        self.ledger.commit(commands, actor="user")
        self.ledger.stale |= self._intake.touched
        self._intake.touched.clear()
        for task_id, command in commands:
            if not isinstance(command, Reject):
                self._break_cycle(task_id)

    def _break_cycle(self, task_id: str) -> None:
        cycle = schedule.cycle_through(task_id, self.tasks)
        circle = " → ".join([*cycle, task_id])
        for name in cycle:
            if self.tasks[name].status is Status.PENDING:
                needs = "take one of the dependencies out and move the files back to pending/"
                self.ledger.commit([(name, Block(f"depends_on: a cycle: {circle}", needs))])

    def _pick_up(self) -> None:
        while len(self.ledger.live) < self.settings.workers:
            task = schedule.next_task(self.tasks, self._now(), taskfile.order)
            if task is None:
                return
            if not self._runs.over_budget(task) and not self._leads_out(task):
                self.ledger.commit([(task.id, Claim())])
                self._runs.launch(self.tasks[task.id])
            self._filing.settle()

    def _leads_out(self, task: Task) -> bool:
        """Blocks a task one of whose paths a symbolic link leads out of the workspace, and tells whether it did."""
        assert task.spec is not None
        root = os.path.realpath(self.workspace.root)
        for parameter in self._kinds.get(task.spec.handler or "", ()):
            value = task.spec.params.get(parameter.name)
            if parameter.type is not Path or value is None:
                continue
            found = os.path.realpath(os.path.join(root, value))
            if os.path.commonpath([root, found]) != root:
                reason = f"params.{parameter.name}: {value!r} leads out of the workspace, to {found}"
                self.ledger.commit([(task.id, Block(reason, "copy or mount there what the task needs"))])
                return True
        return False

    # -------------------------------------------------------------- trouble and waiting

    def _degrade(self, error: Exception) -> None:
        """Stops picking up work, gives the reserve up so that the log can go on, and says what is wrong."""
        if not self.degraded:
            self.ledger.say(
                f"Degraded: {error}. Nothing new is started; running work goes on. Trying again every second"
            )
        self.degraded = str(error)
        self._next_scan_s = 0.0  # hints may have been lost
        self._lock.tell(degraded=self.degraded)
        with contextlib.suppress(OSError):
            (self.workspace.state / "reserve").unlink(missing_ok=True)

    def _keep_copy(self) -> None:
        """Brings the log's copy up to date; where there is no room for one, the queue does without."""
        with contextlib.suppress(OSError, sqlite3.OperationalError):
            salvage.keep_copy(self.workspace.log, self.workspace.log_copy)
        self._copied = self.log.appended

    def _keep_reserve(self) -> None:
        """Keeps some bytes of the disk free for bad times; where that works again, the bad times are over."""
        path = self.workspace.state / "reserve"
        if path.exists() and not self.degraded:
            return
        try:
            with open(path, "wb") as stream:
                os.posix_fallocate(stream.fileno(), 0, RESERVE_BYTES)
        except OSError as error:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            if not self.degraded:
                self._degrade(error)
            return
        if self.degraded:
            self.degraded = ""
            self._lock.tell(degraded="")
            self.ledger.say("Recovered: work goes on")

    def _patience_s(self) -> float:
        """Gives how long to sleep where nobody wakes the daemon; who closes a file that he wrote does."""
        if self.degraded:
            return 1.0
        if any(not self.tasks[t].spawned for t in self.ledger.live):
            return 0.005
        if self.ledger.live or self._intake.again or self.ledger.stale:
            return 0.1
        return min(1.0, max(0.0, self._next_scan_s - self._monotonic()))

    def _wait(self) -> None:
        """Sleeps until a hint, a signal, the end of a run, or the next thing that is due."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_r, selectors.EVENT_READ)
            for _, fd in self._runs.shims.values():
                selector.register(fd, selectors.EVENT_READ)
            selector.select(self._patience_s())
        with contextlib.suppress(BlockingIOError):
            while os.read(self._wake_r, 4096):
                pass
