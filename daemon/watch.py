"""Hints that something changed below a folder. They save waiting; the truth is found by looking.

One recursive inotify watch, since a move between two watched folders then arrives as one event. The kernel drops hints
when too many come at once, and network file systems send none: whoever uses this looks for itself from time to time too.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import warnings
from collections.abc import Iterable
from pathlib import Path

from watchdog.events import (
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

# watchdog says so of every folder that is created in a watched one: it meets it twice, and the second time changes nothing.
warnings.filterwarnings("ignore", message="Callback with id .* already exists", category=RuntimeWarning)
logging.getLogger("watchdog").addHandler(logging.NullHandler())  # it calls an event that comes after the stop an error

_TELLING: list[type[FileSystemEvent]] = [
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
]


class Watch(FileSystemEventHandler):
    """Collects the names of files that changed, and wakes its owner through a file descriptor."""

    def __init__(self, folders: Iterable[Path], wake_fd: int) -> None:
        """Begins to watch.

        Args:
            folders: watched with everything below them.
            wake_fd: a byte is written here when there is something to look at.
        """
        self._wake_fd = wake_fd
        self._lock = threading.Lock()
        self._names: set[str] = set()
        self._observer = Observer()
        self._observer.daemon = True
        for folder in folders:
            self._observer.schedule(self, str(folder), recursive=True, event_filter=_TELLING)
        self._observer.start()

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Takes one hint; called on the observer's thread."""
        paths = (os.fsdecode(event.src_path), os.fsdecode(event.dest_path))
        with self._lock:
            self._names.update(os.path.basename(path) for path in paths if path)
        with contextlib.suppress(BlockingIOError):  # a full pipe wakes its reader already
            os.write(self._wake_fd, b"w")

    def take(self) -> set[str]:
        """Gives the names that changed since the last call."""
        with self._lock:
            names, self._names = self._names, set()
        return names

    def is_alive(self) -> bool:
        """Tells whether hints still come."""
        return self._observer.is_alive()

    def close(self) -> None:
        """Ends the watch."""
        self._observer.stop()
        self._observer.join(timeout=2.0)
