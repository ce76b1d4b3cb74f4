"""Deliberate defects, each in a copy of the tree: the tests that are meant to catch it must fail there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.reliability import record, sweep

SWEEP = "tests/reliability/test_kill_sweep.py::test_a_killed_daemon_is_taken_up_where_it_was[daemon]"
BROKEN = re.compile(r"(Name|Import|ModuleNotFound|Syntax|Indentation|Attribute|Type)Error")  # a defect that is none


@dataclass(frozen=True, slots=True)
class Defect:
    """One change of the source that breaks a promise, and the tests that must notice."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


DEFECTS = (
    Defect(
        "confirm a move before it is made", "daemon/filing.py",
        "                folders.move(source, target)\n",
        "                self._ledger.record([Moved(task.id, task.place, dst)])\n"
        "                folders.move(source, target)\n"
        "                return\n",
        (SWEEP,),
    ),
    Defect(
        "start the work and move its file before the claim is committed", "daemon/service.py",
        "                self.ledger.commit([(task.id, Claim())])\n                self._runs.launch(self.tasks[task.id])\n",
        "                import dataclasses\n"
        "                self._runs.launch(dataclasses.replace(task, run=task.run or 1, attempt=task.attempt + 1))\n"
        "                folders.move(self.workspace.file(Status.PENDING, task.id),"
        " self.workspace.file(Status.IN_PROGRESS, task.id))\n"
        "                self.ledger.commit([(task.id, Claim())])\n",
        (SWEEP,),
    ),
    Defect(
        "do not flush the folder that a file left", "daemon/folders.py",
        "    sync_folder(dst.parent)\n    sync_folder(src.parent)\n", "    sync_folder(dst.parent)\n",
        ("tests/reliability/test_power.py",),
    ),
    Defect(
        "do not flush a file before it is renamed", "daemon/folders.py",
        "        os.fchmod(fd, mode)\n        os.fsync(fd)\n", "        os.fchmod(fd, mode)\n",
        ("tests/reliability/test_power.py",),
    ),
    Defect(
        "commit without waiting for the disk", "daemon/log.py",
        'PRAGMA synchronous=FULL")', 'PRAGMA synchronous=OFF")',
        ("tests/reliability/test_power.py",),
    ),
    Defect(
        "let children inherit the lock", "daemon/workers.py",
        "stdin=subprocess.DEVNULL, stdout=out",
        "close_fds=[os.set_inheritable(int(fd), True) for fd in os.listdir('/proc/self/fd') if os.path.realpath("
        "f'/proc/self/fd/{fd}').endswith('daemon.lock')] == 0, stdin=subprocess.DEVNULL, stdout=out",
        (SWEEP,),
    ),
    Defect(
        "forget to look again where hints are lost", "daemon/service.py",
        "            self._next_scan_s = now_s + (self.settings.scan_interval_s if watching else 1.0)\n",
        "            self._next_scan_s = now_s + 1e9\n",
        ("tests/reliability/test_load.py::test_files_that_no_hint_told_of_are_taken_in",),
    ),
    Defect(
        "overwrite on rename", "daemon/folders.py",
        "    _rename(src, dst, _RENAME_NOREPLACE)\n    sync", "    os.rename(src, dst)\n    sync",
        ("tests/daemon/test_folders.py", "tests/daemon/test_service.py::test_an_obstacle_is_named_and_waited_for"),
    ),
    Defect(
        "let a replaced daemon write on", "daemon/log.py",
        "WHEN NEW.epoch < (SELECT", "WHEN NEW.epoch < 0 * (SELECT",
        ("tests/daemon/test_log.py::test_an_older_daemon_cannot_append",),
    ),
    Defect(
        "let a replaced daemon stay", "daemon/log.py",
        "        if newest and newest[0] > self.epoch:\n", "        if newest and newest[0] < 0:\n",
        ("tests/daemon/test_recovery.py::test_replaced_daemon_leaves_even_where_it_has_nothing_to_write",),
    ),
    Defect(
        "let an attempt be started twice", "daemon/shim.py",
        'put(os.path.join(attempt_dir, "shim.json"), me, once=True)', 'put(os.path.join(attempt_dir, "shim.json"), me)',
        ("tests/reliability/test_mutations.py::test_an_attempt_that_is_launched_twice_runs_once",),
    ),
    Defect(
        "run again after an outcome", "daemon/workers.py",
        "        outcome = outcome_from_json(hide(_read_outcome(attempt_dir / OUTCOME)))\n",
        "        raise FileNotFoundError\n",
        (SWEEP,),
    ),
    Defect(
        "delete whatever a crash left aside", "daemon/folders.py",
        "        if _digest_of(aside) in (written, _EMPTY):\n", "        if aside:\n",
        ("tests/daemon/test_folders.py::test_a_save_survives_a_crash_in_the_middle_of_a_rewrite",),
    ),
    Defect(
        "take vanished folders for deleted files", "daemon/intake.py",
        "            os.stat(self.workspace.folder(status))  # where a folder has gone, its files have not been deleted\n",
        "            pass\n",
        ("tests/reliability/test_faults.py::test_a_file_whose_folder_is_gone_has_not_been_deleted",),
    ),
)  # fmt: skip


def test_an_attempt_that_is_launched_twice_runs_once(tmp_path: Path) -> None:
    """Of two shims of one attempt, the second goes away without starting the command."""
    shim = [
        sys.executable,
        "-I",
        "-S",
        str(sweep.ROOT / "daemon" / "shim.py"),
        str(tmp_path),
        "5",
        "--",
        "/bin/sh",
        "-c",
    ]
    for _ in range(2):
        subprocess.run([*shim, f"echo once >> {tmp_path}/starts"], check=True)
    assert (tmp_path / "starts").read_text() == "once\n"


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_each_defect_still_applies(defect: Defect) -> None:
    """The text that a defect replaces stands in the source once, so that the list cannot rot unseen."""
    assert (sweep.ROOT / defect.file).read_text().count(defect.old) == 1


@pytest.mark.sweep
@pytest.mark.defects
@pytest.mark.timeout(900)
@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_each_defect_is_caught(tmp_path: Path, defect: Defect, capsys: pytest.CaptureFixture[str]) -> None:
    """In a copy of the tree with one defect, the tests that promise against it fail, and not because it does not run."""
    for name in ("daemon", "handlers", "tests"):
        shutil.copytree(sweep.ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(sweep.ROOT / "pyproject.toml", tmp_path)
    path = tmp_path / defect.file
    path.write_text(path.read_text().replace(defect.old, defect.new))
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "-m",
        "not sweep",
        "-n",
        "0",
        *defect.tests,
    ]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTEST_ADDOPTS": ""}
    ran = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    caught_by = re.findall(r"^(?:FAILED|ERROR) \S*?(\w+\.py::\w+)", ran.stdout, re.MULTILINE)
    seen = re.findall(r"^E +(\S.*)$", ran.stdout, re.MULTILINE)
    figures = {"caught by": caught_by[:1], "what it saw": (seen or [""])[0][:160], "file": defect.file}
    record.note("defects", defect.name, figures)
    with capsys.disabled():
        print(f"\ndefect          {defect.name}: {'caught by ' + caught_by[0] if caught_by else 'NOT CAUGHT'}")
    assert ran.returncode == 1, ran.stdout[-3000:] + ran.stderr[-1000:]
    assert caught_by, ran.stdout[-3000:]
    assert seen, ran.stdout[-3000:]
    assert not BROKEN.match(seen[0]), f"the defect does not run, so nothing was shown: {seen[0]}"
