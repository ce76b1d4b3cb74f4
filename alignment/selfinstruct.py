"""Self-instruct by completion: numbered lists of instructions that end mid-list, and what the model goes on with.

Source: Self-Instruct (arXiv 2212.10560): six human-written and two machine-made exemplars a list; topics steer
(Dromedary, arXiv 2305.03047).
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from alignment.curriculum import Stage
from alignment.decontamination import Decontaminator
from alignment.dedup import Ladder
from alignment.prompts import fill
from alignment.settings import GenerateSettings

_AMPLE = 1.2  # later lists bring less that is new


@dataclass(frozen=True, slots=True)
class Asked:
    """One list that the model is asked to go on with."""

    topic: str
    prompt: str
    first: int  # the number of the entry that the model begins with
    seed: int


@dataclass(frozen=True, slots=True)
class Instruction:
    """An instruction that the model wrote and that passed every check."""

    text: str
    topic: str
    round: int


@dataclass
class Pool:
    """The instructions collected so far, and what became of every entry."""

    stage: Stage
    settings: GenerateSettings
    ladder: Ladder
    decontaminator: Decontaminator
    kept: list[Instruction] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    by_topic: Counter[str] = field(default_factory=Counter)

    def take(self, entries: Iterable[str], topic: str, round_number: int) -> int:
        """Checks the entries of one list, in order, and keeps what is valid, distinct, clean and within the caps.

        Returns:
            How many were kept.
        """
        before = len(self.kept)
        self.counts["lists"] += 1
        for text in entries:
            if len(self.kept) >= self.settings.instructions:
                break
            self.counts["parsed"] += 1
            fate = self._fate(text, topic)
            self.counts[fate] += 1
            if fate == "kept":
                self.kept.append(Instruction(text, topic, round_number))
                self.by_topic[topic] += 1
        return len(self.kept) - before

    def open_topics(self) -> list[str]:
        """Lists the topics that have not had their share."""
        return [topic for topic in self.stage.generation.topics if self.by_topic[topic] < self._cap()]

    def lists_needed(self) -> int:
        """Estimates how many lists fill the pool, from what the lists so far have left."""
        if not self.kept:
            return self.settings.list_prompts
        missing = self.settings.instructions - len(self.kept)
        return min(self.settings.list_prompts, math.ceil(_AMPLE * missing * self.counts["lists"] / len(self.kept)))

    def _cap(self) -> int:
        topics = len(self.stage.generation.topics)
        return math.ceil(self.settings.instructions * max(self.settings.topic_share, 1 / topics))

    def _fate(self, text: str, topic: str) -> str:
        words = len(text.split())
        if not self.stage.generation.min_words <= words <= self.stage.generation.max_words:
            return "invalid.words"
        if any(mark in text for mark in self.stage.new_turn):
            return "invalid.new_turn"
        if self.by_topic[topic] >= self._cap():
            return "capped.topic"
        if leak := self.decontaminator.leak(text):
            return f"leaked.{leak.rule}"
        if rung := self.ladder.duplicate(text):
            return f"duplicate.{rung}"
        return "kept"


def lists_to_ask(pool: Pool, round_number: int, seed: int) -> list[Asked]:
    """Composes one round's lists from the seed set and the instructions collected before this round."""
    asked = []
    topics = pool.open_topics()
    plan, settings = pool.stage.generation, pool.settings
    for index in range(pool.lists_needed() if topics else 0):
        rng = random.Random(f"{seed} list {round_number} {index}")
        topic = topics[(round_number * settings.list_prompts + index) % len(topics)]
        written = [e.instruction for e in pool.stage.exemplars]
        exemplars = rng.sample(written, min(plan.exemplars_per_prompt, len(written)))
        if len(pool.kept) >= settings.list_prompts:
            exemplars += [i.text for i in rng.sample(pool.kept, min(settings.machine_exemplars, len(pool.kept)))]
        rng.shuffle(exemplars)
        lines = [fill(plan.list_header, topic=topic), *(f"{n}. {text}" for n, text in enumerate(exemplars, 1))]
        first = len(exemplars) + 1
        asked.append(Asked(topic, "\n".join([*lines, f"{first}."]), first, rng.getrandbits(63)))
    return asked


def entries_of(text: str, finish_reason: str, first: int) -> list[str]:
    """Parses what the model went on with into entries, without the one that the token limit cut off."""
    lines = f"{first}.{text}".split("\n")
    if finish_reason == "length":
        lines = lines[:-1]
    entries = []
    for line in lines:
        numbered = re.fullmatch(r"\s*\d+[.)]\s*(\S.*?)\s*", line)
        if numbered is None:
            break  # the list is over; what follows is another document's
        entries.append(numbered[1])
    return entries


def replay(pool: Pool, rows: Sequence[Mapping[str, Any]]) -> None:
    """Feeds journalled lists to a pool in their order, which gives the same pool in every attempt."""
    for row in rows:
        pool.take(entries_of(row["text"], row["finish_reason"], row["first"]), row["topic"], row["round"])
