"""The claims of docs/security.md: what a task file cannot reach, what others cannot read, what never stands in the log."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from daemon import doctor
from daemon.redaction import HIDDEN, hider
from daemon.service import Daemon
from daemon.task import Status
from daemon.workers import shim_of
from daemon.workspace import Workspace
from handlers.contract import Parameter
from tests.conftest import Queue, acting, name_of, wait_until
from tests.reliability.live import Live, drop
from tests.reliability.test_children import _PRELUDE

A = name_of("a")
BY_NAME, BY_DOTENV, BY_SHAPE = "correct horse battery", 'dot"env\\value', "hf_" + "a1B2" * 8
LEAKS = f"""
said = os.environ["MY_API_KEY"] + " " + {BY_DOTENV!r} + " " + {BY_SHAPE!r}
print(said, file=sys.stderr)
say(json.dumps({{"type": "produced", "kind": said, "path": said}}).encode() + b"\\n")
say(json.dumps({{"type": "progressed", "done": 1, "total": 2, "unit": "x", "note": said}}).encode() + b"\\n")
"""


@pytest.mark.parametrize("ending", ["sys.exit(3)", "end(outcome='blocked', reason=said, needs=said)"])
def test_a_secret_that_a_handler_says_stays_out_of_log_and_files(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    """Values of secret variables and of .env, and keys by their shape, are replaced before they reach log, file or terminal."""
    monkeypatch.setenv("MY_API_KEY", BY_NAME)
    (workspace.root / ".env").write_text(f"# a comment\nexport OTHER='{BY_DOTENV}'\nSHORT=ab\n")
    queue = Queue(workspace, max_crashes=1).start()
    script = workspace.root / "handler.py"
    script.write_text(f"{_PRELUDE}{LEAKS}{ending}\n")
    assert queue.daemon
    queue.daemon._launcher._command = (sys.executable, "-S", str(script))
    queue.drop(A)
    queue.until_status(A, Status.BLOCKED)
    queue.settle()
    told = queue.text(A) + "\n".join(queue.said) + "".join(row.data for row in queue.rows())
    queue.abandon()
    kept = [path.read_bytes() for path in (*workspace.state.glob("events.*"), *workspace.tasks.rglob("*.md"))]
    assert HIDDEN in told
    for secret in (BY_NAME, BY_DOTENV, BY_DOTENV.replace("\\", "\\\\").replace('"', '\\"'), BY_SHAPE):
        assert secret not in told
        assert not any(secret.encode() in content for content in kept)


def test_words_that_are_no_secret_stay(tmp_path: Path) -> None:
    """Short values, and variables whose names promise nothing, are left in the text."""
    hide = hider({"HOME": "/home/somebody", "TOKEN": "abc", "PATH": "/usr/bin:/bin"}, tmp_path / ".env")
    assert hide("abc in /home/somebody, task-1, risk-averse") == "abc in /home/somebody, task-1, risk-averse"


def test_what_the_machine_remembers_is_for_its_owner_alone(workspace: Workspace) -> None:
    """Nobody but the owner can enter state/ or read the log, its copy or a run's folder, whatever the umask."""
    umask = os.umask(0)
    try:
        with Live(workspace) as live:
            drop(workspace, A)
            live.until(A, Status.COMPLETED)
    finally:
        os.umask(umask)
    kept = [workspace.state, workspace.log, workspace.log_copy, workspace.attempt_dir(f"{A}.1", 1)]
    assert [oct(stat.S_IMODE(path.stat().st_mode)) for path in kept] == ["0o700", "0o600", "0o600", "0o700"]


def test_a_daemon_opens_no_socket(workspace: Workspace) -> None:
    """Nobody reaches the queue but by its files: neither the daemon nor a shim listens or speaks anywhere."""
    with Live(workspace) as live:
        drop(workspace, A, acting("wait"))
        live.until(A, Status.IN_PROGRESS)
        shim = wait_until(lambda: shim_of(workspace.attempt_dir(f"{A}.1", 1)), "the shim")
        for pid in (live.process.pid, shim.pid):
            kinds = [os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/fd")]
            assert kinds
            assert [kind for kind in kinds if kind.startswith("socket:")] == []


@pytest.mark.parametrize("name", ["state", "state/events.db", ".env"])
def test_doctor_says_where_others_can_read(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Rights that let others read the state or a file of secrets are a bad finding, with the command that mends them."""
    monkeypatch.setattr(doctor, "_torch", lambda _: doctor.Check("torch", "ok", ""))
    Queue(workspace).start().abandon()
    (workspace.root / ".env").touch(mode=0o600)
    assert _rights(workspace).level == "ok"
    (workspace.root / name).chmod(0o755)
    assert _rights(workspace).level == "bad"
    assert f"chmod -R go= {name}" in _rights(workspace).finding


def _rights(where: Workspace) -> doctor.Check:
    (check,) = [check for check in doctor.examine(where) if check.name == "rights"]
    return check


@pytest.mark.parametrize("value", ["/etc", "../x", "a/../../x", "~/../x/..", "data/\0"])
def test_a_parameter_cannot_name_a_path_outside(value: str) -> None:
    """A path parameter that is absolute, climbs, or cannot be a path is refused with the task file."""
    assert Parameter("model", Path, None, "").fault(value)


@pytest.mark.parametrize("target", ["/etc", "..", "inside/deeper/../../.."])
def test_a_parameter_cannot_lead_outside_through_a_link(workspace: Workspace, target: str) -> None:
    """A path parameter that a symbolic link leads out of the workspace blocks its task before a handler is started."""
    (workspace.root / "inside" / "deeper").mkdir(parents=True)
    (workspace.root / "inside" / "link").symlink_to(target if target.startswith("/") else workspace.root / target)
    queue = Queue(workspace)
    kinds = {"act": (Parameter("model", Path, None, ""),)}
    queue.daemon = Daemon(
        workspace, queue.settings, ids=queue.ids, kinds=kinds, command=(sys.executable, "-c", "raise SystemExit(9)"),
        now=lambda: queue.clock.wall_s, monotonic=lambda: queue.clock.monotonic_s, say=queue.said.append,
    )  # fmt: skip
    queue.daemon.start()
    queue.drop(A, "---\nhandler: act\nparams: {model: inside/link/passwd}\n---\n# T\n")
    queue.until_status(A, Status.BLOCKED)
    assert "params.model: 'inside/link/passwd' leads out of the workspace" in queue.task(A).reason
    assert "task.claimed" not in queue.types(A)
    (workspace.root / "inside" / "link").unlink()
    (workspace.root / "inside" / "link").symlink_to("link")  # a circle leads nowhere, and breaks nothing
    queue.move(A, Status.BLOCKED, Status.PENDING)
    queue.until(lambda: "task.claimed" in queue.types(A), "the claim")
    queue.settle()
    queue.abandon()
