"""Writes docs/reliability.md from a run: `make reliability`, or `python scripts/reliability_table.py build/*.xml`.

Without arguments it only prints what the last run of each mode has tried.

Nothing in that page is typed: which tests passed comes from the run's JUnit files, the figures from build/reliability.json,
which the tests leave. A promise without a test that ran, or with one that failed, says so, and the exit code is 1.
"""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PROMISES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "One daemon a workspace", "flock on a descriptor that no child inherits; an epoch in every event",
        ("test_of_eight_daemons_one_wins", "test_a_stopped_daemon_is_killed_by_the_one_that_takes_over",
         "test_a_stopped_daemon_of_another_machine_is_shut_out",
         "test_an_older_daemon_cannot_append"),
    ),
    (
        "No committed transition lost, none twice", "intent → move → confirm; every start reconciles first",
        ("test_no_system_call_is_a_bad_moment_to_be_killed_at",
         "test_a_daemon_killed_again_and_again_loses_nothing", "test_any_mixture_of_events_ends_in_agreement"),
    ),
    (
        "Power loss", "`synchronous=FULL`; fsync of the file before a rename, of both folders after it",
        ("test_each_rename_is_on_disk_before_the_next_commit",),
    ),
    (
        "At least once, and never again after a durable outcome", "outcome.json and exit.json; a run keeps its name",
        ("test_no_system_call_is_a_bad_moment_to_be_killed_at",
         "test_work_that_ends_while_no_daemon_runs_is_taken_in", "test_an_attempt_that_is_launched_twice_runs_once"),
    ),
    (
        "The daemon's death does not kill a run", "a shim in a session of its own; pid, start time and boot id name it",
        ("test_a_killed_daemon_does_not_kill_the_work", "test_a_stopped_daemon_goes_on_when_it_is_woken"),
    ),
    (
        "No orphan after a cancel", "process group and subreaper; TERM, a time of grace, KILL",
        ("test_a_double_fork_does_not_escape_a_cancel", "test_nothing_of_a_cancelled_run_stays_alive",
         "test_a_child_that_a_handler_leaves_behind_dies_with_it"),
    ),
    (
        "SIGTERM stops picking, asks for a checkpoint, requeues", "the outcome `Requeue`; a second TERM is immediate",
        ("test_sigterm_while_idle_ends_at_once", "test_sigterm_while_a_run_lives_asks_it_for_a_checkpoint",
         "test_sigterm_before_a_handler_listens_is_no_crash", "test_a_second_sigterm_ends_at_once",
         "test_sigterm_before_the_first_step_ends_at_once", "test_no_system_call_is_a_bad_moment_to_be_killed_at"),
    ),
    (
        "A poison task stops", "a cap on crashes with back-off, then blocked with its last words; bounded output and reports",
        ("test_a_poison_task_stops", "test_work_that_stops_though_nobody_asked_it_to_is_poison_in_the_end",
         "test_a_handler_that_the_kernel_kills_for_its_memory_is_a_crash",
         "test_a_flood_of_output_is_cut", "test_a_flood_of_reports_is_cut_short_and_said"),
    ),
    (
        "Full disk, quota, I/O error, read-only", "stop picking, keep children, say degraded, keep trying; a reserve file",
        ("test_no_error_of_the_disk_loses_a_thing",
         "test_a_full_disk_stops_the_queue_and_room_lets_it_go_on", "test_a_log_that_somebody_else_has_locked_is_waited_for",
         "test_task_folders_that_turn_read_only_are_waited_for",
         "test_task_folders_that_vanish_withdraw_nothing", "test_a_folder_that_vanishes_withdraws_nothing"),
    ),
    (
        "Half-written files are not read", "ready = no process has it open for writing; on network file systems, at rest",
        ("test_a_file_is_taken_in_when_its_writer_closes_it", "test_an_empty_file_waits_for_its_content",
         "test_a_file_arrives_by_any_way_once", "test_on_a_network_file_system_a_file_counts_as_whole_when_it_rests"),
    ),
    (
        "Hostile files", "opened without following or waiting; size, encoding, aliases, tags and depth are limited",
        ("test_no_file_breaks_the_reader", "test_no_file_breaks_the_reader_for_minutes",
         "test_what_is_no_plain_file_is_left_alone_with_one_event", "test_a_broken_file_goes_to_blocked_with_its_faults",
         "test_a_parameter_cannot_lead_outside_through_a_link"),
    ),
    (
        "The same name twice", "a rename never replaces; the second file is refused with the reason",
        ("test_a_second_file_of_a_name_is_refused", "test_a_move_never_overwrites"),
    ),
    (
        "A person edits, deletes, moves a running task's file", "the handler works on a snapshot; a move is a command",
        ("test_every_save_of_an_editor_during_a_run_survives", "test_an_editor_that_saves_every_second",
         "test_a_running_file_is_edited_without_harm",
         "test_an_editor_s_save_in_the_middle_of_a_rewrite_survives", "test_a_deleted_running_file_is_restored",
         "test_a_move_by_hand_is_a_command"),
    ),
    (
        "Clocks jump", "the order is that of seq; durations are monotonic",
        ("test_a_clock_that_jumps_changes_no_order", "test_a_clock_that_jumps_disturbs_nothing",
         "test_a_clock_that_jumped_back_does_not_freeze_a_task"),
    ),
    (
        "Missed hints", "hints save waiting, whole looks are the truth",
        ("test_files_that_no_hint_told_of_are_taken_in", "test_hints_are_not_needed", "test_ten_thousand_files_at_once"),
    ),
    (
        "The log proves itself", "triggers, a chain of hashes, `cai verify`, `cai rebuild` from log and copy",
        ("test_a_changed_event_is_found", "test_nothing_but_an_append_is_possible", "test_rebuild_brings_views_back",
         "test_a_damaged_page_is_named_and_mended_from_the_copy",
         "test_without_a_copy_the_longest_provable_part_is_kept"),
    ),
)  # fmt: skip
INTRODUCTION = """# What is promised, and what proves it

Written by `make reliability` from its last run; do not edit. Beside each figure stands the git tree of `daemon/` that it was
measured on (`git rev-parse HEAD:daemon`), with a `+` where that had changes which were not committed. How things work and what
they cost is in [operations.md](operations.md), who is trusted with what in [security.md](security.md).
"""
ON_KILLS = """
## kill −9 at system calls

A workload of three tasks (one completes, one is blocked, one is cancelled by hand while it runs) is killed at every rename,
renameat2, fsync, fdatasync, pwrite64, write, unlink, ftruncate and link, then started again. Afterwards log, folders, views
and status lines must agree, each claim have one end, each person's line be in its place, and no handler have been started
after a durable outcome; where only the daemon was killed, each exactly once. `daemon`: strace follows the daemon's deciding
thread and none of its children. `restart`: the restart is killed too, at a point drawn by the first one; at a part of the
points. `stop`: a SIGTERM instead, at a part of the points; its end must be logged. `shim`, `handler`: the shim or the handler
of each task's first attempt. `tree`: whichever process of all gets there first, at the calls with small numbers, which all of
them reach. "Of" are the calls of an undisturbed run, "struck" the points whose call came before the run had ended: two runs
differ by a few calls.
"""


def endings(junit: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    """Reads how each test ended: its module and passed, failed or skipped, by the name of its function."""
    found: dict[str, list[tuple[str, str]]] = {}
    for case in (case for path in junit for case in ElementTree.parse(path).iter("testcase")):
        kinds = {child.tag for child in case} & {"failure", "error", "skipped"}
        ending = "failed" if kinds & {"failure", "error"} else "skipped" if kinds else "passed"
        name = case.get("name", "").partition("[")[0]
        found.setdefault(name, []).append((case.get("classname", "").rpartition(".")[2], ending))
    return found


def promise_rows(found: dict[str, list[tuple[str, str]]]) -> tuple[list[str], list[str]]:
    """Gives the rows of the table of promises, and what is missing or broken."""
    rows, wrong = [], []
    for number, (promise, how, tests) in enumerate(PROMISES, 1):
        proofs = []
        for test in tests:
            ended = Counter(ending for _, ending in found.get(test, []))
            if not ended["passed"] or ended["failed"]:
                wrong.append(f"promise {number}: {test}: {dict(ended) or 'did not run'}")
            said = ", ".join(f"{times} {ending}" for ending, times in ended.items()) or "DID NOT RUN"
            proofs.append(f"`{found[test][0][0] if test in found else '?'}::{test}` {said}")
        rows.append(f"| {number} | {promise} | {how} | {'<br>'.join(proofs)} |")
    return rows, wrong


def table(title: str, figures: dict[str, dict[str, Any]]) -> list[str]:
    """Writes figures as a table whose columns are what any row has."""
    columns = list(dict.fromkeys(column for row in figures.values() for column in row))
    lines = ["", f"| {title} | {' | '.join(columns)} |", "|" + "---|" * (len(columns) + 1)]
    for name, row in figures.items():
        shown = [", ".join(map(str, v)) if isinstance(v, list) else str(v) for v in (row.get(c, "") for c in columns)]
        lines.append(f"| {name} | {' | '.join(shown)} |")
    return lines


def main() -> int:
    """Writes the page, prints the figures of each mode, and says what is missing."""
    noted = json.loads((ROOT / "build" / "reliability.json").read_text(encoding="utf-8"))
    for section in ("sweep", "faults", "search", "fuzz"):
        for name, row in noted.get(section, {}).items():
            print(f"{name:24}" + "  ".join(f"{column} {value}" for column, value in row.items()))
    if len(sys.argv) < 2:
        return 0
    found = endings(sys.argv[1:])
    rows, wrong = promise_rows(found)
    ended = Counter(ending for tests in found.values() for _, ending in tests)
    page = [
        INTRODUCTION,
        f"Machine: {os.cpu_count()} cores, {platform.system()} {platform.release()}, Python {platform.python_version()}, SQLite "
        f"{sqlite3.sqlite_version}. Tests of the queue: {', '.join(f'{n} {ending}' for ending, n in sorted(ended.items()))}.",
        "",
        "| # | promise | how | tests of the last run |",
        "|---|---|---|---|",
        *rows,
        ON_KILLS.rstrip(),
    ]
    page += table("mode", noted.get("sweep", {}))
    page += [
        "",
        "## Errors of the disk",
        "",
        "The same calls fail instead, once (`fault`) or from there on (`lasting`).",
    ]
    page += table("mode and error", noted.get("faults", {}))
    page += ["", "## Load", *(line for name, row in noted.get("load", {}).items() for line in table(name, {"": row}))]
    page += ["", "## Any mixture of users, crashes and bad luck", *table("what", noted.get("search", {}))]
    page += ["", "## Fuzzing", *table("what", noted.get("fuzz", {}))]
    page += [
        "",
        "## Deliberate defects",
        "",
        "Each is made in a copy of the tree, where the tests against it must fail.",
    ]
    page += table("defect", noted.get("defects", {}))
    (ROOT / "docs" / "reliability.md").write_text("\n".join(page) + "\n", encoding="utf-8")

    wrong += [f"{name}: failed" for name, tests in found.items() if any(ending == "failed" for _, ending in tests)]
    wrong += [f"defect not caught: {name}" for name, row in noted.get("defects", {}).items() if not row["caught by"]]
    for section in ("sweep", "faults"):
        wrong += [
            f"{n}: {row['violations']} violations" for n, row in noted.get(section, {}).items() if row["violations"]
        ]
    print("\n".join(wrong) or "every promise is proved")
    print("docs/reliability.md is written")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
