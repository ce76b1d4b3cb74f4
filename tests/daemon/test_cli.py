"""Every command: what it prints, what it does, how it exits, and what it says when it cannot."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from daemon import cli
from daemon.task import FOLDERS
from daemon.workspace import Lock, Settings, Workspace
from tests.actor import KINDS
from tests.conftest import ACT, acting, kill_all_below, name_of
from tests.serve import ACTOR

PENDING, IN_PROGRESS, COMPLETED, BLOCKED = FOLDERS
X, Y = name_of("x"), name_of("y")
Cai = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cai(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> Cai:
    """Runs a command in the workspace; gives exit code, output and error output."""

    def run(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(["-w", str(workspace.root), *arguments], kinds=KINDS, handlers=ACTOR)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def drained(workspace: Workspace, cai: Cai) -> Iterator[Cai]:
    """A workspace with a completed and a blocked task, at rest."""
    workspace.file(PENDING, X).write_text(acting())
    workspace.file(PENDING, Y).write_text(acting("block"))
    assert cai("once")[0] == cli.NO
    yield cai
    kill_all_below(workspace.root)


def test_init_makes_a_workspace_and_spoils_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Twice in the same folder is once; state/ is for its owner alone."""
    for _ in range(2):
        assert cli.main(["init", str(tmp_path / "w")]) == 0
        assert "is a workspace" in capsys.readouterr().out
    assert all((tmp_path / "w" / "tasks" / status.value).is_dir() for status in FOLDERS)
    assert (tmp_path / "w" / "state").stat().st_mode & 0o077 == 0


def test_once_tells_by_its_exit_code_whether_all_is_done(workspace: Workspace, cai: Cai) -> None:
    """0 when all completed, 1 when something is blocked; what waits for a blocked task counts too."""
    assert cai("once")[0] == 0
    workspace.file(PENDING, X).write_text(acting())
    code, out, _ = cai("once")
    assert (code, "completed (1)" in out) == (0, True)
    workspace.file(PENDING, Y).write_text(acting("fail"))
    assert cai("once")[0] == 1


def test_status_says_where_everything_stands(drained: Cai, workspace: Workspace) -> None:
    """Text for people, the same as data for programs."""
    workspace.file(PENDING, name_of("z")).write_text(acting(more=f"depends_on: [{Y}]\n"))
    drained("once")
    _, out, _ = drained("status")
    assert "daemon: not running" in out
    assert "to do: bring the data" in out
    assert f"waits for {Y} (blocked: the data is missing)" in out
    code, out, _ = drained("status", "--json")
    assert code == 0
    assert {task["task_id"]: task["status"] for task in json.loads(out)["tasks"]} == {
        X: "completed", Y: "blocked", name_of("z"): "pending",
    }  # fmt: skip


def test_show_prints_file_and_events(drained: Cai) -> None:
    """By its name or an unambiguous part of it."""
    code, out, _ = drained("show", "_x")
    assert code == 0
    assert "Completed: figure 1" in out
    assert "run.spawned" in out
    assert json.loads(drained("show", X, "--json")[1])["folder"] == "completed"


def test_logs_print_what_the_handler_printed(workspace: Workspace, cai: Cai) -> None:
    """Standard output and error of the last attempt; -f ends with the run."""
    (workspace.root / "cai.yaml").write_text("max_crashes: 1\n")
    workspace.file(PENDING, X).write_text(acting("crash"))
    cai("once")
    assert cai("logs", "x") == (0, "about to crash\n", "")
    assert cai("logs", "x", "-f")[1] == "about to crash\n"


def test_events_filter_by_task_and_type(drained: Cai) -> None:
    """One line an event; a type that ends in a dot stands for its kind; --json is JSON lines."""
    _, out, _ = drained("events", "--task", "x", "--type", "run.", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert {row["task_id"] for row in rows} == {X}
    assert [row["type"] for row in rows] == ["run.spawned", "run.measured", "run.exited"]
    assert len(drained("events", "--type", "task.blocked")[1].splitlines()) == 1


def test_retry_and_cancel_move_files(drained: Cai, workspace: Workspace) -> None:
    """A command is a user's hand; what does not fit is refused and changes nothing."""
    assert drained("retry", "y")[0] == 0
    assert workspace.file(PENDING, Y).exists()
    code, out, _ = drained("cancel", "y")
    assert (code, workspace.file(BLOCKED, Y).exists()) == (0, True)
    assert "the next `cai up` takes note" in out
    code, _, err = drained("cancel", "x")
    assert code == 2
    assert "lies in completed/, not in pending/ or in_progress/; nothing was done" in err


def test_a_move_onto_another_file_is_refused(drained: Cai, workspace: Workspace) -> None:
    """The message names the file, without a traceback, and nothing is overwritten."""
    workspace.file(PENDING, Y).write_text("mine")
    code, _, err = drained("retry", Y)
    assert code != 0
    assert err.startswith("cai: ")
    assert workspace.file(PENDING, Y).read_text() == "mine"
    workspace.file(PENDING, Y).unlink()


def test_pause_and_resume(drained: Cai, workspace: Workspace) -> None:
    """A paused queue drains nothing; the status says so."""
    assert drained("pause")[0] == 0
    workspace.file(PENDING, name_of("z")).write_text(ACT)
    drained("once")
    assert "PAUSED" in drained("status")[1]
    assert workspace.file(PENDING, name_of("z")).exists()
    assert drained("resume")[0] == 0
    drained("once")
    assert workspace.file(COMPLETED, name_of("z")).exists()


def test_submit_checks_before_it_drops(workspace: Workspace, cai: Cai, tmp_path: Path) -> None:
    """All faults of all files at once, nothing submitted where there is one; a name that is taken is refused."""
    good = tmp_path / f"{X}.md"
    good.write_text("---\nhandler: baseline\nstage: 1\n---\n# Measure\n")
    bad = tmp_path / "bad.md"
    bad.write_text("---\nhandler: sing\n---\n")
    code, _, err = cai("submit", str(good), str(bad))
    assert code == 2
    assert "nothing was submitted" in err
    assert "'bad.md' is not of the form" in err
    assert "'sing' is not one of" in err
    assert not workspace.file(PENDING, X).exists()
    assert cai("submit", str(good))[0] == 0
    assert workspace.file(PENDING, X).read_text() == good.read_text()
    code, _, err = cai("submit", str(good))
    assert (code, "there is a task of this name in pending/" in err) == (2, True)
    assert cai("submit", str(tmp_path / "missing.md"))[0] == 2


def test_verify_and_rebuild_check_agree_with_a_good_workspace(drained: Cai) -> None:
    """0 and a sentence; empty lists as data."""
    assert drained("verify") == (0, "the log is whole and unchanged\n", "")
    assert drained("rebuild", "--check") == (0, "folders, views and replay agree\n", "")
    assert json.loads(drained("verify", "--json")[1]) == json.loads(drained("rebuild", "--check", "--json")[1]) == []


def test_rebuild_check_finds_a_missing_file(drained: Cai, workspace: Workspace) -> None:
    """1 and where they differ; rebuild mends it."""
    workspace.file(BLOCKED, Y).unlink()
    code, out, _ = drained("rebuild", "--check")
    assert (code, "lies in no folder" in out) == (1, True)
    assert drained("rebuild")[0] == 0
    assert drained("rebuild", "--check")[0] == 0


def test_pod_asks_the_provider_and_stops_nothing_under_a_daemon(workspace: Workspace, cai: Cai) -> None:
    """By the two commands of cai.yaml; the answer is what pod_stopped says, and the key in .env is never shown."""
    code, _, error = cai("pod")
    assert code == cli.USAGE
    assert "names no pod_stop and pod_stopped" in error
    gone = workspace.root / "gone"
    (workspace.root / ".env").write_text("POD_KEY=hunter2hunter2\n")
    (workspace.root / "cai.yaml").write_text(
        f"pod_stop: touch {gone}\npod_stopped: 'echo key hunter2hunter2; test -e {gone}'\n"
    )
    code, out, _ = cai("pod")
    assert code == cli.NO
    assert out.startswith("not stopped, says pod_stopped with 1: key ")
    assert "hunter2" not in out
    lock = Lock(workspace.lock, {"pid": 1, "host": "here", "since": "now"})
    code, _, error = cai("pod", "--stop")
    assert code == cli.USAGE
    assert "the daemon is at work, pid 1" in error
    assert not gone.exists()
    lock.release()
    code, out, _ = cai("pod", "--stop", "--json")
    assert code == cli.OK
    assert json.loads(out)["stopped"] is True


def test_a_pod_that_does_not_stop_is_told(workspace: Workspace, cai: Cai) -> None:
    """A failing stop is no silent one."""
    (workspace.root / "cai.yaml").write_text("pod_stop: 'echo no such pod; exit 3'\npod_stopped: 'true'\n")
    code, _, error = cai("pod", "--stop")
    assert code == cli.USAGE
    assert "pod_stop failed with 3, the machine still costs: no such pod" in error


def test_an_interrupted_demo_goes_on(workspace: Workspace, cai: Cai, capsys: pytest.CaptureFixture[str]) -> None:
    """What has been planned is not planned again; each command is shown as it is run, and the first that fails ends it."""
    workspace.file(PENDING, X).write_text(acting())
    assert cai("once")[0] == cli.OK
    assert cli.main(["demo", str(workspace.root)]) == cli.main(["-w", str(workspace.root), "ladder"]) != cli.OK
    shown = [line for line in capsys.readouterr().out.splitlines() if line.startswith("$ cai")]
    assert shown == [f"$ cai -w {workspace.root} {name}" for name in ("once", "ladder")]
    assert len(list(workspace.tasks.glob("*/*.md"))) == 1


def test_doctor_names_what_is_wrong(drained: Cai, workspace: Workspace) -> None:
    """Every check has a line, and one that is bad makes the exit code 1."""
    workspace.state.chmod(0o755)
    code, out, _ = drained("doctor", "--json")
    found = {check["check"]: check for check in json.loads(out)}
    assert code == 1
    assert found["rights"]["level"] == "bad"
    assert "chmod" in found["rights"]["finding"]
    assert found["log"]["level"] == found["python"]["level"] == "ok"
    workspace.state.chmod(0o700)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["status"], 2, "there is no event log; start the daemon with `cai up`"),
        (["show", "nothing"], 2, "'nothing' is no task here; `cai status` lists them"),
        (["verify"], 2, "there is no event log"),
        (["retry", "nothing"], 2, "is no task here"),
    ],
)
def test_an_empty_workspace_says_what_is_missing(cai: Cai, arguments: list[str], code: int, said: str) -> None:
    """What, where, and what to do; no traceback."""
    found, _, err = cai(*arguments)
    assert found == code
    assert said in err


def test_an_ambiguous_name_lists_its_tasks(drained: Cai) -> None:
    """A part of two names is refused with both."""
    code, _, err = drained("show", "2026")
    assert code == 2
    assert X in err
    assert Y in err


def test_status_estimates_what_is_to_come(workspace: Workspace, cai: Cai) -> None:
    """From past runs of the same handler; what nothing is known of is counted and not guessed."""
    for number in range(30):
        workspace.file(PENDING, name_of(f"n{number:02}")).write_text(acting(more=f"stage: {number % 3 + 1}\n"))
    (workspace.root / "cai.yaml").write_text("workers: 8\nusd_per_hour: 3600000\n")
    cai("once")
    done = json.loads(cai("status", "--json")[1])
    per_run = sorted(task["usd"] for task in done["tasks"])
    for number in range(2):
        workspace.file(PENDING, name_of(f"z{number}")).write_text(acting(more="stage: 3\n"))
    workspace.pause.touch()
    cai("once")
    come = json.loads(cai("status", "--json")[1])["to_come"]
    assert (come["known"], come["unknown"]) == (2, 0)
    assert come["usd"] == pytest.approx(2 * (per_run[14] + per_run[15]) / 2)
    out = cai("status")[1]
    assert "stages: 1 done | 2 done | 3 waits" in out
    assert f"to come: {come['usd']:.2f} USD" in out
    assert len(out.splitlines()) <= 24, "more than one screen"


def test_status_of_a_fresh_queue_has_nothing_to_estimate_by(workspace: Workspace, cai: Cai) -> None:
    """No figure is made up."""
    workspace.file(PENDING, X).write_text(acting())
    workspace.pause.touch()
    cai("once")
    assert "to come: no past runs to estimate by" in cai("status")[1]


def test_no_workspace_says_how_to_make_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Outside of a workspace, and for a folder that is none."""
    assert cli.main(["-w", str(tmp_path), "status"]) == 2
    assert "is no workspace: " in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_bad_settings_list_every_fault(workspace: Workspace, cai: Cai) -> None:
    """cai.yaml is read strictly before anything is started."""
    (workspace.root / "cai.yaml").write_text("workers: 0\nspeed: 3\nbackoff_s: soon\n")
    code, _, err = cai("once")
    assert code == 2
    for said in ("workers: must be at least 1, got 0", "speed: unknown", "backoff_s: expected a number"):
        assert said in err


def test_the_settings_are_documented_as_they_are() -> None:
    """docs/operations.md names each setting with its default."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    table = dict(
        re.findall(r"^\| `(\w+)` \| (\S*) *\|", text.partition("## Settings")[2].partition("\n## ")[0], re.MULTILINE)
    )
    assert table == {f.name: "" if f.default == "" else f"{f.default:g}" for f in fields(Settings)}


def test_a_folder_that_cannot_be_made_is_an_error_and_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """The operating system's word is passed on."""
    assert cli.main(["init", "/proc/nowhere"]) != 0
    assert "/proc/nowhere" in capsys.readouterr().err


def test_a_closed_pipe_is_no_error(drained: Cai, workspace: Workspace) -> None:
    """`cai events | head -1` ends quietly."""
    assert drained("status")[0] == 0
    serve = Path(__file__).resolve().parent.parent / "serve.py"
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} {serve} -w {workspace.root} events | head -1; exit ${{PIPESTATUS[0]}}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_every_command_of_the_help_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    """`cai --help` and each command's --help end with 0."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    for command in ("init", "up", "once", "submit", "status", "show", "logs", "events", "retry", "cancel", "pause",
                    "resume", "verify", "rebuild", "doctor"):  # fmt: skip
        assert f"\n    {command} " in out
        with pytest.raises(SystemExit) as ended:
            cli.main([command, "--help"])
        assert ended.value.code == 0
