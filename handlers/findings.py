"""What an evaluation tells: the figures that success criteria can name, and the summary that a person reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from alignment.assessment import ArmTally, Row
from alignment.comparison import Comparison, Verdict
from alignment.curriculum import Stage

TRAINED = "trained"  # the arm
_SHOWN = 8  # failing answers in the summary


def metrics_of(
    tallies: Mapping[str, ArmTally],
    compared: Mapping[str, Comparison],
    best: Comparison,
    regressions: Sequence[Comparison],
    verdict: Verdict,
    noise_floor: float,
    rows: Sequence[Row],
) -> dict[str, float]:
    """Lists the figures that a task's success criteria can name."""
    whole = tallies[TRAINED].whole
    metrics = {
        "accuracy": whole.accuracy,
        "accuracy.low": whole.interval.low,
        "accuracy.high": whole.interval.high,
        "loose": whole.passed_loosely / whole.n,
        "items": float(whole.n),
        "lift": best.lift,
        "lift.low": best.lift_interval.low,
        "lift.high": best.lift_interval.high,
        "mcnemar_p": best.p,
        "mcnemar_p.raw": compared["raw"].p,
        "cohens_h": best.h,
        "minimum_detectable_effect": best.detectable,
        "noise_floor": noise_floor,
        "regressions": float(sum(comparison.lift < 0 for comparison in regressions)),
        "completion_tokens": float(sum(row["completion_tokens"] for row in rows)),
        "prompt_tokens": float(sum(row["prompt_tokens"] for row in rows)),
    }
    verdicts = ("passed", "failed", "saturated", "inconclusive")
    return metrics | {name: float(verdict.verdict == name) for name in verdicts}


def summary_of(
    stage: Stage,
    verdict: Verdict,
    tallies: Mapping[str, ArmTally],
    compared: Mapping[str, Comparison],
    figures: Mapping[str, Any],
    trained: Sequence[Row],
) -> str:
    """Writes the summary that a person reads."""
    lines = [f"# Evaluation of stage {stage.number}: {stage.name}", "", f"Verdict: **{verdict.verdict}**.", ""]
    lines += [f"- {evidence}" for evidence in verdict.evidence]
    lines += ["", "| against | before | after | gained | lost | McNemar p | Cohen's h | lift | detectable |"]
    lines.append("|---|---|---|---|---|---|---|---|---|")
    for name, c in compared.items():
        low, high = c.lift_interval
        lines.append(
            f"| {name} | {100 * c.accuracy_before:.1f} % | {100 * c.accuracy_after:.1f} % | {c.gained} | {c.lost} "
            f"| {c.p:.2g} | {c.h:.2f} | {100 * c.lift:.1f} [{100 * low:.1f}, {100 * high:.1f}] "
            f"| {100 * c.detectable:.1f} points |"
        )
    lines += ["", f"| the gate's figures | {' | '.join(stage.gate)} |", f"|---|{'---|' * len(stage.gate)}"]
    for name, values in figures["measured"].items():
        lines.append(f"| {name} | {' | '.join(f'{value:.3f}' for value in values.values())} |")
    lines += ["", "| answers to | end by themselves | repetition | distinct-2 |", "|---|---|---|---|"]
    for entry in figures["signs"]:
        cells = (f"{entry['before'][name]:.3f} → {entry['now'][name]:.3f}" for name in entry["now"])
        lines.append(f"| stage {entry['stage']} | {' | '.join(cells)} |")
    lines += ["", "| type | items | passed | gained | lost | q |", "|---|---|---|---|---|---|"]
    of_type = next(iter(compared.values())).by_type
    for name, t in tallies[TRAINED].by_type.items():
        c_type = of_type[name]
        lines.append(f"| {name} | {t.n} | {t.passed} | {c_type.gained} | {c_type.lost} | {c_type.q:.2g} |")
    failures = [row for row in trained if not row["strict"]]
    lines += ["", "Answers that fail:", ""]
    lines += [f"- {row['instruction']!r} -> {row['completion'][:160]!r}: {row['reason']}" for row in failures[:_SHOWN]]
    return "\n".join(lines) + "\n"
