"""Live attempts: launched, recognised again after a restart, heard, priced, stopped where unwanted, buried when dead."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from daemon import schedule, workers
from daemon.events import CostAccrued, Proposed, Reported, Spawned, TaskEvent
from daemon.ledger import Ledger
from daemon.lifecycle import Block, Settle
from daemon.log import REPORTS
from daemon.task import Status, Task
from daemon.workspace import Settings, Workspace
from handlers.contract import Input, Request

CHARGE_EVERY_S = 60.0
MAX_PROPOSED = 200  # tasks that one task may call for, so that a loop in a handler cannot fill the queue
PROGRESS_STEP, PROGRESS_EVERY_S = 0.1, 30.0  # which progress reports are worth a place in the log


class Runs:
    """Sees to attempts on the daemon's behalf."""

    def __init__(
        self,
        workspace: Workspace,
        settings: Settings,
        ledger: Ledger,
        launcher: workers.Launcher,
        drop: Callable[[str, str], None],
        monotonic: Callable[[], float],
        hide: Callable[[str], str],
    ) -> None:
        """Prepares.

        Args:
            drop: takes the name and text of a task file for pending/.
            monotonic: seconds, for how often progress is logged.
            hide: takes the secrets out of what a handler says.
        """
        self._workspace, self._settings, self._ledger = workspace, settings, ledger
        self._launcher, self._drop, self._monotonic, self._hide = launcher, drop, monotonic, hide
        self.shims: dict[str, tuple[workers.Shim, int]] = {}  # with a descriptor that tells of their end
        self._launched: set[str] = set()
        self._asked: set[str] = set()  # attempts that have been asked to stop
        self._heard: dict[str, int] = {}  # bytes of events.jsonl that have been looked at, logged or not
        self._progress: dict[str, tuple[Any, float, float]] = {}

    def attend(self, stopping: bool) -> None:
        """Sees to every live attempt; with `stopping`, each is asked to leave a checkpoint and end."""
        self._launcher.reap()
        for task_id in sorted(self._ledger.live):
            self._attend(task_id, stopping)

    def close(self) -> None:
        """Lets go of the attempts; they go on."""
        for _, fd in self.shims.values():
            os.close(fd)
        self.shims.clear()

    def launch(self, task: Task) -> None:
        """Starts an attempt that was claimed."""
        assert task.spec is not None
        assert task.spec.handler is not None
        inputs = tuple(
            Input(
                other.id, other.run_id, other.spec.handler, other.spec.stage, self._workspace.data_dir(other.run_id),
                other.metrics, other.artifacts,
            )
            for other in schedule.ancestors(task, self._ledger.tasks)
            if other.spec and other.spec.handler
        )  # fmt: skip
        request = Request(
            task_id=task.id, run_id=task.run_id, attempt=task.attempt, handler=task.spec.handler, stage=task.spec.stage,
            params=task.spec.params, workspace=self._workspace.root, data_dir=self._workspace.data_dir(task.run_id),
            inputs=inputs, usd_per_hour=self._settings.usd_per_hour,
        )  # fmt: skip
        self._launcher.launch(self._dir_of(task), request)
        self._launched.add(task.id)

    def _dir_of(self, task: Task) -> Path:
        return self._workspace.attempt_dir(task.run_id, task.attempt)

    def _attend(self, task_id: str, stopping: bool) -> None:
        """Sees to one live attempt: finds its shim, hears it, stops it where it is unwanted, buries it when it is dead."""
        task = self._ledger.tasks[task_id]
        attempt_dir = self._dir_of(task)
        if not task.spawned:
            shim = workers.shim_of(attempt_dir)
            if shim is None:
                self._await_shim(task, attempt_dir)
                return
            if shim.pid != workers.NOBODY:
                who = (shim.pid, shim.start_time, shim.boot_id)
                self._ledger.record([Spawned(task_id, task.run_id, task.attempt, *who)])
        if task_id not in self.shims:
            shim = workers.shim_of(attempt_dir)
            fd = shim.open() if shim else None
            if shim and fd is not None:
                self.shims[task_id] = (shim, fd)
        alive = task_id in self.shims and self.shims[task_id][0].is_alive()
        self._hear(self._ledger.tasks[task_id], attempt_dir, to_the_end=not alive)
        if alive:
            self._charge(self._ledger.tasks[task_id], self._age_s(task_id))
            if not self.over_budget(self._ledger.tasks[task_id]) and not (
                self._ledger.tasks[task_id].unwanted or stopping
            ):
                return
            if task_id not in self._asked:
                self._asked.add(task_id)
                self.shims[task_id][0].stop()
            return
        end = workers.bury(attempt_dir, self._hide)
        self._charge(self._ledger.tasks[task_id], end.seconds, last=True)
        settle = Settle(
            end.outcome,
            self._ledger.now(),
            self._settings.limits,
            end.code,
            end.signal,
            end.seconds,
            end.max_rss_bytes,
            end.asked,
            end.stderr_tail,
        )
        self._ledger.commit([(task_id, settle)])
        if task_id in self.shims:
            os.close(self.shims.pop(task_id)[1])
        self._asked.discard(task_id)
        self._launched.discard(task_id)
        self._progress.pop(task_id, None)
        self._heard.pop(task_id, None)

    def _await_shim(self, task: Task, attempt_dir: Path) -> None:
        """Sees to an attempt that nobody has claimed yet."""
        started_in_vain = task.id in self._launched and not self._launcher.is_starting(attempt_dir)
        if (task.unwanted or started_in_vain) and workers.forbid(attempt_dir):
            end = workers.bury(attempt_dir, self._hide)
            self._ledger.commit(
                [(task.id, Settle(None, self._ledger.now(), self._settings.limits, stderr_tail=end.stderr_tail))]
            )
            self._launched.discard(task.id)
        elif task.id not in self._launched:
            self.launch(task)  # the daemon died between the claim and the launch

    def _hear(self, task: Task, attempt_dir: Path, to_the_end: bool) -> None:
        """Reads what the handler has said since, and logs what is worth it."""
        offset = max(task.offset, self._heard.get(task.id, 0))
        while True:
            events: list[TaskEvent] = []
            begun = offset
            for offset, report in workers.reports(attempt_dir, offset, self._hide):  # noqa: B020 - each goes on from the last
                if event := self._event_of(task, offset, report):
                    events.append(event)
            proposed = [event for event in events if isinstance(event, Proposed)]
            room = max(0, MAX_PROPOSED - len(self._ledger.tasks[task.id].proposed))
            events = [event for event in events if event not in proposed[room:]]
            if events:
                self._ledger.record(events)
            for event in events:
                if isinstance(event, Proposed):
                    self._drop(event.name, event.text)
            self._heard[task.id] = offset
            if not to_the_end or offset == begun:
                return

    def _event_of(self, task: Task, offset: int, report: Mapping[str, Any]) -> TaskEvent | None:
        kind = report.get("type")
        said = {key: value for key, value in report.items() if key not in ("type", "time")}
        if kind == "proposed" and isinstance(said.get("name"), str) and isinstance(said.get("text"), str):
            return Proposed(task.id, task.run_id, task.attempt, offset, said["name"], said["text"])
        if not isinstance(kind, str) or kind not in REPORTS:
            return None
        if kind == "progressed" and not self._is_news(task.id, said):
            return None
        return Reported(task.id, task.run_id, task.attempt, kind, offset, said)

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
        ticks = self.shims[task_id][0].start_time
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")

    def _charge(self, task: Task, age_s: float, last: bool = False) -> None:
        """Prices the seconds of an attempt that are not paid for yet."""
        seconds, rate = age_s - task.charged_s, self._settings.usd_per_hour
        if seconds > (0 if last else CHARGE_EVERY_S):
            usd = seconds * rate / 3600
            self._ledger.record([CostAccrued(task.id, task.run_id, task.attempt, seconds, usd, rate)])

    def over_budget(self, task: Task) -> bool:
        """Blocks a task that has spent its budget, and tells whether it did."""
        budget = task.spec.budget_usd if task.spec else None
        wanted = task.status in (Status.PENDING, Status.IN_PROGRESS)
        if budget is None or task.usd < budget or not wanted:
            return False
        needs = "raise budget.usd in the file and move it back to pending/"
        self._ledger.commit([(task.id, Block(f"its budget of {budget:.2f} USD is spent: {task.usd:.2f} USD", needs))])
        return True
