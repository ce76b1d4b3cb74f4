"""The loss mask, checked before step 0 as the loss will see it."""

from __future__ import annotations

import pytest

from alignment.training.masks import IGNORED, mask_fault

PROMPT, ANSWER, EOS = [5, 6, 7], [8, 9], 0
KNOWN = {tuple(PROMPT)}


def masked(*labels: int) -> str | None:
    ids = [*PROMPT, *ANSWER, EOS, EOS]
    return mask_fault(ids, [*labels, *[IGNORED] * (len(ids) - len(labels))], KNOWN, EOS)


def test_mask_of_prompt_only_is_sound() -> None:
    """The prompt and the padding are masked; the answer and its end are trained on."""
    assert masked(IGNORED, IGNORED, IGNORED, 8, 9, EOS) is None


@pytest.mark.parametrize(
    ("labels", "fault"),
    [
        ([], "no token of the row is trained on"),
        ([5, 6, 7, 8, 9, EOS], "not the row's prompt"),
        ([IGNORED, IGNORED, 7, 8, 9, EOS], "not the row's prompt"),
        ([IGNORED, IGNORED, IGNORED, IGNORED, 9, EOS], "not the row's prompt"),
        ([5, 6, 7, IGNORED, IGNORED, IGNORED], "not the row's prompt"),
        ([IGNORED, IGNORED, IGNORED, 8, 9], "end-of-sequence"),
        ([IGNORED, IGNORED, IGNORED, 8, IGNORED, EOS], "not the answer's tokens"),
        ([IGNORED, IGNORED, IGNORED, 9, 8, EOS], "not the answer's tokens"),
    ],
)
def test_mask_faults_are_named(labels: list[int], fault: str) -> None:
    """No target, a prompt that is trained on, a hidden answer, a swapped mask, a missing end: each has its name."""
    assert fault in (masked(*labels) or "")
