"""Any mixture of users, crashes and bad luck, over the real daemon: log, folders and views always agree in the end.

`pytest -m sweep tests/daemon/test_machine.py` searches for longer. A failure that was found here is kept as
a test of its own in the file that it belongs to.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from daemon import audit, log, workers
from daemon.task import FOLDERS, Status
from tests.conftest import Queue, acting, kill_all_below, name_of, new_workspace
from tests.reliability import record

PENDING, IN_PROGRESS, COMPLETED, BLOCKED = FOLDERS
NAMES = [name_of(letter, priority) for priority, letter in enumerate("abc")]
DEPENDENT = name_of("d", 0)
SEARCH_S = float(os.environ.get("CAI_SEARCH_S", "60"))  # of the long search
WAYS = ("complete", "block", "fail", "wait", "crash", "checkpoint")


class Killed(BaseException):
    """The daemon dies here."""


class Machine(RuleBasedStateMachine):
    """A user, a daemon, and what may befall them."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
        self.queue = Queue(new_workspace(self.root), backoff_s=0.0, stop_grace_s=2.0)
        self.lives_left: int | None = None  # events until the daemon dies in the middle of a step
        numbers = itertools.count()

        def ids() -> Iterator[str]:
            while True:
                if self.lives_left is not None:
                    if self.lives_left == 0:
                        self.lives_left = None
                        raise Killed
                    self.lives_left -= 1
                yield f"id-{next(numbers)}"

        self.fresh_ids = ids
        self.queue.ids = ids()
        self.queue.start()
        self.words: dict[str, list[str]] = {}  # what the user has written into the file that goes by a name
        self.count = 0
        self.slow: dict[str, int] = {}
        self.full = False

    def teardown(self) -> None:
        """Settles, checks all that must hold at rest, and clears up."""
        try:
            self.settle_everything()
        finally:
            for fd in self.slow.values():
                os.close(fd)
            self.queue.abandon()
            kill_all_below(self.root)
            shutil.rmtree(self.root)

    # ------------------------------------------------- the user

    def new_word(self, name: str) -> str:
        """A word that must never be lost."""
        self.count += 1
        word = f"word{self.count}."
        self.words.setdefault(name, []).append(word)
        return word

    @rule(name=st.sampled_from(NAMES), do=st.sampled_from(WAYS))
    def drop(self, name: str, do: str) -> None:
        """Drops a file, unless one of its name lies there."""
        if not self.queue.lies_in(name) and name not in self.slow:
            self.words.pop(name, None)
            self.queue.drop(name, acting(do, body=f"{self.new_word(name)}\n"))

    @rule(needs=st.sampled_from(NAMES))
    def drop_dependent(self, needs: str) -> None:
        """Drops a task that waits for another one."""
        if not self.queue.lies_in(DEPENDENT):
            self.words.pop(DEPENDENT, None)
            text = acting("complete", more=f"depends_on: [{needs}]\n", body=f"{self.new_word(DEPENDENT)}\n")
            self.queue.drop(DEPENDENT, text)

    @rule(name=st.sampled_from(NAMES))
    def drop_broken(self, name: str) -> None:
        """Drops a file that is no task."""
        if not self.queue.lies_in(name) and name not in self.slow:
            self.words.pop(name, None)
            self.queue.drop(name, f"---\nhandler: sing\n---\n{self.new_word(name)}\n")

    @rule(name=st.sampled_from(NAMES))
    def begin_slow_write(self, name: str) -> None:
        """Opens a file and writes half of it."""
        if not self.queue.lies_in(name) and name not in self.slow:
            self.words.pop(name, None)
            fd = os.open(self.queue.path(name), os.O_WRONLY | os.O_CREAT)
            os.write(fd, b"---\nhandler: a")
            self.slow[name] = fd

    @precondition(lambda self: self.slow)
    @rule(data=st.data())
    def end_slow_write(self, data: st.DataObject) -> None:
        """Writes the other half and closes the file."""
        name = data.draw(st.sampled_from(sorted(self.slow)))
        fd = self.slow.pop(name)
        os.write(fd, f"ct\n---\n{self.new_word(name)}\n".encode())
        os.close(fd)

    @rule(name=st.sampled_from([*NAMES, DEPENDENT]), do=st.sampled_from((*WAYS, None)), in_place=st.booleans())
    def edit(self, name: str, do: str | None, in_place: bool) -> None:
        """Edits a file where it lies: a word more, and perhaps other parameters."""
        for place in self.queue.lies_in(name)[:1]:
            if name in self.slow:
                return
            path = self.queue.path(name, place)
            head, dashes, rest = path.read_text().rpartition("\n---\n")
            if do and "do:" in head:
                head = acting(do).rpartition("\n---\n")[0]
            text = head + dashes + self.new_word(name) + "\n" + rest
            if in_place:
                path.write_text(text)
            else:
                path.with_suffix(".tmp").write_text(text)
                os.replace(path.with_suffix(".tmp"), path)

    @rule(name=st.sampled_from([*NAMES, DEPENDENT]), dst=st.sampled_from(FOLDERS))
    def move_by_hand(self, name: str, dst: Status) -> None:
        """Moves the file of a task that the daemon has seen: retry, cancel, or nonsense."""
        for src in self.queue.lies_in(name)[:1]:
            task = self.queue.find(name)
            if task and task.status.folder and not self.queue.path(name, dst).exists() and name not in self.slow:
                self.queue.move(name, src, dst)

    @rule(name=st.sampled_from([*NAMES, DEPENDENT]))
    def delete(self, name: str) -> None:
        """Deletes a file: withdraw, tidy away, or a mistake."""
        for place in self.queue.lies_in(name)[:1]:
            if name not in self.slow:
                self.queue.path(name, place).unlink()
                if not self.is_logged(self.words.get(name, [])[:1]):
                    self.words.pop(name, None)  # nobody has seen it yet, or could note it on a full disk

    @rule()
    def toggle_pause(self) -> None:
        """Pauses or resumes."""
        if self.queue.workspace.pause.exists():
            self.queue.workspace.pause.unlink()
        else:
            self.queue.workspace.pause.touch()

    # ------------------------------------------------- the daemon

    def survive(self, times: int = 1) -> None:
        """Steps; a full disk is borne, a death leads to another daemon."""
        for _ in range(times):
            self.queue.clock.advance(0.2)
            try:
                self.queue.step()
            except sqlite3.OperationalError:
                if not self.full:
                    raise
            except Killed:
                self.queue.abandon()
                self.queue.ids = self.fresh_ids()
                self.start()

    def start(self) -> None:
        """Starts a daemon, with room for it on the disk."""
        self.full = False
        self.queue.start()

    @rule(times=st.integers(1, 4))
    def step(self, times: int) -> None:
        """The daemon works."""
        self.survive(times)

    @rule()
    def work(self) -> None:
        """The daemon works until something has happened: a handler has begun, finished or failed."""
        deadline = self.queue.clock.wall_s + 20
        before = len(self.queue.rows())
        while self.queue.clock.wall_s < deadline and len(self.queue.rows()) < before + 3:
            self.survive()
            signal.sigtimedwait([], 0.01)

    @rule()
    def restart(self) -> None:
        """kill −9 between two steps."""
        self.queue.abandon()
        self.start()

    @rule(after=st.integers(0, 4))
    def kill_in_the_middle(self, after: int) -> None:
        """kill −9 in the middle of a step, right before one of the next events is committed."""
        self.lives_left = after
        self.survive(3)
        self.lives_left = None

    @rule()
    def kill_shims(self) -> None:
        """Somebody kills the shims of all live attempts."""
        for path in self.root.glob("state/runs/*/attempt-*/shim.json"):
            shim = workers.shim_of(path.parent)
            if shim and shim.is_alive():
                os.kill(shim.pid, signal.SIGKILL)

    @rule(seconds=st.sampled_from([3600.0, -3600.0, 86400.0]))
    def clock_jumps(self, seconds: float) -> None:
        """The wall clock is set."""
        self.queue.clock.jump(seconds)

    @rule()
    def disk_fills_up(self) -> None:
        """From now on the log finds no new page."""
        assert self.queue.daemon
        (pages,) = self.queue.daemon.log._db.execute("PRAGMA page_count").fetchone()
        self.queue.daemon.log._db.execute(f"PRAGMA max_page_count = {pages}")
        self.full = True

    @rule()
    def disk_has_room(self) -> None:
        """Somebody makes room."""
        assert self.queue.daemon
        self.queue.daemon.log._db.execute("PRAGMA max_page_count = 1000000")
        self.full = False

    # ------------------------------------------------- what must hold

    @invariant()
    def memory_is_the_replay(self) -> None:
        """What the daemon believes is what the log says, at each moment."""
        if self.queue.daemon:
            assert self.queue.daemon.log.replay() == self.queue.daemon.tasks

    @invariant()
    def one_attempt_at_a_time(self) -> None:
        """A task's next attempt is claimed when the last one has exited; a run and attempt are claimed once."""
        live: dict[str, bool] = {}
        claimed = set()
        for row in self.queue.rows():
            event = log.decode(row)
            name = row.task_id or ""
            if row.type == "task.claimed":
                assert not live.get(name)
                assert (row.run_id, row.attempt) not in claimed
                claimed.add((row.run_id, row.attempt))
                live[name] = True
            elif row.type == "run.exited":
                live[name] = False
            assert event or "." in row.type

    def settle_everything(self) -> None:
        """Lets all go on to its end, and checks that everything agrees and nothing is lost."""
        for name in list(self.slow):
            fd = self.slow.pop(name)
            os.write(fd, f"ct\n---\n{self.new_word(name)}\n".encode())
            os.close(fd)
        self.lives_left = None
        if not self.queue.daemon:
            self.start()
        self.disk_has_room()
        self.queue.workspace.pause.touch()
        assert self.queue.daemon
        daemon = self.queue.daemon
        self.queue.step(2)
        self.queue.until(lambda: not any(t.status is IN_PROGRESS and t.live and not t.spawned for t in daemon.tasks.values()),
                         advance_s=0.5)  # fmt: skip
        daemon.stopping = True  # live runs are asked for a checkpoint
        self.queue.settle()
        assert audit.log_faults(self.queue.workspace.log) == []
        assert audit.disagreements(self.queue.workspace) == []
        self.no_word_is_lost()
        self.outcomes_are_final()

    def no_word_is_lost(self) -> None:
        """What the user wrote into a file stands in it, or in the log where the file is gone."""
        for name, words in self.words.items():
            for place in self.queue.lies_in(name):
                text = self.queue.path(name, place).read_text()
                missing = [word for word in words if word not in text]
                assert not missing, f"{name}: {missing} are not in {place}/"
            assert self.queue.lies_in(name) or self.is_logged(words[:1]), (
                f"{name}: {words[0]} is in no file and not in the log"
            )

    def is_logged(self, words: list[str]) -> bool:
        """Tells whether the log has these words."""
        known = "".join(row.data for row in self.queue.rows())
        return all(word in known for word in words)

    def outcomes_are_final(self) -> None:
        """A run that completed is not begun again but by a user, who then begins another run."""
        completed = set()
        for row in self.queue.rows():
            if row.type == "task.claimed":
                assert row.run_id not in completed
            elif row.type == "run.exited" and row.payload["ending"] == "completed":
                completed.add(row.run_id)
        for path in self.root.glob("data/*/starts.txt"):
            attempts = path.read_text().split()
            assert len(attempts) == len(set(attempts)), f"{path.parent.name}: an attempt has begun twice: {attempts}"


def search(lives: int, steps: int, at_random: bool = False) -> None:
    """Runs the machine."""
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Machine,
        settings=settings(
            max_examples=lives, stateful_step_count=steps, deadline=None, database=None, derandomize=not at_random,
            suppress_health_check=list(HealthCheck), phases=[Phase.generate],  # children's timing does not shrink
        ),
    )  # fmt: skip


def test_any_mixture_of_events_ends_in_agreement() -> None:
    """Replay, folders and views agree; one live attempt a task; outcomes are final; no word of a user is lost."""
    search(lives=12, steps=20)


@pytest.mark.sweep
@pytest.mark.timeout(3600)
def test_any_mixture_of_events_ends_in_agreement_in_a_long_search(capsys: pytest.CaptureFixture[str]) -> None:
    """The same at random, for as long as CAI_SEARCH_S says."""
    begun_s, lives = time.monotonic(), 0
    while time.monotonic() - begun_s < SEARCH_S:
        search(lives=10, steps=50, at_random=True)
        lives += 10
    figures = {
        "lives": lives,
        "steps of each, at most": 50,
        "seconds": round(time.monotonic() - begun_s),
        "violations": 0,
    }
    record.note("search", "any mixture of events", figures)
    with capsys.disabled():
        print("\nsearch          " + "  ".join(f"{name} {value}" for name, value in figures.items()))
