"""The ladder: what the base model and the model after each stage can do, on the items of every stage.

Pure functions over gathered facts, for the page and for the terminal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from alignment.report.gather import Example, StageFacts

SIDES = ("violations", "over_refusal")


@dataclass(frozen=True, slots=True)
class Rung:
    """One model on the way: the base model, or what a stage has left."""

    stage: int  # 0 is the base model
    verdict: str = ""
    rounds: int = 0
    seconds: float = 0.0
    tokens: int = 0
    usd: float = 0.0
    arms: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)  # by stage of the items: accuracy, low, high
    sides: Mapping[str, float] = field(default_factory=dict)  # violations and over-refusals

    @property
    def name(self) -> str:
        """What the model is called."""
        return f"stage {self.stage}" if self.stage else "base"


def rungs_of(stages: Sequence[StageFacts]) -> list[Rung]:
    """Lists the models, the base model first; a stage without an evaluation has none yet."""
    base = Rung(
        0,
        arms={s.number: s.baseline["arms"]["raw"] for s in stages if s.baseline},
        sides=_first_sides(s.baseline.get("measured", {}).get("raw", {}) for s in stages if s.baseline),
    )
    return [base, *(_rung(stage, stages) for stage in stages if stage.evaluation)]


def _rung(stage: StageFacts, stages: Sequence[StageFacts]) -> Rung:
    figures = stage.evaluation or {}
    arms = {
        stage.number if name == "trained" else int(name.removeprefix("stage")): arm
        for name, arm in figures["arms"].items()
    }
    sides = [figures.get("measured", {}).get("trained", {})]
    for later in stages:  # the next stage's baseline says what this model can do of it already
        if later.number == stage.number + 1 and later.baseline and "previous" in later.baseline["arms"]:
            arms[later.number] = later.baseline["arms"]["previous"]
            sides.append(later.baseline.get("measured", {}).get("previous", {}))
    return Rung(
        stage.number,
        figures["verdict"]["verdict"],
        len(stage.rounds),
        sum(run.seconds for run in stage.runs),
        sum(run.tokens for run in stage.runs),
        sum(run.usd for run in stage.runs),
        arms,
        _first_sides(sides),
    )


def _first_sides(measured: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Takes the first figures that speak of violations."""
    found: Mapping[str, float] = next((figures for figures in measured if SIDES[0] in figures), {})
    return {name: found[name] for name in SIDES if name in found}


def as_markdown(rungs: Sequence[Rung]) -> str:
    """Writes the ladder for a terminal: accuracies in percent, with the Wilson interval where a stage is taught."""
    columns = sorted({stage for rung in rungs for stage in rung.arms})
    head = ["after", "verdict", "rounds", *(f"s{stage}" for stage in columns), "violations", "over-refusals", "time"]
    rows = [
        [
            rung.name,
            rung.verdict,
            str(rung.rounds or ""),
            *(_cell(rung, stage) for stage in columns),
            *(f"{100 * rung.sides[name]:.1f}" if name in rung.sides else "" for name in SIDES),
            f"{rung.seconds:.0f} s" if rung.stage else "",
        ]
        for rung in rungs
    ]
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )


def transcripts(stages: Sequence[StageFacts]) -> list[Example]:
    """Sets the base model's answers beside the final model's: one item of each type, of every stage, as they come."""
    final = next((stage for stage in reversed(stages) if stage.final), None)
    if final is None:
        return []
    shown = []
    for stage in stages:
        arm = "trained" if stage.number == final.number else f"stage{stage.number}"
        after = {row["item"]: row for row in final.final if row["arm"] == arm}
        types: set[str] = set()
        for row in stage.raw:
            if row["item"] in after and row["type"] not in types:
                types.add(row["type"])
                now = after[row["item"]]
                shown.append(
                    Example(
                        f"stage {stage.number}, {row['type']}",
                        row["instruction"],
                        row["completion"],
                        row["strict"],
                        now["completion"],
                        now["strict"],
                    )
                )
    return shown


def _cell(rung: Rung, stage: int) -> str:
    arm = rung.arms.get(stage)
    if arm is None:
        return ""
    share = f"{100 * arm['accuracy']:.1f}"
    return f"{share} [{100 * arm['low']:.1f}, {100 * arm['high']:.1f}]" if rung.stage == stage else share


def principles_as_markdown(stages: Sequence[StageFacts]) -> str:
    """Writes what became of each principle, where a stage's data was made by critique and revision."""
    lines = []
    for stage in stages:
        if stage.funnel and (principles := stage.funnel.get("principles")):
            lines += [f"Stage {stage.number}, by principle: answers drawn for, broken, revision won, row kept"]
            lines += [
                f"  {name.ljust(10)} {record['drawn']:5} {record['broken']:5} {record['won']:5} {record['kept']:5}"
                + ("" if record["won"] else "  never won")
                for name, record in principles.items()
            ]
    return "\n".join(lines)
