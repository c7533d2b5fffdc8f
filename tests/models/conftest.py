"""dbt's parse of the project, without a build."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.core.home import HOME_VARIABLE, PROJECT_ROOT

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest


@pytest.fixture(scope="session")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """As a build has it in memory."""
    from dbt.cli.main import dbtRunner  # dbt takes seconds to import
    from dbt.contracts.graph.manifest import Manifest

    folder = tmp_path_factory.mktemp("parse")
    places = ["--project-dir", PROJECT_ROOT, "--profiles-dir", PROJECT_ROOT, "--target-path", folder, "--log-path", folder]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(folder))
        outcome = dbtRunner().invoke(["parse", *map(str, places), "--quiet", "--no-write-json"])
    assert isinstance(outcome.result, Manifest), outcome.exception
    return outcome.result


@pytest.fixture(scope="session")
def manifest(parsed: Manifest) -> Mapping[str, Any]:
    """As dbt writes it to manifest.json."""
    content: dict[str, Any] = parsed.to_dict()
    return content
