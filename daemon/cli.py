"""The command line: `cai COMMAND`. What changes something does it through the file system, as a user's hand would.

Exceptions become messages here and nowhere else. Exit codes: 0 well; 1 the answer is no, or a task is blocked; 2 bad
input; 75 another daemon has the workspace.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import itertools
import json
import os
import signal
import sqlite3
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from daemon import workspace as spaces
from daemon.task import Status
from daemon.workspace import BadWorkspace, Locked, Workspace
from handlers.contract import KINDS, Parameter

OK, NO, USAGE, TEMPFAIL = 0, 1, 2, 75


class Refusal(Exception):
    """The command cannot be carried out; the message says why and what to do."""


def main(argv: list[str] | None = None, kinds: Mapping[str, tuple[Parameter, ...]] = KINDS,
         handlers: tuple[str, ...] | None = None) -> int:  # fmt: skip
    """Runs one command.

    Args:
        argv: the arguments after the program's name.
        kinds: the handlers that there are, with their parameters.
        handlers: what runs an attempt; by default `python -m handlers`.

    Returns:
        The exit code.
    """
    arguments = _parser().parse_args(argv)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    signal.signal(signal.SIGIO, signal.SIG_IGN)  # `submit` and `rebuild` hold files too; see folders.has_writer
    try:
        if arguments.command == "init":
            return _init(arguments)
        if arguments.command == "demo":
            return _demo(arguments)
        where = Workspace(Path(arguments.workspace).resolve()) if arguments.workspace else spaces.find(Path.cwd())
        where.check()
        if arguments.command in ("up", "once"):
            return _serve(where, arguments, kinds, handlers)
        command: Callable[[Workspace, argparse.Namespace], int] = arguments.run
        return command(where, arguments)
    except Locked as error:
        return _fail(error, TEMPFAIL)
    except (BadWorkspace, Refusal, FileNotFoundError) as error:
        return _fail(error, USAGE)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        return _fail(error, NO)
    except sqlite3.DatabaseError as error:
        if "locked" in str(error):
            who = "`fuser -v state/events.db` names the programs that have it open"
            return _fail(f"state/events.db: another program has kept it locked for 10 s; {who}", TEMPFAIL)
        return _fail(f"state/events.db: {error}; `cai verify` looks closer", NO)


def _fail(error: object, code: int) -> int:
    with contextlib.suppress(OSError):
        print(f"cai: {error}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "cai", description="A base language model bootstraps its own alignment: the queue."
    )
    parser.add_argument("-w", "--workspace", metavar="DIR", help="the workspace; by default the one around this folder")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(
        name: str, run: Callable[..., int] | None, text: str, json_too: bool = False
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        if json_too:
            added.add_argument("--json", action="store_true", help="print data instead of text")
        return added

    command("init", None, "make a workspace").add_argument("dir", nargs="?", default=".")
    for name, text in (("up", "watch the workspace until stopped"), ("once", "drain the queue, then exit")):
        serve = command(name, None, text)
        serve.add_argument(
            "--take-over",
            action="store_true",
            help="replace a daemon that hangs: it is killed, or shut out of the log where it runs on another machine",
        )
        serve.add_argument(
            "--poll", action="store_true", help="look at the folders every second instead of watching them"
        )
    submit = command("submit", _submit, "check task files and drop them into pending/")
    submit.add_argument("files", nargs="+", metavar="FILE", help="task files; each keeps its name")
    plan = command("plan", _plan, "drop the task files of whole stages into pending/", json_too=True)
    plan.add_argument(
        "--stage", "--stages", dest="stages", default="1", metavar="N or N-M", help="which stages; by default 1"
    )
    plan.add_argument("--profile", default="micro", help="a profile in profiles/; by default micro")
    plan.add_argument(
        "--rounds", type=int, default=3, help="rounds that a stage may take to pass its gate; by default 3"
    )
    plan.add_argument("--seed", type=int, default=0, help="the seed of every random choice")
    plan.add_argument("--dry-run", action="store_true", help="print the files and what past runs say they will take")
    command("status", _status, "what runs, what waits and why, what it has cost and will cost", json_too=True)
    command("show", _show, "a task: its file and what the log says of it", json_too=True).add_argument("task")
    logs = command("logs", _logs, "what a task's handler has written to its terminal")
    logs.add_argument("task")
    logs.add_argument("-f", "--follow", action="store_true", help="go on until the run ends")
    events = command("events", _events, "the event log", json_too=True)
    events.add_argument("--task", help="only this task's")
    events.add_argument("--type", help="only this type, such as task.blocked or run.")
    events.add_argument("-f", "--follow", action="store_true", help="go on as events come")
    command("retry", _retry, "move a blocked or completed task back to pending/").add_argument("task")
    command("cancel", _cancel, "move a pending or running task to blocked/").add_argument("task")
    command("pause", _pause, "start nothing new; running work goes on")
    command("resume", _resume, "start work again")
    review = command("review", _review, "list reviews, show one, or answer it", json_too=True)
    review.add_argument("action", choices=("list", "show", "approve", "modify", "reject"))
    review.add_argument("task", nargs="?", help="the task under review; all but list need it")
    review.add_argument(
        "--issue", action="append", default=[], metavar="SEVERITY: TEXT", help="FATAL, HIGH, MEDIUM or LOW"
    )
    review.add_argument("--comment", default="", help="anything else")
    command("verify", _verify, "prove that the log is whole and unchanged", json_too=True)
    rebuild = command("rebuild", _rebuild, "rebuild views and folders from the log", json_too=True)
    rebuild.add_argument("--check", action="store_true", help="only say where folders, views and replay differ")
    command("lineage", _hand_on, "walk an artifact back to the base model").add_argument("path", metavar="PATH")
    command("ladder", _hand_on, "the stages' figures in one table")
    command("report", _hand_on, "write one HTML file with everything that was measured")
    pod = command("pod", _pod, "ask the provider whether this machine is stopped, or stop it", json_too=True)
    pod.add_argument("--stop", action="store_true", help="stop it now; the daemon must have ended")
    demo = command("demo", None, "stage 1 on the built-in base model, from an empty workspace to the report")
    demo.add_argument("dir", nargs="?", default="demo", help="the workspace; by default demo/")
    command("doctor", _doctor, "look for what would keep this machine from working", json_too=True)
    return parser


# ------------------------------------------------------------------ serving


def _demo(arguments: argparse.Namespace) -> int:
    """Shows each command as it runs it; where it was interrupted, the same command goes on."""
    where = arguments.dir
    begun = any(Path(where).glob("tasks/*/*.md"))
    for command in ([] if begun else [["init", where], ["-w", where, "plan", "--stage", "1"]]) + [
        ["-w", where, name] for name in ("once", "ladder", "report")
    ]:
        print("$ cai", *command)
        if code := main(command):
            return code
    return OK


def _init(arguments: argparse.Namespace) -> int:
    where = Workspace(Path(arguments.dir).resolve())
    where.create()
    print(f"{where.root} is a workspace. Drop a task file into tasks/pending/ and run `cai up` there.")
    return OK


def _serve(
    where: Workspace,
    arguments: argparse.Namespace,
    kinds: Mapping[str, tuple[Parameter, ...]],
    handlers: tuple[str, ...] | None,
) -> int:
    from daemon.log import Fenced
    from daemon.service import HANDLERS, Daemon

    daemon = Daemon(where, where.settings(), ids=_ids(), kinds=kinds, command=handlers or HANDLERS,
                    remote=True if arguments.poll else None)  # fmt: skip
    with daemon.heeding_signals():
        daemon.start(arguments.take_over)
        how = "looking every second" if daemon.is_remote else "watching"
        try:
            with contextlib.suppress(OSError):  # a terminal that is gone is no reason to stop
                print(f"{how}: {where.tasks} (pid {os.getpid()}); Ctrl-C stops, running work is asked for a checkpoint")
            daemon.run(once=arguments.command == "once")
        except Fenced as error:
            return _fail(error, TEMPFAIL)
        finally:
            daemon.close()
    if arguments.command == "up":
        print("stopped; `cai up` goes on from here")
        return OK
    _status(where, argparse.Namespace(json=False))
    open_tasks = [t for t in daemon.tasks.values() if t.status in (Status.BLOCKED, Status.PENDING, Status.IN_PROGRESS)]
    return NO if open_tasks else OK


def _ids() -> Iterator[str]:
    return (uuid.uuid4().hex for _ in itertools.count())


def _at() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


# ------------------------------------------------------------------ a user's hand


def _submit(where: Workspace, arguments: argparse.Namespace) -> int:
    from daemon import folders, taskfile

    contents = []
    faults = []
    for path in map(Path, arguments.files):
        try:
            content, _ = folders.read(path)
            taskfile.parse(path.name.removesuffix(".md"), taskfile.decode(content))
            contents.append((path.name, content))
        except (folders.Unfit, folders.NotReady) as error:
            faults.append(f"{path}: {error}")
        except taskfile.Invalid as error:
            faults += [f"{path}: {fault}" for fault in error.faults]
    if faults:
        raise Refusal("nothing was submitted:\n  " + "\n  ".join(faults))
    for name, content in contents:
        for status in (Status.IN_PROGRESS, Status.COMPLETED, Status.BLOCKED, Status.PENDING):
            if (where.folder(status) / name).exists():
                raise Refusal(f"{name}: there is a task of this name in {status.value}/; give the new one another name")
        folders.create(where.folder(Status.PENDING) / name, content)
        print(f"{name} is in pending/")
    return OK


def _plan(where: Workspace, arguments: argparse.Namespace) -> int:
    import subprocess

    from daemon import folders, status

    first, _, last = arguments.stages.partition("-")
    if not (first.isdecimal() and (last or first).isdecimal() and 1 <= int(first) <= int(last or first) <= 6):
        raise Refusal(f"--stages: {arguments.stages!r} is not a stage from 1 to 6, or a range such as 1-6")
    if arguments.rounds < 1:
        raise Refusal(f"--rounds: {arguments.rounds} is less than 1")
    past = {}
    if where.log.exists():
        with _reading(where) as connection:
            past = status.past_runs(connection, arguments.profile)
    wish = {
        "stages": list(range(int(first), int(last or first) + 1)),
        "profile": arguments.profile,
        "rounds": arguments.rounds,
        "seed": arguments.seed,
        "begin": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "estimates": {handler: run.estimate for handler, run in past.items()},
    }
    planner = [sys.executable, "-P", "-m", "handlers.plan", str(where.root), json.dumps(wish)]
    made = subprocess.run(planner, capture_output=True, text=True, check=False)
    if made.returncode:
        raise Refusal(made.stderr.strip() or f"handlers.plan ended with {made.returncode}")
    files = json.loads(made.stdout)
    if not arguments.dry_run:
        for file in files:
            folders.create(where.file(Status.PENDING, file["name"]), file["text"].encode())
    if arguments.json:
        print(json.dumps(files, indent=1))
        return OK
    for file in files:
        print(f"{file['name']}.md" if not arguments.dry_run else f"=== {file['name']}.md\n{file['text']}")
    missing = sorted({file["handler"] for file in files} - past.keys())
    known = [past[file["handler"]] for file in files if file["handler"] in past]
    if known:
        print(
            f"by past runs: {sum(r.seconds for r in known):.0f} s, {sum(r.tokens for r in known):,.0f} tokens, "
            f"{sum(r.usd for r in known):.2f} USD" + (f"; nothing known of {', '.join(missing)}" if missing else "")
        )
    else:
        print("no estimate: this workspace has no past runs of this profile")
    return OK


def _find_task(where: Workspace, name: str) -> tuple[str, Status | None]:
    """Finds a task by its name or an unambiguous part of it, and the folder that its file lies in."""
    from daemon import folders

    places = {task: status for status in Status if status.folder for task in folders.names(where.folder(status))}
    with_log = set(places)
    if where.log.exists():
        with _reading(where) as connection:
            with_log |= {task for (task,) in connection.execute("SELECT task_id FROM tasks")}
    name = name.removesuffix(".md")
    matches = [name] if name in with_log else sorted(task for task in with_log if name in task)
    if len(matches) != 1:
        what = f"is a part of {len(matches)} tasks: {', '.join(matches[:5])}" if matches else "is no task here"
        raise Refusal(f"{name!r} {what}; `cai status` lists them")
    return matches[0], places.get(matches[0])


def _retry(where: Workspace, arguments: argparse.Namespace) -> int:
    return _move(where, arguments.task, (Status.BLOCKED, Status.COMPLETED), Status.PENDING)


def _cancel(where: Workspace, arguments: argparse.Namespace) -> int:
    return _move(where, arguments.task, (Status.PENDING, Status.IN_PROGRESS), Status.BLOCKED)


def _move(where: Workspace, name: str, sources: tuple[Status, ...], dst: Status) -> int:
    from daemon import folders

    task, place = _find_task(where, name)
    if place not in sources:
        wanted = " or ".join(f"{s.value}/" for s in sources)
        raise Refusal(
            f"{task} lies in {place.value + '/' if place else 'no folder'}, not in {wanted}; nothing was done"
        )
    folders.move(where.file(place, task), where.file(dst, task))
    print(f"{task} moved to {dst.value}/" + ("" if spaces.holder_of(where.lock) else "; the next `cai up` takes note"))
    return OK


def _pause(where: Workspace, _: argparse.Namespace) -> int:
    where.pause.touch()
    print("paused: nothing new is started; running work goes on. `cai resume` goes on")
    return OK


def _resume(where: Workspace, _: argparse.Namespace) -> int:
    where.pause.unlink(missing_ok=True)
    print("resumed")
    return OK


# ------------------------------------------------------------------ looking


class _reading:
    """A read-only connection for the time of a `with`."""

    def __init__(self, where: Workspace) -> None:
        from daemon.log import connect_readonly

        self._connection = connect_readonly(where.log)
        self._connection.row_factory = None

    def __enter__(self) -> sqlite3.Connection:
        return self._connection

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def _status(where: Workspace, arguments: argparse.Namespace) -> int:
    from daemon import status

    with _reading(where) as connection:
        picture = status.picture(connection, where, datetime.datetime.now(datetime.UTC))
    print(json.dumps(picture, indent=1) if arguments.json else status.text(picture))
    return OK


def _show(where: Workspace, arguments: argparse.Namespace) -> int:
    from daemon.log import select_events

    task, place = _find_task(where, arguments.task)
    with _reading(where) as connection:
        rows = list(select_events(connection, "WHERE task_id = ?", [task]))
    text = where.file(place, task).read_text(encoding="utf-8", errors="replace") if place else ""
    events = [{"seq": r.seq, "at": r.at, "actor": r.actor, "type": r.type, "data": r.payload} for r in rows]
    if arguments.json:
        print(json.dumps({"task": task, "folder": place, "text": text, "events": events}, indent=1))
        return OK
    print(f"{task}: {place.value + '/' if place else 'no file'}\n")
    print(text or "(its text stands in the log: see --json)")
    print("\n".join(f"{e['seq']:6}  {e['at']}  {e['actor']:6}  {e['type']}" for e in events))
    return OK


def _logs(where: Workspace, arguments: argparse.Namespace) -> int:
    task, _ = _find_task(where, arguments.task)
    with _reading(where) as connection:
        found = connection.execute(
            "SELECT run_id, attempt FROM events WHERE task_id = ? AND type = 'task.claimed' ORDER BY seq DESC LIMIT 1",
            [task],
        ).fetchone()
    if not found:
        raise Refusal(f"{task} has not run yet")
    folder = where.attempt_dir(*found)
    offsets = {"stdout.log": 0, "stderr.log": 0}
    while True:
        done = (folder / "exit.json").exists()
        for name in offsets:
            if (folder / name).exists():
                with open(folder / name, "rb") as stream, contextlib.suppress(OSError):
                    stream.seek(offsets[name], os.SEEK_DATA)  # the beginning of a long log is given up
                    while part := stream.read(1 << 20):
                        sys.stdout.write(part.decode("utf-8", "replace"))
                        offsets[name] = stream.tell()
        sys.stdout.flush()
        if done or not arguments.follow:
            return OK
        time.sleep(0.2)


def _events(where: Workspace, arguments: argparse.Namespace) -> int:
    from daemon.log import select_events

    conditions: list[str] = ["seq > ?"]
    values: list[int | str] = [0]
    if arguments.task:
        conditions, values = [*conditions, "task_id = ?"], [*values, _find_task(where, arguments.task)[0]]
    if arguments.type:
        conditions, values = (
            [*conditions, "type GLOB ?"],
            [*values, arguments.type + ("*" if arguments.type.endswith(".") else "")],
        )
    with _reading(where) as connection:
        while True:
            for row in select_events(connection, "WHERE " + " AND ".join(conditions), values):
                values[0] = row.seq
                if arguments.json:
                    shown = {"seq": row.seq, "at": row.at, "epoch": row.epoch, "actor": row.actor, "task_id": row.task_id,
                             "run_id": row.run_id, "attempt": row.attempt, "type": row.type, "data": row.payload}  # fmt: skip
                    print(json.dumps(shown))
                else:
                    print(
                        f"{row.seq:6}  {row.at}  {row.actor:6}  {row.type:18} {row.task_id or '':40}  {row.data[:120]}"
                    )
            if not arguments.follow:
                return OK
            time.sleep(0.2)


def _review(where: Workspace, arguments: argparse.Namespace) -> int:
    from daemon import folders, reviews, taskfile
    from daemon.task import Issue

    with _reading(where) as connection:
        found = connection.execute("SELECT task_id, reviewer, number, requested_at FROM reviews_open").fetchall()
    opened = [dict(zip(("task", "reviewer", "number", "requested_at"), row, strict=True)) for row in found]
    if arguments.action == "list":
        lines = [f"{r['task']}  waits for {r['reviewer']} since {r['requested_at'][:19]}Z" for r in opened]
        print(json.dumps(opened) if arguments.json else "\n".join(lines) or "no review is open")
        return OK
    if not arguments.task:
        raise Refusal(f"review {arguments.action}: name the task; `cai review list` shows what is open")
    task, _ = _find_task(where, arguments.task)
    mine = next((r for r in opened if r["task"] == task), None)
    if mine is None:
        raise Refusal(f"no review of {task} is open; `cai review list` shows what is")
    folder = where.reviews / mine["reviewer"]
    name = f"{task}.review-{mine['number']}.md"
    if arguments.action == "show":
        lies_in = "in_progress" if (folder / "in_progress" / name).exists() else "pending"
        print((folder / lies_in / name).read_text(encoding="utf-8"))
        return OK
    issues = tuple(Issue(*(part.strip() for part in text.partition(":")[::2])) for text in arguments.issue)
    content = reviews.response_text(arguments.action, issues, arguments.comment).encode()
    try:
        reviews.parse_response(content)
    except taskfile.Invalid as error:
        raise Refusal("the review was not answered:\n  " + "\n  ".join(error.faults)) from error
    try:
        folders.create(folder / "responses" / name, content)
    except FileExistsError as error:
        raise Refusal(f"{folder / 'responses' / name} is there already; mend or delete it") from error
    print(
        f"answered: {arguments.action}; the daemon takes it up from {folder.relative_to(where.root)}/responses/{name}"
    )
    return OK


def _hand_on(where: Workspace, arguments: argparse.Namespace) -> int:
    """Runs a command of the handlers' side, which knows the artifacts."""
    import subprocess

    more = [arguments.path] if arguments.command == "lineage" else []
    return subprocess.run(
        [sys.executable, "-P", "-m", f"handlers.{arguments.command}", str(where.root), *more], check=False
    ).returncode


def _pod(where: Workspace, arguments: argparse.Namespace) -> int:
    from daemon import pod, redaction

    settings = where.settings()
    if not settings.pod_stop:
        raise Refusal(
            f"{where.root / spaces.SETTINGS_FILE} names no pod_stop and pod_stopped, so nobody stops this machine; "
            "docs/operations.md has an example"
        )
    hide = redaction.hider(os.environ, where.root / ".env")
    if arguments.stop:
        if holder := spaces.holder_of(where.lock):
            raise Refusal(
                f"the daemon is at work, pid {holder.get('pid')}; stop it first, so that runs leave a checkpoint"
            )
        code, said = pod.ask(settings.pod_stop, hide)
        if code:
            raise Refusal(f"pod_stop failed with {code}, the machine still costs: {said}")
    code, said = pod.ask(settings.pod_stopped, hide)
    answer = "the provider confirms that it is stopped" if code == 0 else f"not stopped, says pod_stopped with {code}"
    print(json.dumps({"stopped": code == 0, "said": said}) if arguments.json else f"{answer}: {said}".rstrip(": "))
    return OK if code == 0 else NO


# ------------------------------------------------------------------ proving


def _verify(where: Workspace, arguments: argparse.Namespace) -> int:
    from daemon import audit

    return _report(audit.log_faults(where.log), "the log is whole and unchanged", arguments.json)


def _rebuild(where: Workspace, arguments: argparse.Namespace) -> int:
    from daemon import audit

    if arguments.check:
        return _report(audit.disagreements(where), "folders, views and replay agree", arguments.json)
    from daemon.log import EventLog, Note
    from daemon.workspace import Lock

    lock = Lock(where.lock, {"pid": os.getpid(), "host": "cai rebuild", "since": _at()})
    try:
        lost = not where.log.exists() and where.log_copy.exists()
        damaged = lost or bool(audit.log_faults(where.log))
        done = audit.recover(where, _at()[:19].translate(str.maketrans("T", "_", "-:"))) if damaged else []
        event_log = EventLog(where.log, "rebuild", wal=not spaces.is_remote(where.state))
        event_log.take_over()
        if damaged:
            event_log.append([Note("log.recovered", {"done": done})], _at(), _ids(), actor="rebuild")
        done += audit.restore(where, event_log, _at(), uuid.uuid4().hex)
        event_log.close()
    finally:
        lock.release()
    print(json.dumps(done) if arguments.json else "\n".join(done))
    return OK


def _doctor(where: Workspace, arguments: argparse.Namespace) -> int:
    from daemon import doctor

    checks = doctor.examine(where)
    if arguments.json:
        print(json.dumps([{"check": c.name, "level": c.level, "finding": c.finding} for c in checks], indent=1))
    else:
        print("\n".join(f"{c.level:5} {c.name:14} {c.finding}" for c in checks))
    return NO if any(c.level == "bad" for c in checks) else OK


def _report(found: list[str], well: str, as_json: bool) -> int:
    print(json.dumps(found) if as_json else "\n".join(found) or well)
    return NO if found else OK


if __name__ == "__main__":
    sys.exit(main())
