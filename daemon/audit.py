"""Whether the log proves itself, and whether folders, views and replay say the same. `cai verify`, `cai rebuild`.

Reads only, but for `restore`, which is for a workspace without a running daemon.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

from daemon import folders, log, narrate, taskfile
from daemon.events import Moved
from daemon.log import EventLog
from daemon.salvage import salvage
from daemon.task import FOLDERS, Status, Task
from daemon.workspace import Workspace


def log_faults(path: Path) -> list[str]:
    """Lists everything that is wrong with the log itself.

    Raises:
        FileNotFoundError: there is none.
    """
    connection = log.connect_readonly(path)
    try:
        return log.faults(connection)
    except (sqlite3.DatabaseError, ValueError) as error:  # ValueError: text that is no UTF-8 any more
        return [f"SQLite: {error}; the file is damaged: stop the daemon and run `cai rebuild`"]
    finally:
        connection.close()


def disagreements(workspace: Workspace) -> list[str]:
    """Lists where folders and views differ from what a replay of the log says. For a queue at rest.

    Raises:
        FileNotFoundError: there is no log.
    """
    on_disk: dict[str, list[Status]] = {}
    for status in FOLDERS:
        for name in folders.names(workspace.folder(status)):
            on_disk.setdefault(name, []).append(status)
    found = []
    connection = log.connect_readonly(workspace.log)
    try:
        tasks = log.fold(log.select_events(connection))
        viewed = dict(connection.execute("SELECT task_id, status FROM tasks"))
        costs = dict(connection.execute("SELECT task_id, sum(usd) FROM costs GROUP BY task_id"))
        for task in tasks.values():
            if viewed.get(task.id) != task.status:
                found.append(f"{task.id}: the view tasks says {viewed.get(task.id)}, the replay {task.status}")
            if abs(costs.get(task.id, 0.0) - task.usd) > 1e-9:
                found.append(f"{task.id}: the view costs says {costs.get(task.id)} USD, the replay {task.usd}")
            lines, _ = narrate.status_lines(log.select_events(connection, "WHERE task_id = ?", [task.id]))
            found += _file_faults(workspace, task, on_disk.pop(task.id, []), lines)
    finally:
        connection.close()
    found += [f"{name}: in the view tasks, but not in the replay" for name in viewed.keys() - tasks.keys()]
    found += [
        f"{name}: lies in {status.value}/, but the log knows no such task"
        for name, places in on_disk.items()
        for status in places
        if status is not Status.PENDING  # just dropped: no daemon has seen it yet
    ]
    return found


def _file_faults(workspace: Workspace, task: Task, places: list[Status], lines: list[str]) -> list[str]:
    folder = task.status.folder
    if folder is None or (task.status is Status.COMPLETED and task.place is None):
        return []
    if folder not in places:
        where = ", ".join(f"{p.value}/" for p in places) or "no folder"
        return [f"{task.id}: is {task.status}, but its file lies in {where}"]
    try:
        content, _ = folders.read(workspace.file(folder, task.id))
    except (folders.Unfit, folders.NotReady):
        return []
    missing = [line for line in lines if line.encode() not in content]
    return [f"{task.id}: its file lacks the status line {line!r}" for line in missing]


def recover(workspace: Workspace, stamp: str) -> list[str]:
    """Puts a log of the events that still prove themselves, in the damaged one or in its copy, in the damaged one's place.

    What was there is kept aside first. A crash on the way leaves files that the next call takes up.

    Returns:
        What was done, a line each.
    """
    faults = log_faults(workspace.log) if workspace.log.exists() else ["there is none"]
    done = []
    for suffix in ("", "-wal"):
        damaged, aside = Path(f"{workspace.log}{suffix}"), workspace.state / f"events.damaged-{stamp}.db{suffix}"
        if damaged.exists():
            shutil.copyfile(damaged, aside)
            done.append(f"the damaged log is kept: {aside.relative_to(workspace.root)}")
    earlier = sorted(workspace.state.glob("events.new-*.db"))
    new = workspace.state / f"events.new-{stamp}.db"
    kept = salvage([workspace.log, workspace.log_copy, *earlier], new)
    for suffix in ("-wal", "-shm"):  # they would be read into the new log
        Path(f"{workspace.log}{suffix}").unlink(missing_ok=True)
    os.replace(new, workspace.log)
    folders.sync_folder(workspace.state)
    for path in earlier:
        path.unlink()
    return [f"the log was damaged: {faults[0]}", *done, f"{kept} events prove themselves and are the log now"]


def restore(workspace: Workspace, event_log: EventLog, at: str, event_id: str) -> list[str]:
    """Drops and rebuilds the projections: the views, and every file that is missing from the folder of its task.

    Returns:
        What was done, a line each.
    """
    event_log.rebuild_views()
    done = ["the views were dropped and created anew"]
    moved: list[Moved] = []
    for task in event_log.replay().values():
        folder = task.status.folder
        if folder is None or (task.status is Status.COMPLETED and task.place is None):
            continue
        target = workspace.file(folder, task.id)
        if target.exists():
            continue
        elsewhere = [s for s in FOLDERS if workspace.file(s, task.id).exists()]
        if elsewhere:
            folders.move(workspace.file(elsewhere[0], task.id), target)
            done.append(f"{task.id}: moved from {elsewhere[0].value}/ to {folder.value}/")
        else:
            content = taskfile.render(task.text.encode(), *narrate.status_lines(event_log.of_task(task.id)))
            folders.create(target, content)
            done.append(f"{task.id}: written anew into {folder.value}/ from the log")
        moved.append(Moved(task.id, elsewhere[0] if elsewhere else None, folder))
    ids = (f"{event_id}-{number}" for number in range(len(moved)))
    if moved:
        event_log.append(moved, at, ids, actor="rebuild")
    for move in moved:
        if move.src is None:  # the file has a status line more now: that it was written anew
            path = workspace.file(move.dst, move.task_id)
            content, _ = folders.read(path)
            lines = narrate.status_lines(event_log.of_task(move.task_id))
            folders.rewrite(path, content, taskfile.render(content, *lines))
    return done
