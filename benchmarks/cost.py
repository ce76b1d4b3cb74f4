"""Reckons what the whole experiment takes from measured rates: `python -m benchmarks.cost [RATES.yaml]` prints the tables."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

RATES = Path(__file__).with_name("rates.yaml")


def work_of_a_stage(given: Mapping[str, Any]) -> list[tuple[str, str, float, str]]:
    """Lists a stage's steps: name, the arithmetic in words, the amount, and the rate that it is divided by."""
    n, kept = given["instructions"], given["distinct_share"]
    answers = n * (given["candidates"] + 1)
    return [
        ("baseline", f"{given['items']} items × {given['arms']} arms × {given['answer_tokens']} tokens",
         given["items"] * given["arms"] * given["answer_tokens"], "generation_tok_s"),
        ("generate: instructions", f"{n} ÷ {kept} distinct × {given['entry_tokens']} tokens",
         n / kept * given["entry_tokens"], "generation_tok_s"),
        ("generate: answers", f"{n} × ({given['candidates']} + 1) × {given['answer_tokens']} tokens",
         answers * given["answer_tokens"], "generation_tok_s"),
        ("generate: critic and safety", f"({answers} + {n}) × {given['judged_orders']} orders",
         (answers + n) * given["judged_orders"], "critic_prompts_s"),
        ("train: SFT", f"{given['sft_rows']} rows × {given['row_tokens']} tokens × {given['sft_epochs']} epoch",
         given["sft_rows"] * given["row_tokens"] * given["sft_epochs"], "sft_tok_s"),
        ("train: DPO", f"{given['dpo_pairs']} pairs × 2 × {given['row_tokens']} tokens",
         given["dpo_pairs"] * 2 * given["row_tokens"], "dpo_tok_s"),
        ("evaluate, with all earlier stages", f"{given['items']} items × {(given['stages'] + 1) / 2:g} on average",
         given["items"] * (given["stages"] + 1) / 2 * given["answer_tokens"], "generation_tok_s"),
    ]  # fmt: skip


def table(given: Mapping[str, Any], machine: str) -> str:
    """Writes one machine's table."""
    rates, price, stages = given["machines"][machine], given["price_usd_per_hour"], given["stages"]
    steps = [(*step, step[2] / rates[step[3]] / 60) for step in work_of_a_stage(given)]
    steps.append(
        (
            "loads",
            f"{given['loads']} × {rates['load_s']} s",
            given["loads"],
            "load_s",
            given["loads"] * rates["load_s"] / 60,
        )
    )
    lines = [
        f"### {machine}",
        "",
        "| step of one stage | arithmetic | amount | ÷ rate | minutes |",
        "|---|---|---|---|---|",
    ]
    for name, words, amount, rate, minutes in steps:
        lines.append(f"| {name} | {words} | {amount:,.0f} | {rates[rate]:,} {rate} | {minutes:.1f} |")
    hours = sum(step[-1] for step in steps) / 60
    lines += [
        f"| **one stage** | | | | **{60 * hours:.0f}** |",
        "",
        f"{stages} stages of one round: {stages} × {hours:.2f} h = **{stages * hours:.1f} h**, "
        f"at {price} $/h **{stages * hours * price:.0f} $**.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        sys.exit(__doc__)
    found = yaml.safe_load(Path(sys.argv[1] if len(sys.argv) == 2 else RATES).read_text(encoding="utf-8"))
    print("\n\n".join(table(found, machine) for machine in found["machines"]))
