"""python -m docs.generate.links: check the links that the site's own check does not see. Exits with 1 if one is broken.

Two kinds: links of Markdown files (README.md and others outside docs/), with their anchors; and pages of docs/ that
code, SQL, yml and units name by their path. No network: addresses on the web are not requested.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_MENTION = re.compile(r"docs/[\w./-]*\.md\b")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ +(.*?) *$", re.MULTILINE)


def broken_links(root: Path = ROOT) -> list[str]:
    """What is broken, as 'file: target', over all tracked text files."""
    return [f"{file}: {target}" for file in _tracked(root) for target in _broken_in(root, file)]


def _tracked(root: Path) -> list[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)  # noqa: S603 - no input in it
    return [name for name in listed.stdout.splitlines() if (root / name).is_file()]


def _broken_in(root: Path, file: str) -> Iterator[str]:
    try:
        text = (root / file).read_text(encoding="utf-8")
    except UnicodeDecodeError:  # a picture
        return
    for page in sorted(set(_MENTION.findall(text))):
        if not (root / page).exists():
            yield page
    if not file.endswith(".md"):
        return
    for target in _LINK.findall(_FENCE.sub("", text)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        page = (root / file).parent / path if path else root / file
        if not page.exists() or (anchor and page.suffix == ".md" and anchor not in anchors(page)):
            yield target


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    headings = _HEADING.findall(_FENCE.sub("", page.read_text(encoding="utf-8")))
    plain = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "") for heading in headings)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in plain}


def main() -> int:
    """Returns the exit code."""
    broken = broken_links()
    for link in broken:
        print(f"broken link in {link}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
