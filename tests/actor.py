"""A handler whose behaviour a test writes into the task: a real child process that does what real ones do, good and bad.

Run as `python tests/actor.py ATTEMPT_DIR`, like `python -m handlers`. Each start appends a line to starts.txt in the
run's data folder, so that a test can count how often a run was begun.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # tests/handlers is not handlers

from handlers.contract import (
    EVENTS,
    OUTCOME,
    REQUEST,
    Blocked,
    Completed,
    Failed,
    Outcome,
    Parameter,
    Request,
    Requeue,
    Run,
    outcome_to_json,
    write_durably,
)

ACTS = (
    "complete", "block", "fail", "wait", "stubborn", "crash", "exit0", "segfault", "sigkill", "fork", "flood", "garbage",
    "propose", "checkpoint", "cancel", "say", "leave", "deaf",
)  # fmt: skip
KINDS = {
    "act": (
        Parameter("do", str, "complete", "what to do", choices=ACTS),
        Parameter("seconds", float, 0.0, "how long it takes", minimum=0),
        Parameter("figure", float, 1.0, "the metric `figure`"),
        Parameter("raw", str, "", "what say writes into events.jsonl, and leave into outcome.json"),
    )
}


def act(request: Request, run: Run, attempt_dir: Path) -> Outcome:
    """Does what params.do says."""
    request.data_dir.mkdir(parents=True, exist_ok=True)
    with open(request.data_dir / "starts.txt", "a") as stream:
        stream.write(f"{request.attempt}\n")
    seconds = float(request.params.get("seconds", 0.0))
    until = time.monotonic() + seconds
    match request.params.get("do", "complete"):
        case "complete":
            while (left := until - time.monotonic()) > 0 and not run.should_stop():
                run.progress(int(100 * (1 - left / seconds)), 100, "percent")
                time.sleep(0.02)
            if run.should_stop():
                return Requeue("here")
            run.measure("figure", float(request.params.get("figure", 1.0)))
            return Completed({"figure": float(request.params.get("figure", 1.0))})
        case "wait":
            while not run.should_stop():
                time.sleep(0.01)
            return Requeue("here")
        case "stubborn":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            subprocess.Popen(["sleep", "300"], start_new_session=True)
            (request.data_dir / "ready").touch()
            time.sleep(300)
        case "block":
            return Blocked("the data is missing", needs="bring the data")
        case "fail":
            return Failed("a defect")
        case "crash":
            print("about to crash", file=sys.stderr, flush=True)
            os._exit(3)
        case "exit0":
            os._exit(0)
        case "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "sigkill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "fork":
            subprocess.Popen(["setsid", "-f", "sleep", "300"])
        case "flood":
            for number in range(20_000):
                run.measure("noise", float(number))
        case "garbage":
            with open(attempt_dir / EVENTS, "ab") as stream:
                stream.write(b"\xff\xfe not json\n[1,2]\n{}\n\n" + b"x" * 300_000 + b"\n")
            run.measure("after", 1.0)
        case "propose":
            run.propose("20300101_000000_P1_proposed", "---\nhandler: act\n---\n# Proposed\n")
            run.propose("../../escape", "no")
        case "cancel":  # as a person would: move the task's own file away, then see what becomes of it
            tasks, name = request.workspace / "tasks", f"{request.task_id}.md"
            while not (tasks / "in_progress" / name).exists() and not run.should_stop():
                time.sleep(0.002)
            (tasks / "in_progress" / name).rename(tasks / "blocked" / name)
            while not run.should_stop():
                time.sleep(0.01)
            return Requeue("here")
        case "say":
            with open(attempt_dir / EVENTS, "a") as stream:
                stream.write(str(request.params["raw"]) + "\n")
            run.measure("after", 1.0)
        case "leave":
            (attempt_dir / OUTCOME).write_text(str(request.params["raw"]))
            os._exit(0)
        case "deaf":  # not listening yet, as a handler that is still importing its libraries
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            (request.data_dir / "ready").touch()
            time.sleep(300)
        case "checkpoint":
            run.checkpoint(request.data_dir / "starts.txt")
            os._exit(3)
    return Completed({"figure": float(request.params.get("figure", 1.0))})


def main(attempt_dir: Path) -> None:
    """Runs one attempt."""
    run = Run(attempt_dir)
    run.stop_on_signals()
    request = Request.from_json((attempt_dir / REQUEST).read_text())
    write_durably(attempt_dir / OUTCOME, outcome_to_json(act(request, run, attempt_dir)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
