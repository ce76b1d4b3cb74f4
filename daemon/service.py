"""The daemon: looks at folders and runs, decides through `lifecycle`, logs, and makes the world follow the log.

Every step is the same: look, decide, commit, act. Starting after a crash is nothing special: the first step finds what
the last one left undone and does it. A file is moved only after the event that says so is committed, and the move is
confirmed by another event, so at each moment the log tells which moves are still owed.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
import selectors
import signal
import socket
import sqlite3
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from daemon import folders, lifecycle, narrate, reviews, schedule, taskfile, workers
from daemon.intake import Intake
from daemon.lifecycle import Block, Claim, Command, Settle, Status, Task, TaskEvent
from daemon.log import REPORTS, EventLog, Note
from daemon.watch import Watch
from daemon.workspace import Lock, Settings, Workspace, is_remote
from handlers.contract import KINDS, Input, Parameter, Request

HANDLERS = (sys.executable, "-P", "-m", "handlers")
RESERVE_BYTES = 4 << 20  # kept on the disk, and given up when it is full, so that the log can say so
CHARGE_EVERY_S = 60.0
WRITE_EVERY_S = 0.5  # status lines of a run in progress
PROGRESS_STEP, PROGRESS_EVERY_S = 0.1, 30.0  # which progress reports are worth a place in the log


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
        self._kinds, self._command = kinds, command
        self.is_remote = is_remote(workspace.tasks) if remote is None else remote
        self._launcher = workers.Launcher(command, settings.stop_grace_s)
        self.tasks: dict[str, Task] = {}
        self.paused = False
        self.degraded = ""
        self.stopping = False  # asked to stop once: no new work, live runs asked to leave a checkpoint
        self.leaving = False  # asked twice: leave at once, the runs' shims see to the rest
        self._live: set[str] = set()
        self._unsettled: set[str] = set()  # files that are not where their task says
        self._stale: set[str] = set()  # files whose status lines are behind the log
        self._waiting: dict[str, str] = {}
        self._shims: dict[str, tuple[workers.Shim, int]] = {}
        self._launched: set[str] = set()
        self._asked: set[str] = set()  # attempts that have been asked to stop
        self._heard: dict[str, int] = {}  # bytes of events.jsonl that have been looked at, logged or not
        self._progress: dict[str, tuple[Any, float, float]] = {}
        self._written: dict[str, float] = {}
        self._obstacles: dict[str, str] = {}
        self._reviews: set[str] = set()  # tasks with a request that may have to be placed, answered or closed
        self._requested: set[str] = set()  # those whose request is known to be there
        self._responses: dict[str, folders.Mark] = {}
        self._next_scan_s = 0.0
        self._statuses_changed = True

    # -------------------------------------------------------------- life

    def start(self, take_over: bool = False) -> None:
        """Takes the workspace and reads its log.

        Raises:
            Locked: another daemon has it.
            BadWorkspace: it is none.
        """
        self.workspace.check()
        signal.signal(signal.SIGIO, signal.SIG_IGN)  # see folders.has_writer
        me = {"pid": os.getpid(), "host": socket.gethostname(), "since": self._at()[:19] + "Z"}
        self._lock = Lock(self.workspace.lock, me, take_over)
        self.log = EventLog(self.workspace.log, socket.gethostname(), wal=not is_remote(self.workspace.state))
        self.log.take_over()
        self.tasks = self.log.replay()
        self.paused = self.log.last_note("queue.paused", "queue.resumed") == "queue.paused"
        self._intake = Intake(self.workspace, self._kinds, self.tasks, self._lines_of, self.is_remote)
        for status in lifecycle.FOLDERS:
            folders.sweep(self.workspace.folder(status))
        for task in self.tasks.values():
            self._index(task)
            if task.reviews:
                self._reviews.add(task.id)
            if task.status is not Status.COMPLETED:
                self._stale.add(task.id)  # a crash may have come between the log and the file
        self._note("daemon.started", pid=os.getpid(), python=sys.version.split()[0])
        self._wake_r, self._wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._watch = None if self.is_remote else Watch((self.workspace.tasks, self.workspace.reviews), self._wake_w)
        self._keep_reserve()
        for name, text in self.log.proposals():
            self._drop(name, text)

    def close(self) -> None:
        """Gives the workspace back. Live runs go on."""
        if self._watch:
            self._watch.close()
        for _, fd in self._shims.values():
            os.close(fd)
        self._shims.clear()
        os.close(self._wake_r)
        os.close(self._wake_w)
        self.log.close()
        self._lock.release()

    def run(self, once: bool = False) -> None:
        """Works until it is asked to stop or, with `once`, until nothing is left that it could do.

        Raises:
            Fenced: a newer daemon has taken over.
        """
        handlers = {s: signal.signal(s, self._on_signal) for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
        old_fd = signal.set_wakeup_fd(self._wake_w, warn_on_full_buffer=False)
        try:
            while not self.leaving:
                try:
                    self.step()
                    if self.stopping and not self._live:
                        break
                    if once and self.is_idle():
                        break
                except (OSError, sqlite3.OperationalError) as error:
                    self._degrade(error)
                self._wait()
            if not self.leaving:
                self._note("daemon.stopped", reason="asked to" if self.stopping else "the queue is empty")
        finally:
            signal.set_wakeup_fd(old_fd)
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _on_signal(self, *_: object) -> None:
        self.leaving = self.stopping
        self.stopping = True

    def is_idle(self) -> bool:
        """Tells whether nothing is running, owed or ready, so that only a person can bring the queue further."""
        backing_off = any(t.status is Status.PENDING and t.not_before > self._now() for t in self.tasks.values())
        ready = not self.paused and schedule.next_task(self.tasks, self._now(), taskfile.order)
        owed = self._unsettled - set(self._obstacles)
        return not (self._live or owed or self._intake.again or self._stale or backing_off or ready)

    # -------------------------------------------------------------- one step

    def step(self) -> None:
        """Looks at everything once, and does what follows.

        Raises:
            OSError, sqlite3.OperationalError: the disk is full or broken; nothing is lost, and the next step goes on.
            Fenced: a newer daemon has taken over.
        """
        self._look()
        self._settle_files()
        self._launcher.reap()
        for task_id in sorted(self._live):
            self._attend(task_id)
        self._settle_files()
        self._see_to_reviews()
        if not (self.paused or self.stopping or self.degraded):
            self._pick_up()
        self._write_status()
        self._keep_reserve()

    def _look(self) -> None:
        wants_pause = self.workspace.pause.exists()
        if wants_pause != self.paused:
            self._note("queue.paused" if wants_pause else "queue.resumed")
            self.paused = wants_pause
            self._say("Paused: nothing new is started" if wants_pause else "Resumed")
        now_s = self._monotonic()
        hints = {n[:-3] for n in self._watch.take() if folders.is_task_name(n)} if self._watch else set()
        if now_s >= self._next_scan_s:
            watching = self._watch is not None and self._watch.is_alive()
            self._next_scan_s = now_s + (self.settings.scan_interval_s if watching else 1.0)
            commands = self._intake.everything(now_s)
        else:
            commands = self._intake.these(hints | self._intake.again | self._intake.unfinished, now_s)
        self._commit(commands, actor="user")
        self._stale |= self._intake.touched
        self._intake.touched.clear()
        for task_id, command in commands:
            if not isinstance(command, lifecycle.Reject):
                self._break_cycle(task_id)

    def _break_cycle(self, task_id: str) -> None:
        cycle = schedule.cycle_through(task_id, self.tasks)
        circle = " → ".join([*cycle, task_id])
        for name in cycle:
            if self.tasks[name].status is Status.PENDING:
                needs = "take one of the dependencies out and move the files back to pending/"
                self._commit([(name, Block(f"depends_on: a cycle: {circle}", needs))])

    def _pick_up(self) -> None:
        while len(self._live) < self.settings.workers:
            task = schedule.next_task(self.tasks, self._now(), taskfile.order)
            if task is None:
                return
            if not self._over_budget(task):
                self._commit([(task.id, Claim())])
                self._launch(self.tasks[task.id])
            self._settle_files()

    def _over_budget(self, task: Task) -> bool:
        budget = task.spec.budget_usd if task.spec else None
        wanted = task.status in (Status.PENDING, Status.IN_PROGRESS)
        if budget is None or task.usd < budget or not wanted:
            return False
        needs = "raise budget.usd in the file and move it back to pending/"
        self._commit([(task.id, Block(f"its budget of {budget:.2f} USD is spent: {task.usd:.2f} USD", needs))])
        return True

    # -------------------------------------------------------------- files follow the log

    def _settle_files(self) -> None:
        for task_id in sorted(self._unsettled):
            self._settle_file(self.tasks[task_id])

    def _settle_file(self, task: Task) -> None:
        """Moves a task's file to the folder of its status, with its status lines, and logs that it is there."""
        dst = task.status.folder
        assert dst is not None
        target = self.workspace.file(dst, task.id)
        try:
            if task.place is None:
                content = taskfile.render(task.text.encode(), *self._lines_and_met(task.id))
                with contextlib.suppress(FileExistsError):
                    folders.create(target, content)
            else:
                source = self.workspace.file(task.place, task.id)
                self._write_lines(task, source)
                folders.move(source, target)
        except FileNotFoundError:
            if not target.exists():
                self._intake.again.add(task.id)  # it has been moved or deleted: the next look says which
                return
            folders.sync_folder(target.parent)  # moved before a crash
        except FileExistsError:
            obstacle = f"{target} is in the way of {task.id}; move it elsewhere"
            if self._obstacles.get(task.id) != obstacle:
                self._say(obstacle)
                self._obstacles[task.id] = obstacle
            return
        self._obstacles.pop(task.id, None)
        self._record([lifecycle.Moved(task.id, task.place, dst)])

    def _write_status(self) -> None:
        if self._statuses_changed:
            self._statuses_changed = False
            for task in self.tasks.values():
                if task.spec and (task.spec.depends_on or task.spec.review) and task.status is Status.PENDING:
                    waiting = schedule.waits_for(task, self.tasks)
                    if waiting != self._waiting.get(task.id, ""):
                        self._waiting[task.id] = waiting
                        self._stale.add(task.id)
        for task_id in sorted(self._stale):
            task = self.tasks[task_id]
            busy = task.live and self._monotonic() - self._written.get(task_id, -1e9) < WRITE_EVERY_S
            if task.place is None or task.status is Status.IGNORED:
                self._stale.discard(task_id)
            elif not busy and self._write_lines(task, self.workspace.file(task.place, task_id)):
                self._stale.discard(task_id)
                self._written[task_id] = self._monotonic()

    def _write_lines(self, task: Task, path: Path) -> bool:
        """Brings the status lines of a file up to the log. Tells whether it could: an editor may hold the file."""
        lines, met = self._lines_and_met(task.id)
        waiting = self._waiting.get(task.id, "") if task.status is Status.PENDING else ""
        try:
            content, mark = folders.read(path)
            known = self._intake.marks.get(task.id) == mark
            rendered = taskfile.render(content, lines, met, waiting)
            if rendered == content:
                return True
            written = folders.rewrite(path, content, rendered)
        except (folders.NotReady, folders.Unfit, FileNotFoundError):
            return False
        if written and known:
            self._intake.marks[task.id] = written
        return written is not None

    def _lines_and_met(self, task_id: str) -> tuple[list[str], tuple[str, ...]]:
        return narrate.status_lines(self.log.of_task(task_id))

    def _lines_of(self, task_id: str) -> list[str]:
        return self._lines_and_met(task_id)[0]

    def _drop(self, name: str, text: str) -> None:
        """Writes a proposed task into pending/, once."""
        name = name.removesuffix(".md")
        if name in self.tasks or taskfile.name_faults(name):
            return
        with contextlib.suppress(FileExistsError):
            folders.create(self.workspace.file(Status.PENDING, name), text.encode())
        self._intake.again.add(name)

    # -------------------------------------------------------------- reviews

    def _see_to_reviews(self) -> None:
        """Asks reviewers whose turn it is, and takes in their answers."""
        for task_id in [name for name in self._reviews if not self.tasks[name].asked]:  # answered, or overtaken
            reviews.close_request(self.workspace, self.tasks[task_id])
            self._reviews.discard(task_id)
        if self._statuses_changed:
            turns = [task.id for task in self.tasks.values() if schedule.wants_review(task, self.tasks)]
            self._commit([(task_id, lifecycle.AskReview()) for task_id in turns])
        for task_id in sorted(self._reviews):
            task = self.tasks[task_id]
            if task_id not in self._requested:
                reviews.place_request(self.workspace, task, self._request_text(task))
                self._requested.add(task_id)
            else:
                self._read_response(task)

    def _request_text(self, task: Task) -> str:
        manifests = [
            (path, hashlib.sha256((self.workspace.root / path).read_bytes()).hexdigest())
            for other in schedule.ancestors(task, self.tasks)
            for path in other.artifacts
            if path.endswith("manifest.json") and (self.workspace.root / path).is_file()
        ]
        return reviews.request_text(task, manifests, sum(t.usd for t in self.tasks.values()))

    def _read_response(self, task: Task) -> None:
        path = self.workspace.reviews / task.reviewer / "responses" / f"{reviews.request_name(task)}.md"
        mark = folders.mark_of(path)
        if mark is None or self._responses.get(task.id) == mark:
            return
        try:
            content, self._responses[task.id] = folders.read(path)
            answer = reviews.parse_response(content)
        except (folders.NotReady, FileNotFoundError):
            return
        except folders.Unfit as error:
            self._responses[task.id] = mark
            reviews.report_faults(path, [str(error)])
            return
        except taskfile.Invalid as error:
            reviews.report_faults(path, error.faults)
            return
        stamp = self._at()[:19].translate(str.maketrans("T", "_", "-:"))
        tasks = tuple(
            reviews.issue_task(task.id, path.stem, issue, number, stamp)
            for number, issue in enumerate(answer.issues, 1)
        )
        command = lifecycle.AnswerReview(answer.verdict, answer.issues, answer.comment, answer.sha256, tasks)
        self._commit([(task.id, command)], actor=task.reviewer)
        for name, text in tasks:
            self._drop(name, text)

    # -------------------------------------------------------------- runs

    def _launch(self, task: Task) -> None:
        assert task.spec is not None
        assert task.spec.handler is not None
        inputs = tuple(
            Input(
                other.id, other.run_id, other.spec.handler, other.spec.stage, self.workspace.data_dir(other.run_id),
                other.metrics, other.artifacts,
            )
            for other in schedule.ancestors(task, self.tasks)
            if other.spec and other.spec.handler
        )  # fmt: skip
        request = Request(
            task_id=task.id, run_id=task.run_id, attempt=task.attempt, handler=task.spec.handler, stage=task.spec.stage,
            params=task.spec.params, workspace=self.workspace.root, data_dir=self.workspace.data_dir(task.run_id),
            inputs=inputs, usd_per_hour=self.settings.usd_per_hour,
        )  # fmt: skip
        self._launcher.launch(self._dir_of(task), request)
        self._launched.add(task.id)

    def _dir_of(self, task: Task) -> Path:
        return self.workspace.attempt_dir(task.run_id, task.attempt)

    def _attend(self, task_id: str) -> None:
        """Sees to one live attempt: finds its shim, hears it, stops it where it is unwanted, buries it when it is dead."""
        task = self.tasks[task_id]
        attempt_dir = self._dir_of(task)
        if not task.spawned:
            shim = workers.shim_of(attempt_dir)
            if shim is None:
                self._await_shim(task, attempt_dir)
                return
            if shim.pid != workers.NOBODY:
                who = (shim.pid, shim.start_time, shim.boot_id)
                self._record([lifecycle.Spawned(task_id, task.run_id, task.attempt, *who)])
        if task_id not in self._shims:
            shim = workers.shim_of(attempt_dir)
            fd = shim.open() if shim else None
            if shim and fd is not None:
                self._shims[task_id] = (shim, fd)
        alive = task_id in self._shims and self._shims[task_id][0].is_alive()
        self._hear(self.tasks[task_id], attempt_dir, to_the_end=not alive)
        if alive:
            self._charge(self.tasks[task_id], self._age_s(task_id))
            if not self._over_budget(self.tasks[task_id]) and not (self.tasks[task_id].unwanted or self.stopping):
                return
            if task_id not in self._asked:
                self._asked.add(task_id)
                self._shims[task_id][0].stop()
            return
        end = workers.bury(attempt_dir)
        self._charge(self.tasks[task_id], end.seconds, last=True)
        settle = Settle(
            end.outcome,
            self._now(),
            self.settings.limits,
            end.code,
            end.signal,
            end.seconds,
            end.max_rss_bytes,
            end.asked,
            end.stderr_tail,
        )
        self._commit([(task_id, settle)])
        if task_id in self._shims:
            os.close(self._shims.pop(task_id)[1])
        self._asked.discard(task_id)
        self._launched.discard(task_id)
        self._progress.pop(task_id, None)
        self._heard.pop(task_id, None)

    def _await_shim(self, task: Task, attempt_dir: Path) -> None:
        """Sees to an attempt that nobody has claimed yet."""
        started_in_vain = task.id in self._launched and not self._launcher.is_starting(attempt_dir)
        if (task.unwanted or started_in_vain) and workers.forbid(attempt_dir):
            end = workers.bury(attempt_dir)
            self._commit([(task.id, Settle(None, self._now(), self.settings.limits, stderr_tail=end.stderr_tail))])
            self._launched.discard(task.id)
        elif task.id not in self._launched:
            self._launch(task)  # the daemon died between the claim and the launch

    def _hear(self, task: Task, attempt_dir: Path, to_the_end: bool) -> None:
        """Reads what the handler has said since, and logs what is worth it."""
        offset = max(task.offset, self._heard.get(task.id, 0))
        while True:
            events: list[TaskEvent] = []
            begun = offset
            for offset, report in workers.reports(attempt_dir, offset):  # noqa: B020 - each batch goes on from the last
                if event := self._event_of(task, offset, report):
                    events.append(event)
            if events:
                self._record(events)
            for event in events:
                if isinstance(event, lifecycle.Proposed):
                    self._drop(event.name, event.text)
            self._heard[task.id] = offset
            if not to_the_end or offset == begun:
                return

    def _event_of(self, task: Task, offset: int, report: Mapping[str, Any]) -> TaskEvent | None:
        kind = report.get("type")
        said = {key: value for key, value in report.items() if key not in ("type", "time")}
        if kind == "proposed" and isinstance(said.get("name"), str) and isinstance(said.get("text"), str):
            return lifecycle.Proposed(task.id, task.run_id, task.attempt, offset, said["name"], said["text"])
        if not isinstance(kind, str) or kind not in REPORTS:
            return None
        if kind == "progressed" and not self._is_news(task.id, said):
            return None
        return lifecycle.Reported(task.id, task.run_id, task.attempt, kind, offset, said)

    def _is_news(self, task_id: str, said: Mapping[str, Any]) -> bool:
        """Tells whether a progress report is far enough from the last logged one, in work or in time."""
        now_s = self._monotonic()
        done, total, unit = said.get("done"), said.get("total"), said.get("unit")
        if not isinstance(done, int | float) or not isinstance(total, int | float):
            return False
        last_unit, last_done, last_s = self._progress.get(task_id, (None, 0.0, now_s))
        step = PROGRESS_STEP * max(total, 1)
        if (
            (unit, total) == last_unit
            and done < total
            and done - last_done < step
            and now_s - last_s < PROGRESS_EVERY_S
        ):
            return False
        self._progress[task_id] = ((unit, total), float(done), now_s)
        return True

    def _age_s(self, task_id: str) -> float:
        ticks = self._shims[task_id][0].start_time
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")

    def _charge(self, task: Task, age_s: float, last: bool = False) -> None:
        """Prices the seconds of an attempt that are not paid for yet."""
        seconds, rate = age_s - task.charged_s, self.settings.usd_per_hour
        if seconds > (0 if last else CHARGE_EVERY_S):
            usd = seconds * rate / 3600
            self._record([lifecycle.CostAccrued(task.id, task.run_id, task.attempt, seconds, usd, rate)])

    # -------------------------------------------------------------- the log

    def _commit(self, commands: Iterable[tuple[str, Command]], actor: str = "daemon") -> None:
        """Decides commands and logs what follows, all in one transaction."""
        events: list[TaskEvent] = []
        ahead: dict[str, Task | None] = {}
        for task_id, command in commands:
            task = ahead.get(task_id, self.tasks.get(task_id))
            decided = lifecycle.decide(task, task_id, command)
            for event in decided:
                task = lifecycle.evolve(task, event, 0)
            ahead[task_id] = task
            events += decided
        self._record(events, actor)

    def _record(self, events: Sequence[TaskEvent], actor: str = "daemon") -> None:
        if not events:
            return
        rows = self.log.append(events, self._at(), self._ids, actor)
        for event, row in zip(events, rows, strict=True):
            task = lifecycle.evolve(self.tasks.get(event.task_id), event, row.seq)
            self.tasks[task.id] = task
            self._index(task)
            text = narrate.sentence(event)
            if text or isinstance(event, lifecycle.Submitted):  # a name that comes back brings the lines of its past
                self._stale.add(task.id)
            if text:
                self._say(f"{row.at[11:19]}  {task.id}  {text}")

    def _note(self, type_: str, **data: Any) -> None:
        self.log.append([Note(type_, data)], self._at(), self._ids)

    def _index(self, task: Task) -> None:
        """Keeps the sets of tasks that need attention."""
        self._statuses_changed = True
        self._live.discard(task.id)
        self._unsettled.discard(task.id)
        if task.live:
            self._live.add(task.id)
        if task.asked:
            self._reviews.add(task.id)
        else:
            self._requested.discard(task.id)
        tidied_away = task.place is None and task.status is Status.COMPLETED
        if task.status.folder not in (None, task.place) and not tidied_away:
            self._unsettled.add(task.id)

    def _at(self) -> str:
        moment = datetime.datetime.fromtimestamp(self._now(), datetime.UTC)
        return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"

    # -------------------------------------------------------------- trouble and waiting

    def _say(self, text: str) -> None:
        """Prints a line; a terminal that is gone, or a full disk behind it, is no reason to stop."""
        with contextlib.suppress(OSError):
            self._print(text)

    def _degrade(self, error: Exception) -> None:
        """Stops picking up work, gives the reserve up so that the log can go on, and says what is wrong."""
        if not self.degraded:
            self._say(f"Degraded: {error}. Nothing new is started; running work goes on. Trying again every second")
        self.degraded = str(error)
        self._lock.tell(degraded=self.degraded)
        with contextlib.suppress(OSError):
            (self.workspace.state / "reserve").unlink(missing_ok=True)

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
            self._say("Recovered: work goes on")

    def _wait(self) -> None:
        """Sleeps until a hint, a signal, the end of a run, or the next thing that is due."""
        if self.degraded:
            timeout_s = 1.0
        elif any(not self.tasks[t].spawned for t in self._live):
            timeout_s = 0.005
        elif self._live or self._intake.again or self._intake.unfinished or self._stale:
            timeout_s = 0.1
        else:
            timeout_s = min(1.0, max(0.0, self._next_scan_s - self._monotonic()))
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_r, selectors.EVENT_READ)
            for _, fd in self._shims.values():
                selector.register(fd, selectors.EVENT_READ)
            selector.select(timeout_s)
        with contextlib.suppress(BlockingIOError):
            while os.read(self._wake_r, 4096):
                pass
