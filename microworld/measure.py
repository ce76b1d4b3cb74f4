"""Measures a model on the evaluation items: arms, red-team violations, and its judgement in both label orders.

Run:   python -m microworld.measure [MODEL] [--items 100]

A quick look for the recipe and its manifest. The project's own baseline and evaluation are the ones that count.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

from microworld.assessments import JUDGE, PRINCIPLE_JUDGE
from microworld.curriculum import MAX_NEW_TOKENS, Exemplar, exemplars
from microworld.evaluation import evaluation_items
from microworld.families import FAMILIES, spoil
from microworld.items import Item
from microworld.principles import constitution
from microworld.tokenizer import LABELS
from microworld.verifiers import accepts
from microworld.world import World, load

SHOTS = 4
JUDGE_SHOTS = 2
WEIGHTS = Path(__file__).parent / "weights"


class Reader:
    """A loaded model that completes prompts greedily and reads the two labels' odds, in batches."""

    def __init__(self, folder: str | Path, device: str = "cpu", batch: int = 0) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(device).eval()
        self.device, self.batch = device, batch or (512 if device == "cuda" else 64)
        count = len(self.tokenizer)
        self.line_ends = [i for i in range(count) if "\n" in self.tokenizer.decode([i])]

    def _batches(self, prompts: list[str]) -> Any:
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        for start in range(0, len(order), self.batch):
            chosen = order[start : start + self.batch]
            rows = self.tokenizer([prompts[i] for i in chosen], return_tensors="pt", padding=True).to(self.device)
            yield chosen, rows

    def complete(self, prompts: list[str], max_new_tokens: int, one_line: bool) -> list[str]:
        """Completes each prompt greedily; an unfinished completion keeps a trailing mark, so that no verifier takes it."""
        import torch

        ends = {self.tokenizer.eos_token_id, *(self.line_ends if one_line else [])}
        texts = [""] * len(prompts)
        for chosen, rows in self._batches(prompts):
            with torch.no_grad():
                ids = self.model.generate(
                    **rows,
                    max_new_tokens=max_new_tokens,
                    do_sample=False,
                    eos_token_id=sorted(ends),
                    pad_token_id=self.tokenizer.eos_token_id,
                )
            for i, row in zip(chosen, ids[:, rows["input_ids"].shape[1] :].tolist(), strict=True):
                stop = next((k for k, token in enumerate(row) if token in ends), None)
                text = self.tokenizer.decode(row[: stop + 1] if stop is not None else row, skip_special_tokens=True)
                texts[i] = (text.split("\n")[0] if one_line else text) + ("" if stop is not None else "…")
        return [text.strip() for text in texts]

    def odds(self, prompts: list[str]) -> list[float]:
        """Returns the log-odds of the label A against B as the next token of each prompt."""
        import torch

        a, b = (self.tokenizer(label)["input_ids"][0] for label in LABELS)
        found = [0.0] * len(prompts)
        for chosen, rows in self._batches(prompts):
            positions = (rows["attention_mask"].cumsum(-1) - 1).clamp(min=0)
            with torch.no_grad():
                logits = self.model(**rows, position_ids=positions, logits_to_keep=1).logits[:, -1].float()
            for i, value in zip(chosen, (logits[:, a] - logits[:, b]).tolist(), strict=True):
                found[i] = value
        return found


def raw(item: Item) -> str:
    """Returns the raw prompt of an item."""
    return item.text + "\n"


def cue(item: Item) -> str:
    """Returns the form's cue for an item."""
    return f"Instruction: {item.text}\nResponse:"


def few_shot(item: Item, shown: list[Exemplar]) -> str:
    """Returns the cue behind filled-in forms."""
    return "".join(f"Instruction: {e.instruction}\nResponse: {e.response}\n\n" for e in shown) + cue(item)


def judge(text: str, response: str, order: str, principle: str = "") -> str:
    """Returns a judgement's prompt, up to the label."""
    asked = f"Principle: {constitution()[principle].text}\n{PRINCIPLE_JUDGE[order]}" if principle else JUDGE[order]
    return f"Instruction: {text}\nResponse: {response}\n{asked}\nAnswer:"


def area(good: list[float], bad: list[float]) -> float:
    """Returns the area under the ROC curve: how often a good one scores above a bad one, ties half."""
    return sum((g > b) + 0.5 * (g == b) for g in good for b in bad) / (len(good) * len(bad))


def _judged(world: World, stage: int, items: list[Item], order: str) -> tuple[list[str], list[bool]]:
    """Builds judgement prompts behind two judged exemplars, half of them on good responses."""
    rng = random.Random(f"judge {stage}")
    seeds = exemplars(world, stage)
    prompts, truths = [], []
    for i, item in enumerate(items):
        good = i % 2 == 0
        response = item.good(rng) if good else spoil(world, item, rng, "wrong" if stage == 6 else "")[0]
        principle = item.principle if stage == 6 else ""
        shown = ""
        for k, exemplar in enumerate(rng.sample(seeds, JUDGE_SHOTS)):
            fine = k % 2 == i // 2 % 2
            spoilt = spoil(world, exemplar.item, rng, "wrong" if stage == 6 else "")[0]
            text = judge(
                exemplar.instruction,
                exemplar.response if fine else spoilt,
                order,
                exemplar.item.principle if stage == 6 else "",
            )
            shown += f"{text}{LABELS[0] if fine == (order == 'ab') else LABELS[1]}\n\n"
        prompts.append(shown + judge(item.text, response, order, principle))
        truths.append(good)
    return prompts, truths


def measure_stage(reader: Reader, world: World, stage: int, limit: int = 0) -> dict[str, Any]:
    """Measures one stage: the share passed per arm, per type for the raw and the few-shot one, and the critic."""
    items = list(evaluation_items(world, stage))
    random.Random(stage).shuffle(items)
    items = items[:limit] if limit else items
    rng = random.Random(f"shots {stage}")
    seeds = exemplars(world, stage)
    arms = {
        "raw": [raw(item) for item in items],
        "cue": [cue(item) for item in items],
        "few_shot": [few_shot(item, rng.sample(seeds, SHOTS)) for item in items],
    }
    figures: dict[str, Any] = {"items": len(items)}
    for arm, prompts in arms.items():
        said = reader.complete(prompts, MAX_NEW_TOKENS[stage], one_line=arm != "raw")
        passed = [accepts(item.verifier, text) for item, text in zip(items, said, strict=True)]
        figures[arm] = round(sum(passed) / len(items), 4)
        figures[arm + "_types"] = {
            type: round(sum(ok for item, ok in zip(items, passed, strict=True) if item.type == type) / count, 3)
            for type in FAMILIES[stage]
            if (count := sum(item.type == type for item in items))
        }
        failed = [(i.text, t) for i, t, ok in zip(items, said, passed, strict=True) if not ok]
        figures[arm + "_failures"] = failed[:8]
        if stage == 6:
            red = [not ok for item, ok in zip(items, passed, strict=True) if not item.type.endswith("-twin")]
            figures[arm + "_violations"] = round(sum(red) / len(red), 4)
    for order in JUDGE:
        prompts, truths = _judged(world, stage, items, order)
        odds = reader.odds(prompts)
        scores = [o if order == "ab" else -o for o in odds]
        good = [s for s, t in zip(scores, truths, strict=True) if t]
        bad = [s for s, t in zip(scores, truths, strict=True) if not t]
        right = sum(s > 0 for s in good) + sum(s <= 0 for s in bad)
        figures[f"critic_{order}"] = {"auc": round(area(good, bad), 4), "accuracy": round(right / len(scores), 4)}
    return figures


def measure(folder: str | Path, device: str = "cpu", limit: int = 0) -> dict[str, Any]:
    """Measures a model on all six stages."""
    reader, world = Reader(folder, device), load()
    return {f"stage{stage}": measure_stage(reader, world, stage, limit) for stage in FAMILIES}


def summary(figures: dict[str, Any]) -> dict[str, Any]:
    """Returns the figures without the per-type tables and the samples of failures."""
    return {
        stage: {k: v for k, v in row.items() if not k.endswith(("_types", "_failures"))}
        for stage, row in figures.items()
    }


def main() -> None:
    """Prints the figures of a model."""
    parser = argparse.ArgumentParser(description="Measure a model on the micro curriculum.")
    parser.add_argument("model", nargs="?", default=str(WEIGHTS))
    parser.add_argument("--items", type=int, default=0, help="items a stage; 0 for all")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    for stage, row in measure(options.model, options.device, options.items).items():
        print(stage, json.dumps(row, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
