"""Which dbt project builds a home: the one beside the code, or, with a price book of its own, a folder of links to both."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from uuid import uuid4

from pipeline.core.home import PROJECT_ROOT, SEEDS, Home
from pipeline.pricebook.schema import FILES
from pipeline.pricebook.stripe_currencies import FILE as STRIPE_CURRENCIES

LINKED = ("dbt_project.yml", "profiles.yml", "models", "macros", "tests")
"""What a project with another price book shares with PROJECT_ROOT."""


def project_of(home: Home) -> Path:
    """The dbt project that builds a home: PROJECT_ROOT, unless BILLHOUSE_SEEDS names another price book than the one in it.

    dbt reads seeds only from inside its project: <home>/.dbt/project-<hash of the folder> links to the models and the price book.
    """
    if SEEDS == PROJECT_ROOT / "seeds":
        return PROJECT_ROOT
    # Two processes may use different price books at the same time.
    project = home.path / ".dbt" / f"project-{hashlib.sha256(os.fsencode(SEEDS)).hexdigest()[:12]}"
    links = {
        **{name: PROJECT_ROOT / name for name in LINKED},
        **{f"seeds/{name}": PROJECT_ROOT / "seeds" / name for name in ("_seeds.yml", STRIPE_CURRENCIES)},
        **{f"seeds/{name}": SEEDS / name for name in FILES if (SEEDS / name).exists()},
    }
    (project / "seeds").mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in (project / "seeds").iterdir():
        if f"seeds/{path.name}" not in links and not path.name.startswith("."):
            path.unlink(missing_ok=True)
    for name, target in links.items():
        _link(project / name, target)
    return project


def _link(path: Path, target: Path) -> None:
    """Make a link, or replace it in one step: another command may be reading the project."""
    if path.is_symlink() and path.readlink() == target:
        return
    aside = path.with_name(f".{uuid4().hex}")
    aside.symlink_to(target)
    os.replace(aside, path)
