"""Asks an engine a stage's items in one arm, scores the answers and adds them up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from alignment.ahead import ahead, depth_for
from alignment.curriculum import Item, Stage
from alignment.engines import Completion, Engine, Sampling
from alignment.prompts import Arm
from alignment.scorers import Verifier, score, verify
from alignment.statistics import Interval, wilson

Row = dict[str, Any]  # one line of completions.jsonl


@dataclass(frozen=True, slots=True)
class Tally:
    """How many answers passed."""

    n: int
    passed: int  # strictly
    passed_loosely: int
    interval: Interval  # of the strict accuracy

    @property
    def accuracy(self) -> float:
        """The share that passed strictly."""
        return self.passed / self.n if self.n else 0.0

    def as_figures(self) -> dict[str, Any]:
        """Gives the tally as JSON."""
        loose = self.passed_loosely / self.n if self.n else 0.0
        return {
            "n": self.n,
            "passed": self.passed,
            "accuracy": self.accuracy,
            "low": self.interval.low,
            "high": self.interval.high,
            "loose": loose,
        }


@dataclass(frozen=True, slots=True)
class ArmTally:
    """An arm's tally, over all items and type by type."""

    whole: Tally
    by_type: Mapping[str, Tally]

    def as_figures(self) -> dict[str, Any]:
        """Gives the tallies as JSON."""
        return {**self.whole.as_figures(), "by_type": {name: t.as_figures() for name, t in self.by_type.items()}}


def evenly(items: Sequence[Item], count: int) -> list[Item]:
    """Takes `count` items, spread evenly over the types; 0 takes all. The same count always takes the same items."""
    if count == 0 or count >= len(items):
        return list(items)
    rank: dict[str, int] = defaultdict(int)
    ranked = []
    for position, item in enumerate(items):
        ranked.append((rank[item.type], position))
        rank[item.type] += 1
    return [items[position] for position in sorted(position for _, position in sorted(ranked)[:count])]


class Asked(NamedTuple):
    """Items of one stage that are asked in one arm, so many at a time."""

    stage: Stage
    arm: Arm
    items: Sequence[Item]
    chunk_items: int

    def chunks(self) -> Iterator[Asked]:
        """Cuts the items."""
        for start in range(0, len(self.items), self.chunk_items):
            yield self._replace(items=self.items[start : start + self.chunk_items])


def answers(engine: Engine, asked: Sequence[Asked], verifier: Verifier = verify) -> Generator[list[Row], None, None]:
    """Answers items greedily and scores them, chunk by chunk, so that the caller can save, report and stop."""

    def work(chunk: Asked) -> tuple[list[str], list[Completion]]:
        prompts = [chunk.arm.prompt(item.instruction) for item in chunk.items]
        return prompts, engine.complete(prompts, Sampling(chunk.stage.max_new_tokens, stop=chunk.arm.stop))

    chunks = (chunk for one in asked for chunk in one.chunks())
    depth = depth_for(engine.width, min((one.chunk_items for one in asked), default=1))
    for (stage, arm, items, _), (prompts, completions) in ahead(work, chunks, depth):
        rows = []
        for item, prompt, completion in zip(items, prompts, completions, strict=True):
            strict, loose = score(item.verifier, completion.text, completion.finish_reason, stage.new_turn, verifier)
            rows.append(
                {
                    "arm": arm.name,
                    "item": item.id,
                    "type": item.type,
                    "instruction": item.instruction,
                    "prompt": prompt,
                    "prompt_sha256": completion.prompt_sha256,
                    "completion": completion.text,
                    "finish_reason": completion.finish_reason,
                    "prompt_tokens": completion.prompt_tokens,
                    "completion_tokens": completion.completion_tokens,
                    "strict": strict.passed,
                    "loose": loose.passed,
                    "reason": strict.reason,
                    "loose_reason": loose.reason,
                }
            )
        yield rows


def tally(rows: Iterable[Row], confidence: float) -> ArmTally:
    """Adds up an arm's rows."""
    by_type: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_type[row["type"]].append(row)
    everything = [row for group in by_type.values() for row in group]
    return ArmTally(
        _tally(everything, confidence), {name: _tally(group, confidence) for name, group in sorted(by_type.items())}
    )


def _tally(rows: Sequence[Row], confidence: float) -> Tally:
    passed = sum(row["strict"] for row in rows)
    loosely = sum(row["loose"] for row in rows)
    return Tally(len(rows), passed, loosely, wilson(passed, len(rows), confidence))
