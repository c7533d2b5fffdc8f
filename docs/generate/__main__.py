"""python -m docs.generate: write the generated pages; with --check, write nothing and exit with 1 if a page is out of date."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from deploy.grafana.dashboard import dashboard_json
from docs.generate.command_line import command_line_page
from docs.generate.configuration import configuration_page
from docs.generate.data_dictionary import data_dictionary
from docs.generate.diagrams import layers_page, report_tables_page
from docs.generate.home_folder import architecture_page
from docs.generate.questions import questions_page

DOCS = Path(__file__).resolve().parents[1]
PAGES: Mapping[Path, Callable[[], str]] = {
    DOCS / "reference" / "command-line.md": command_line_page,
    DOCS / "reference" / "configuration.md": configuration_page,
    DOCS / "reference" / "data-dictionary.md": data_dictionary,
    DOCS / "reference" / "report-tables.md": report_tables_page,
    DOCS / "internals" / "model-layers.md": layers_page,
    DOCS / "internals" / "architecture.md": architecture_page,
    DOCS / "use" / "questions.md": questions_page,
    DOCS.parent / "deploy" / "grafana" / "billhouse.json": dashboard_json,
}


def stale_pages() -> list[Path]:
    """The generated pages whose file differs from what the code gives now, or is missing."""
    return [path for path, page in PAGES.items() if not path.exists() or path.read_text(encoding="utf-8") != page()]


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="report pages that are out of date; write nothing")
    stale = stale_pages()
    if parser.parse_args().check:
        for path in stale:
            print(f"{path.relative_to(DOCS.parent)} is out of date: run `make reference`", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.write_text(PAGES[path](), encoding="utf-8")
        print(f"wrote {path.relative_to(DOCS.parent)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
