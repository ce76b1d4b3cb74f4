"""Work ahead: the next chunks are under way while what came of the last one is looked at, so that no device waits."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


def ahead(work: Callable[[S], T], chunks: Iterable[S], depth: int) -> Generator[tuple[S, T], None, None]:
    """Works on chunks in threads and gives each with its result, in order.

    Closing the iterator ends it: what has begun is waited for and dropped.

    Args:
        depth: chunks under way while one is looked at, at least 1.
    """
    rest = iter(chunks)
    pool = ThreadPoolExecutor(depth, thread_name_prefix="ahead")
    try:
        under_way: deque[tuple[S, Future[T]]] = deque(
            (chunk, pool.submit(work, chunk)) for chunk in islice(rest, depth)
        )
        while under_way:
            chunk, future = under_way.popleft()
            result = future.result()
            under_way.extend((more, pool.submit(work, more)) for more in islice(rest, 1))
            yield chunk, result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def depth_for(width: int, chunk: int) -> int:
    """Tells how many chunks keep an engine of this width busy: the prompts that it works on, and as many that wait."""
    return max(1, -(-2 * width // chunk)) if width > 1 else 1
