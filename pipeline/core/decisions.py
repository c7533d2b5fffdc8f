"""Who decides and why, as recorded with a decision in the ledger: one line of plain text each."""

from __future__ import annotations

import getpass

from pipeline.core.errors import WrongUsageError
from pipeline.core.plain_text import plain_line

AUTOMATIC = "automatic:"
"""What `by` of a decision by a rule begins with."""
_BY_CHARACTERS = 200
_WHY_CHARACTERS = 2_000


def logged_in_user(next_step: str = "Use --by NAME, or set the environment variable USER.") -> str:
    """The name of the user of this process. Raises WrongUsageError where it has none, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:  # OSError since Python 3.13
        raise WrongUsageError("The user of this process has no name, so it is not known who decides.", next_step) from error


def checked_by(by: str) -> str:
    """The name of the person who decides, without surrounding spaces.

    Raises WrongUsageError where it is empty, too long, no plain text, or looks like the name of a rule.
    """
    by = _checked("by", by, _BY_CHARACTERS)
    if not by:
        raise WrongUsageError("It does not say who decides.", "Write a name.")
    if by.casefold().startswith(AUTOMATIC):
        raise WrongUsageError(f"A person's name cannot begin with '{AUTOMATIC}'.", "Automatic approvals are recorded so.")
    return by


def checked_why(why: str) -> str:
    """The reason, without surrounding spaces; empty if none is given.

    Raises WrongUsageError where it is too long, or no plain text.
    """
    return _checked("why", why, _WHY_CHARACTERS)


def _checked(name: str, text: str, most: int) -> str:
    text = text.strip()
    if len(text) > most:
        raise WrongUsageError(f"`{name}` has {len(text):,} characters.", f"At most {most:,} are recorded.")
    if plain_line(text) != text:
        raise WrongUsageError(
            f"`{name}` contains a line end, a character that cannot be displayed, or a secret.", "Write one line of plain text."
        )
    return text
