"""The command line of tests/serve.py with the shim or the handler of each first attempt behind strace, for the sweep.

CAI_SWEEP_SHIM and CAI_SWEEP_HANDLER say what to inject, or `-` to count only. `traced.py shim|handler COMMAND…` is what
stands before the real command, and becomes it.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from daemon.cli import main  # noqa: E402
from tests.actor import KINDS  # noqa: E402
from tests.reliability.sweep import tracer  # noqa: E402
from tests.serve import ACTOR  # noqa: E402


def become(who: str, command: list[str]) -> None:
    """Turns into the command, behind strace where it belongs to a first attempt."""
    inject = os.environ.get(f"CAI_SWEEP_{who.upper()}")
    attempt_dir = next(Path(part) for part in command if "/attempt-" in part)
    if inject and attempt_dir.name == "attempt-1":
        out = attempt_dir.parents[3] / f"{who}-{attempt_dir.parent.name}.strace"
        command = [*tracer(out, "" if inject == "-" else inject), *command]
    os.execvp(command[0], command)


if __name__ == "__main__":
    if sys.argv[1] in ("shim", "handler"):
        become(sys.argv[1], sys.argv[2:])
    script = Path(sys.argv[sys.argv.index("-w") + 1]) / "python"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} shim {sys.executable} "$@"\n')
    script.chmod(0o755)
    handlers = (sys.executable, __file__, "handler", *ACTOR)
    sys.executable = str(script)  # what the launcher starts shims with
    sys.exit(main(kinds=KINDS, handlers=handlers))
