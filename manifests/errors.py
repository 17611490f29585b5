"""The two kinds of bad news that are nobody's bug: a user's mistake, and a row that a rule refuses."""

from __future__ import annotations

__all__ = ["Refused", "UserError"]


class UserError(Exception):
    """A mistake in a recipe, a path or an option. The command line prints its one line and exits with 2."""


class Refused(Exception):
    """A rule refuses one row: it ends in `dropped` with `reason` (a short fixed word), and the run goes on."""

    def __init__(self, reason: str, message: str, source_id: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.source_id = source_id

    def __reduce__(self) -> tuple[type[Refused], tuple[str, str, str | None]]:
        return Refused, (self.reason, str(self), self.source_id)
