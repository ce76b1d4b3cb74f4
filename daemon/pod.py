"""Stops a machine that is paid by the hour once nothing is left that it could do, and makes sure that it is stopped.

How is the provider's business: cai.yaml names one command that asks for the stop and one that says whether it has come.
"""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
from collections.abc import Callable
from typing import Any

from daemon.workspace import Settings

TIMEOUT_S = 60.0  # of either command
RETRY_S, RETRY_AT_MOST_S = 60.0, 600.0  # doubled after each try that is not confirmed


def ask(command: str, hide: Callable[[str], str]) -> tuple[int, str]:
    """Runs one of the provider's commands.

    Args:
        hide: takes secrets out of what it prints.

    Returns:
        Its exit code, -1 where it took too long, and the end of what it printed.
    """
    try:
        ran = subprocess.run(
            ["/bin/sh", "-c", command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return -1, f"no answer in {TIMEOUT_S:.0f} s"
    return ran.returncode, hide(ran.stdout.decode(errors="replace").strip()[-300:])


class Pod:
    """Waits for the queue to stay idle, then asks for the stop until it is confirmed."""

    def __init__(
        self,
        settings: Settings,
        note: Callable[..., None],
        say: Callable[[str], None],
        hide: Callable[[str], str],
        monotonic: Callable[[], float],
    ) -> None:
        """Prepares.

        Args:
            settings: pod_stop, pod_stopped and pod_idle_minutes.
            note: logs an event's type and data.
            say: takes a line for the terminal.
            hide: takes secrets out of what the commands print.
            monotonic: a clock in seconds.
        """
        self._settings, self._note, self._say, self._hide, self._monotonic = settings, note, say, hide, monotonic
        self._idle_since_s: float | None = None
        self._next_s = 0.0
        self._tries = 0
        self._confirmed = False

    def attend(self, idle: bool) -> None:
        """Takes note of whether there is work, and asks for the stop when it is due. Blocks while a command runs."""
        now_s = self._monotonic()
        if not idle:
            self._idle_since_s = None
            return
        if self._idle_since_s is None:
            self._idle_since_s, self._tries, self._confirmed = now_s, 0, False
            self._next_s = now_s + 60 * self._settings.pod_idle_minutes
        if now_s >= self._next_s and not self._confirmed:
            self._ask(now_s - self._idle_since_s)

    def _ask(self, idle_s: float) -> None:
        self._tries += 1
        self._log("pod.stop_requested", idle_s=idle_s, attempt=self._tries)
        self._say(f"Idle for {idle_s / 60:.0f} minutes: the machine is asked to stop")
        code, said = ask(self._settings.pod_stop, self._hide)
        if code == 0:
            code, said = ask(self._settings.pod_stopped, self._hide)
        if code == 0:
            self._confirmed = True
            self._log("pod.stopped", said=said)
            self._say("The provider confirms the stop")
            return
        wait_s = min(RETRY_AT_MOST_S, RETRY_S * 2 ** (self._tries - 1))
        self._next_s = self._monotonic() + wait_s
        self._log("pod.stop_unconfirmed", code=code, said=said)
        self._say(f"THE MACHINE STILL COSTS: its stop is not confirmed ({said or code}); next try in {wait_s:.0f} s")

    def _log(self, type_: str, **data: Any) -> None:
        with contextlib.suppress(OSError, sqlite3.OperationalError):  # a full disk must not keep the machine running
            self._note(type_, **data)
