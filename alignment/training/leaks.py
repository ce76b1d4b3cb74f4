"""The last check before training: no row asks what a frozen evaluation set asks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from alignment.curriculum import Stage
from alignment.training.rows import Row


def leaked(rows: Iterable[Row], stages: Sequence[Stage]) -> dict[str, str]:
    """Finds rows whose instruction is an evaluation item's, letter case, spacing and the final mark aside.

    Near matches are the decontamination's business, which drops them as the rows are made; this catches rows that
    never passed through it.

    Returns:
        By row id, which item the row leaks.
    """
    frozen = {_normalised(item.instruction): f"{stage.name}/{item.id}" for stage in stages for item in stage.items}
    return {
        row["id"]: f"{row['instruction']!r} is the item {frozen[text]}"
        for row in rows
        if (text := _normalised(row["instruction"])) in frozen
    }


def _normalised(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".!?")
