"""Draws from the model what data is made of: lists, answers and judgements, journalled chunk by chunk.

Each function runs only what its journal lacks and returns everything that the journal then holds, so that a run that
was cut off goes on. `done` is called after each chunk with its size; it may raise to stop.
"""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict
from typing import Any, TypeVar

from alignment.ahead import ahead, depth_for
from alignment.critic import Case, Critic, Reading
from alignment.curriculum import Stage
from alignment.engines import Engine, Sampling
from alignment.journal import Journal
from alignment.responses import Candidate, candidates, exemplar_sets, prompt_of
from alignment.revision import Draft, Reviser
from alignment.selfinstruct import Asked, Pool, lists_to_ask, replay
from alignment.settings import GenerateSettings

T = TypeVar("T")
Row = dict[str, Any]
Done = Callable[[int], None]


def _in_chunks(
    engine: Engine,
    todo: Sequence[T],
    size: int,
    journal: Journal,
    work: Callable[[Sequence[T]], list[Row]],
    done: Done,
) -> None:
    chunks = (todo[start : start + size] for start in range(0, len(todo), size))
    clock = time.monotonic()
    with closing(ahead(work, chunks, depth_for(engine.width, size))) as worked:
        for chunk, rows in worked:
            seconds = (time.monotonic() - clock) / len(chunk)
            clock = time.monotonic()
            journal.append({**row, "seconds": seconds} for row in rows)
            done(len(chunk))


def collect(engine: Engine, pool: Pool, journal: Journal, seed: int, done: Done) -> None:
    """Asks for lists, round by round, until the pool is full, its topics are or hardly anything new comes.

    A round is composed from what earlier rounds left, so the journal gives the same pool in every attempt.
    """
    settings = pool.settings
    sampling = Sampling(settings.list_tokens, settings.list_temperature, settings.list_top_p, seed=seed)
    rounds: dict[int, dict[int, Row]] = defaultdict(dict)
    for row in journal.rows:
        rounds[row["round"]][row["index"]] = row
    number = stale = 0
    while len(pool.kept) < settings.instructions and stale < settings.stale_rounds:
        asked = lists_to_ask(pool, number, seed)
        if not asked:
            return

        def work(some: Sequence[tuple[int, Asked]], number: int = number) -> list[Row]:
            prompts, seeds = [a.prompt for _, a in some], [a.seed for _, a in some]
            found = zip(some, engine.complete(prompts, sampling, seeds), strict=True)
            return [
                {"round": number, "index": index, "topic": a.topic, "first": a.first, **asdict(completion)}
                for (index, a), completion in found
            ]

        found, taken = rounds[number], 0
        parsed, kept = pool.counts["parsed"], len(pool.kept)

        def take(new: int, found: dict[int, Row] = found) -> None:
            """Takes lists into the pool in their order, while the model writes the next ones."""
            nonlocal taken
            found |= {row["index"]: row for row in journal.rows[len(journal.rows) - new :]}
            while taken in found:
                replay(pool, [found[taken]])
                taken += 1
            done(0)

        take(0)
        missing = [(index, a) for index, a in enumerate(asked) if index not in found]
        _in_chunks(engine, missing, settings.chunk, journal, work, take)
        fresh = (len(pool.kept) - kept) / max(1, pool.counts["parsed"] - parsed)
        stale = stale + 1 if fresh < settings.stale_yield else 0
        done(len(pool.kept) - kept)
        number += 1


def draw_answers(
    engine: Engine,
    stage: Stage,
    settings: GenerateSettings,
    instructions: Sequence[str],
    seed: int,
    journal: Journal,
    done: Done,
) -> list[Row]:
    """Draws the candidate answers of each instruction.

    The raw ones end where the few-shot ones do, so that both sides of a pair have one form.
    """
    sets = exemplar_sets(stage, settings.exemplar_sets, seed)
    asked = candidates(instructions, settings, seed)
    drawn = {row["key"] for row in journal.rows}

    def work(some: Sequence[Candidate]) -> list[Row]:
        sampling = Sampling(
            stage.max_new_tokens, settings.answer_temperature, settings.answer_top_p, stage.stop.few_shot, seed
        )
        completions = engine.complete([prompt_of(c, stage, sets) for c in some], sampling, [c.seed for c in some])
        return [
            {
                "key": c.key,
                "instruction": c.instruction,
                "arm": c.arm,
                "index": c.index,
                "exemplar_set": c.exemplar_set,
                **asdict(completion),
                "text": completion.text.strip(),
            }
            for c, completion in zip(some, completions, strict=True)
        ]

    _in_chunks(engine, [c for c in asked if c.key not in drawn], settings.chunk, journal, work, done)
    wanted = {c.key for c in asked}
    return [row for row in journal.rows if row["key"] in wanted]


def draw_revisions(
    engine: Engine,
    stage: Stage,
    reviser: Reviser,
    settings: GenerateSettings,
    drafts: Sequence[Draft],
    seed: int,
    journal: Journal,
    done: Done,
) -> dict[str, Row]:
    """Draws a critique of each draft, then a revision after it.

    Returns:
        By the draft's key, the critique and the revision.
    """
    known = {row["key"] for row in journal.rows}

    def work(some: Sequence[Draft]) -> list[Row]:
        sampling = Sampling(
            stage.max_new_tokens, settings.answer_temperature, settings.answer_top_p, stage.stop.few_shot, seed
        )
        seeds = [random.Random(f"{seed} revision {draft.key}").getrandbits(63) for draft in some]
        critiques = engine.complete([reviser.critique_prompt(draft) for draft in some], sampling, seeds)
        prompts = [reviser.revision_prompt(d, c.text.strip()) for d, c in zip(some, critiques, strict=True)]
        return [
            {
                "key": draft.key,
                "instruction": draft.instruction,
                "principle": draft.principle,
                "round": draft.round,
                "draft": draft.text,
                "critique": critique.text.strip(),
                "text": revision.text.strip(),
                "finish_reason": revision.finish_reason,
                "prompt_tokens": critique.prompt_tokens + revision.prompt_tokens,
                "completion_tokens": critique.completion_tokens + revision.completion_tokens,
            }
            for draft, critique, revision in zip(
                some, critiques, engine.complete(prompts, sampling, seeds), strict=True
            )
        ]

    todo = sorted((d for d in drafts if d.key not in known), key=lambda d: (d.principle, d.instruction))
    _in_chunks(engine, todo, settings.chunk, journal, work, done)
    return {row["key"]: row for row in journal.rows}


def read_cases(
    engine: Engine, critic: Critic, cases: Sequence[Case], journal: Journal, chunk: int, done: Done
) -> dict[str, Reading]:
    """Reads the critic's label probabilities for each case."""
    known = {row["key"] for row in journal.rows}
    todo = {case.key: case for case in cases if case.key not in known}

    def work(some: Sequence[Case]) -> list[Row]:
        readings = critic.read(engine, some)
        return [
            {"key": case.key, **case._asdict(), **reading._asdict()}
            for case, reading in zip(some, readings, strict=True)
        ]

    ordered = sorted(todo.values(), key=lambda case: (case.exemplar_set, case.principle))
    _in_chunks(engine, ordered, chunk, journal, work, done)
    return {
        row["key"]: Reading((row["ab"][0], row["ab"][1]), (row["ba"][0], row["ba"][1]), row["prompt_tokens"])
        for row in journal.rows
    }
