"""A machine paid by the hour is stopped when its queue needs a person, and the stop is confirmed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from daemon import cli
from daemon.pod import RETRY_S, Pod
from daemon.task import FOLDERS
from daemon.workspace import Settings, Workspace
from tests.conftest import acting, name_of, wait_until
from tests.daemon.test_recovery import Site, site  # noqa: F401

PENDING, _, COMPLETED, BLOCKED = FOLDERS
X = name_of("x")


class Provider:
    """A pod under a clock that the test winds, stopped by real commands on files that stand for the provider."""

    def __init__(self, folder: Path, minutes: float = 10.0, *, obeys: bool = True) -> None:
        self.now_s = 0.0
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.said: list[str] = []
        self.asked, stopped = folder / "asked", folder / "stopped"
        self.obey = f"touch {stopped}" if obeys else "true"
        settings = Settings(
            pod_stop=f"echo x >> {self.asked}; {self.obey}", pod_stopped=f"test -e {stopped} || {{ echo running; false; }}",
            pod_idle_minutes=minutes,
        )  # fmt: skip
        self.pod = Pod(settings, lambda type_, **data: self.events.append((type_, data)), self.said.append,
                       lambda text: text.replace("running", "[hidden]"), lambda: self.now_s)  # fmt: skip

    def after(self, minutes: float, idle: bool = True) -> list[str]:
        """Lets time pass and a step be made; gives the types of all events so far."""
        self.now_s += 60 * minutes
        self.pod.attend(idle)
        return [type_ for type_, _ in self.events]


def test_stop_is_asked_for_once_and_confirmed(tmp_path: Path) -> None:
    """After the idle minutes, not before; and never again while nothing happens."""
    provider = Provider(tmp_path)
    assert provider.after(0) == provider.after(9.9) == []
    assert provider.after(0.2) == ["pod.stop_requested", "pod.stopped"]
    assert provider.after(1000) == ["pod.stop_requested", "pod.stopped"]
    assert provider.asked.read_text() == "x\n"


def test_work_in_between_begins_the_wait_anew(tmp_path: Path) -> None:
    """A task that comes in the ninth minute, or after a stop that the machine outlived."""
    provider = Provider(tmp_path)
    provider.after(0)
    provider.after(9, idle=False)
    assert provider.after(0) == provider.after(9) == []
    assert len(provider.after(2)) == 2
    provider.after(1, idle=False)
    provider.after(0)
    assert len(provider.after(11)) == 4


def test_stop_that_is_not_confirmed_is_asked_for_again_and_loudly(tmp_path: Path) -> None:
    """A provider whose answer says that the machine still runs; what it prints is kept without its secrets."""
    provider = Provider(tmp_path, obeys=False)
    provider.after(0)
    assert provider.after(11) == ["pod.stop_requested", "pod.stop_unconfirmed"]
    assert provider.events[-1][1] == {"code": 1, "said": "[hidden]"}
    assert "THE MACHINE STILL COSTS" in provider.said[-1]
    assert len(provider.after(RETRY_S / 60 - 0.1)) == 2
    assert len(provider.after(0.2)) == 4
    assert len(provider.after(RETRY_S / 60 + 0.1)) == 4, "the second wait is longer than the first"


def test_log_that_cannot_be_written_does_not_keep_the_machine(tmp_path: Path) -> None:
    """A full disk is a reason to stop, not to go on paying."""
    provider = Provider(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    provider.pod._note = full
    provider.after(0)
    provider.after(11)
    assert provider.asked.exists()


def test_daemon_stops_its_machine_when_only_a_person_can_go_on(site: Site, workspace: Workspace) -> None:  # noqa: F811
    """A real `cai up`: one task completes, one blocks, then the queue is of no use; a paused one is left alone."""
    with open(workspace.root / "cai.yaml", "a") as settings:
        asked = workspace.root / "asked"
        settings.write(f"pod_stop: touch {asked}\npod_stopped: test -e {asked}\npod_idle_minutes: 0.02\n")
    workspace.pause.touch()
    site.up()
    site.drop(acting())
    site.drop(acting("block"), name_of("y"))
    wait_until(lambda: site.count("task.submitted") == 2, "both tasks to be seen")
    assert site.count("pod.stop_requested") == 0
    workspace.pause.unlink()
    wait_until(lambda: site.count("pod.stopped") == 1, "the stop")
    types = [row.type for row in site.rows()]
    assert types.index("pod.stop_requested") > max(types.index("task.completed"), types.index("task.blocked"))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("pod_stop: halt\n", "set both or neither"),
        ("pod_stop: 3\npod_stopped: x\n", "pod_stop: expected a command, got 3"),
    ],
)
def test_half_a_setting_is_refused(
    workspace: Workspace, settings: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stop that nobody can confirm is no stop."""
    (workspace.root / "cai.yaml").write_text(settings)
    assert cli.main(["-w", str(workspace.root), "once"]) == cli.USAGE
    assert said in capsys.readouterr().err
