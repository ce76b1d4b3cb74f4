"""The funnel: how many of what was asked for came through each step, and what a row cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

STAGES = ("asked", "parsed", "valid", "distinct", "clean", "answered", "accepted", "paired")


@dataclass(frozen=True, slots=True)
class Step:
    """The model's work in one step."""

    name: str
    calls: int
    prompt_tokens: int
    completion_tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Funnel:
    """Counts by funnel stage, the reasons of the losses, and the work behind them."""

    counts: Mapping[str, int]  # by STAGES; asked counts lists, parsed and later instructions, paired pairs
    losses: Mapping[str, int]  # by "step.reason"
    steps: tuple[Step, ...]
    usd_per_hour: float
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """The model's time, over every attempt."""
        return sum(step.seconds for step in self.steps)

    def per_row(self) -> dict[str, float]:
        """Gives what an accepted row cost."""
        rows = max(1, self.counts["accepted"])
        tokens = sum(step.prompt_tokens + step.completion_tokens for step in self.steps)
        return {
            "seconds": self.seconds / rows,
            "tokens": tokens / rows,
            "usd": self.seconds / 3600 * self.usd_per_hour / rows,
        }

    def as_figures(self) -> dict[str, Any]:
        """Gives the funnel as JSON."""
        return {
            "counts": dict(self.counts),
            "losses": dict(self.losses),
            "steps": [{name: getattr(step, name) for name in Step.__slots__} for step in self.steps],
            "seconds": self.seconds,
            "usd": self.seconds / 3600 * self.usd_per_hour,
            "per_row": self.per_row(),
            **self.facts,
        }

    def as_markdown(self, title: str) -> str:
        """Writes the funnel for people."""
        lines = [f"# {title}", "", "| step | kept | of the step before |", "|---|---|---|"]
        before = 0
        for name in STAGES:
            count = self.counts[name]
            comparable = name not in ("asked", "parsed", "paired") and before
            lines.append(f"| {name} | {count} | {f'{100 * count / before:.0f} %' if comparable else ''} |")
            before = count
        lines += ["", "| lost to | entries |", "|---|---|"]
        lines += [f"| {reason} | {count} |" for reason, count in sorted(self.losses.items()) if count]
        lines += ["", "| work | calls | prompt tokens | new tokens | seconds |", "|---|---|---|---|---|"]
        lines += [
            f"| {s.name} | {s.calls} | {s.prompt_tokens} | {s.completion_tokens} | {s.seconds:.1f} |"
            for s in self.steps
        ]
        if principles := self.facts.get("principles"):
            lines += [
                "",
                "| principle | drawn | broken, and revised | revision won | row kept |",
                "|---|---|---|---|---|",
            ]
            lines += [
                f"| {name} | {' | '.join(str(record[key]) for key in ('drawn', 'broken', 'won', 'kept'))} |"
                for name, record in principles.items()
            ]
            if never := self.facts["never_won"]:
                lines += ["", f"Never won: {', '.join(never)}."]
        cost = self.per_row()
        lines += [
            "",
            f"An accepted row took {cost['seconds']:.2f} s, {cost['tokens']:.0f} tokens and {cost['usd']:.4f} USD.",
        ]
        return "\n".join(lines) + "\n"


def step_of(name: str, rows: Iterable[Mapping[str, Any]]) -> Step:
    """Adds up a step's journal."""
    rows = list(rows)
    return Step(
        name,
        len(rows),
        sum(row["prompt_tokens"] for row in rows),
        sum(row.get("completion_tokens", 0) for row in rows),
        sum(row["seconds"] for row in rows),
    )
