"""Texts use plain technical English: a list of words that the project does not use is counted over tracked text files."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.core.home import PROJECT_ROOT

CHECKED = (".",)
"""Folders and files whose words are counted: all that is tracked."""
GENERATED = (
    "docs/reference/command-line.md",
    "docs/reference/configuration.md",
    "docs/reference/data-dictionary.md",
    "docs/reference/report-tables.md",
    "deploy/sbom.cdx.json",
    "docs/internals/model-layers.md",
)
"""Pages made from code and yml: their words are counted there."""
TEXT = (".py", ".sql", ".yml", ".yaml", ".md", ".toml", ".sh", ".service", "Makefile", "Dockerfile", "Caddyfile", "run")
WORDS = re.compile(
    r"\b(told|tells of|anew|standing|stands|comes to|reckon(?:s|ed|ing)?|worked out|held against|kept|folded|rounds"
    r"|strangers?|faults?|the house|by way of|taken over|takes over|(?-i:(?<!there )is none(?=[.,;:]))"
    r"|nobody|whoever|whatever|of what|what is there|cannot be meant)\b",
    re.IGNORECASE,
)
OWN_FILE = "tests/project/test_plain_words.py"
MOST_LITERAL_USES = 20
LITERAL = re.compile(
    "|".join(
        (
            r"""`standing`|\["standing"\]|as standing\b|- name: standing\b""",  # the column customer_balances.standing
            r"'kept'|\"kept\"|`kept`|, kept\]",  # a state of alerts
            r"fault injection",  # the field's term
            r"rounds to 0\.00",  # the arithmetic
            r"5% of what they billed",  # printed by `billhouse close`
        )
    )
)
"""Uses of these words that are meant literally, or are names in the public contract."""
FAULT_INJECTION = re.compile(r"(?i)faults?")
"""The field's term, and its names, in the Stripe emulator and where it is used."""


def test_no_text_uses_a_word_of_the_dialect() -> None:
    assert [f"{file}:{line}: {word}" for file, line, word in found(PROJECT_ROOT)] == []


def test_few_uses_are_literal() -> None:
    texts = (text for file, text in checked_files(PROJECT_ROOT) if file != OWN_FILE)
    assert sum(len(LITERAL.findall(text)) for text in texts) < MOST_LITERAL_USES


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Nobody is told anything.", ["Nobody", "told"]),
        ("It comes to 5.00 USD.", ["comes to"]),
        ("The column `standing` is what stands.", ["stands"]),
        ("The state is 'kept'.", []),
    ],
)
def test_a_word_is_found_unless_its_use_is_literal(text: str, words: list[str]) -> None:
    assert [word for _, word in found_in(text)] == words


def found(root: Path) -> Iterator[tuple[str, int, str]]:
    """(file, line, word) of every word that is not a literal use."""
    for file, text in checked_files(root):
        for line, word in found_in(text) if file != OWN_FILE else ():
            yield file, line, word


def found_in(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), start=1):
        for word in WORDS.findall(LITERAL.sub("", line)):
            yield number, word


def checked_files(root: Path) -> Iterator[tuple[str, str]]:
    """The tracked text files under CHECKED, with their text."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *CHECKED]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.splitlines()
    for file in sorted(set(listed) - set(GENERATED)):
        if (root / file).is_file() and not (root / file).is_symlink() and file.endswith(TEXT):
            text = (root / file).read_text(encoding="utf-8")
            yield file, FAULT_INJECTION.sub("", text) if "emulator" in text and "fault" in text else text
