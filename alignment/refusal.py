"""What the method refuses to do until a person has mended something."""

from __future__ import annotations


class Refusal(Exception):
    """A condition that a person can mend: `reason` says what is wrong and where, `needs` what to do.

    A handler turns it into the outcome `Blocked`.
    """

    def __init__(self, reason: str, needs: str) -> None:
        super().__init__(f"{reason}\n{needs}")
        self.reason = reason
        self.needs = needs
