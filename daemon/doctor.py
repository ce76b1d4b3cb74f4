"""Looks for what would keep this machine from doing the work, and says what to do about it. Changes nothing.

What could hang, such as importing torch on a broken machine, is tried in a child process with a time limit.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from daemon import audit, workspace
from daemon.workspace import BadWorkspace, Workspace

PROBE_TIMEOUT_S = 60
MIN_FREE_BYTES = 2 << 30
_GPU_PROBE = """
import torch
if torch.cuda.is_available():
    p = torch.cuda.get_device_properties(0)
    print(f"torch {torch.__version__}, {p.name}, {p.total_memory / 2**30:.0f} GiB")
else:
    print(f"torch {torch.__version__}, no GPU: the micro profile works, a 32B model does not")
"""


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. `level` is ok, note or bad."""

    name: str
    level: str
    finding: str


def examine(where: Workspace) -> list[Check]:
    """Makes all checks."""
    checks: list[Callable[[Workspace], Check]] = [
        _python,
        _settings,
        _disk,
        _file_system,
        _rights,
        _lock,
        _log,
        _model,
        _torch,
    ]
    return [check(where) for check in checks]


def _python(_: Workspace) -> Check:
    fits = sys.version_info >= (3, 11) and sys.platform == "linux"
    return Check(
        "python", "ok" if fits else "bad", f"{platform.python_version()} on {sys.platform}; needs 3.11 on Linux"
    )


def _settings(where: Workspace) -> Check:
    try:
        settings = where.settings()
    except BadWorkspace as error:
        return Check("settings", "bad", str(error))
    price = f"{settings.usd_per_hour:.2f} USD/h" if settings.usd_per_hour else "no price set (usd_per_hour in cai.yaml)"
    if settings.usd_per_hour and not settings.pod_stop:
        unstopped = "goes on costing when the queue is empty: set pod_stop and pod_stopped in cai.yaml"
        return Check("settings", "note", f"{settings.workers} worker(s), {price}; this machine {unstopped}")
    return Check("settings", "ok", f"{settings.workers} worker(s), {price}")


def _disk(where: Workspace) -> Check:
    free = shutil.disk_usage(where.root).free
    level = "ok" if free >= MIN_FREE_BYTES else "bad"
    return Check("disk", level, f"{free / 2**30:.1f} GiB free at {where.root}; wants {MIN_FREE_BYTES / 2**30:.0f}")


def _file_system(where: Workspace) -> Check:
    kind = workspace.file_system(where.root)
    if workspace.is_remote(where.root):
        return Check("file system", "note", f"{kind}: polled every second, and the log keeps no write-ahead file there")
    return Check("file system", "ok", f"{kind}: watched by inotify")


def _rights(where: Workspace) -> Check:
    open_to_others = [
        str(path.relative_to(where.root))
        for path in (where.state, where.log, where.root / ".env")
        if path.exists() and stat.S_IMODE(os.stat(path).st_mode) & 0o077
    ]
    if open_to_others:
        which = ", ".join(open_to_others)
        return Check("rights", "bad", f"others on this machine can read {which}; run `chmod -R go= {which}`")
    return Check("rights", "ok", "state/ is for its owner alone")


def _lock(where: Workspace) -> Check:
    holder = workspace.holder_of(where.lock)
    if not holder:
        return Check("daemon", "note", "not running; start it with `cai up`")
    if holder.get("degraded"):
        return Check("daemon", "bad", f"pid {holder.get('pid')} is degraded: {holder['degraded']}")
    return Check("daemon", "ok", f"pid {holder.get('pid')} on {holder.get('host')} since {holder.get('since')}")


def _log(where: Workspace) -> Check:
    try:
        faults = audit.log_faults(where.log)
    except FileNotFoundError:
        return Check("log", "note", "none yet")
    return Check("log", "bad" if faults else "ok", "; ".join(faults[:3]) or "whole and unchanged")


def _model(where: Workspace) -> Check:
    try:
        holder = json.loads((where.state / "model" / "holder.json").read_text())
        command = Path(f"/proc/{holder['pid']}/cmdline").read_bytes()
        if b"alignment.engines.server" not in command:
            raise ProcessLookupError
        base, warm_s = holder["checkpoint"]["base"], float(holder["settings"]["warm_s"])
    except (OSError, ValueError, KeyError):
        return Check("model", "note", "none is loaded")
    said = f"process {holder['pid']} has {base} loaded since {holder['since']}"
    return Check("model", "ok", f"{said}; it leaves {warm_s:g} s after its last use")


def _torch(_: Workspace) -> Check:
    try:
        probe = subprocess.run(
            [sys.executable, "-c", _GPU_PROBE], capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Check(
            "torch",
            "bad",
            f"importing torch took more than {PROBE_TIMEOUT_S} s: the driver or the machine hangs; take another",
        )
    if probe.returncode:
        return Check(
            "torch", "bad", f"importing torch failed: {probe.stderr.strip().splitlines()[-1:] or probe.returncode}"
        )
    return Check("torch", "ok", probe.stdout.strip())
