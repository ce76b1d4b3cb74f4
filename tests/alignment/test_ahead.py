from __future__ import annotations

import threading
from contextlib import closing

import pytest

from alignment.ahead import ahead, depth_for


def test_chunks_come_back_in_order_with_the_next_ones_under_way() -> None:
    """While a chunk is looked at, `depth` more have begun, and no more; each result stays with its chunk."""
    begun: list[int] = []
    both = threading.Barrier(2)  # passes only where two chunks are under way at once

    def work(chunk: int) -> int:
        begun.append(chunk)
        both.wait(timeout=10)
        return chunk * chunk

    seen = []
    for chunk, square in ahead(work, range(6), 2):
        seen.append((chunk, square))
        assert len(begun) <= chunk + 3
    assert seen == [(n, n * n) for n in range(6)]


def test_a_failure_is_raised_where_its_chunk_is_due() -> None:
    """What came before the failing chunk is given; what is after it never begins."""
    begun: list[int] = []

    def work(chunk: int) -> int:
        begun.append(chunk)
        return 1 // (2 - chunk)

    flow = ahead(work, range(100), 1)
    assert [next(flow)[0], next(flow)[0]] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(flow)
    assert len(begun) <= 4


def test_closing_waits_for_what_has_begun() -> None:
    """Whoever stops early leaves no thread behind that still uses the engine."""
    ended: list[int] = []
    with closing(ahead(lambda chunk: ended.append(chunk), range(100), 3)) as flow:
        next(flow)
    assert len(ended) <= 5
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_a_wide_engine_has_as_many_prompts_waiting_as_it_works_on() -> None:
    """An engine that forms its own batches of one chunk gets one ahead."""
    assert [depth_for(1, 128), depth_for(512, 128), depth_for(512, 2048)] == [1, 8, 1]
