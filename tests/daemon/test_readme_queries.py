"""The README's questions to the log: each of its queries runs, against a log of real runs."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

from daemon import log
from daemon.task import Status
from daemon.workspace import Workspace
from tests.conftest import Queue, acting, name_of

README = Path(__file__).resolve().parent.parent.parent / "README.md"
MINIMUM = 10


def queries() -> list[str]:
    """Gives the SQL blocks below the heading "Ask the log"."""
    text = README.read_text(encoding="utf-8") if README.exists() else ""
    section = re.search(r"^#+ Ask the log\n(.*?)(?=^#{1,2} |\Z)", text, re.DOTALL | re.MULTILINE)
    blocks = re.findall(r"^```sql\n(.*?)^```", section[1] if section else "", re.DOTALL | re.MULTILINE)
    return [statement.strip() for block in blocks for statement in block.split(";") if statement.strip()]


def test_the_readme_asks_ten_questions() -> None:
    """The section "Ask the log" has at least ten queries in ```sql blocks."""
    assert len(queries()) >= MINIMUM


def test_every_query_of_the_readme_answers(workspace: Workspace) -> None:
    """Each runs on the views as they are; most have rows for a log in which everything ordinary has happened."""
    queue = Queue(workspace, usd_per_hour=3.6).start()
    done, blocked, waiting, reviewed = (name_of(n) for n in ("done", "blocked", "waiting", "reviewed"))
    queue.drop(done, acting(seconds=0.3))
    queue.drop(blocked, acting("block"))
    queue.drop(waiting, acting(more=f"depends_on: [{blocked}]\n"))
    queue.drop(reviewed, acting(more="review: method\n"))
    queue.drop(name_of("refused"), "nothing")
    queue.until_status(done, Status.COMPLETED)
    queue.until_status(blocked, Status.BLOCKED)
    queue.settle()
    queue.abandon()
    connection = log.connect_readonly(workspace.log)
    answered = 0
    for query in queries():
        try:
            answered += bool(connection.execute(query).fetchall())
        except sqlite3.Error as error:
            pytest.fail(f"{error}:\n{query}")
    connection.close()
    assert answered >= len(queries()) // 2
