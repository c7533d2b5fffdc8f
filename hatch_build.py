"""Puts the dbt project into the wheel, as `billhouse_project/`: models, macros, checks, profiles, price book and sources.

An editable install runs from the checkout, which has them.
"""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_DBT_PROJECT = ("dbt_project.yml", "profiles.yml", "models", "macros", "seeds", "sources", "tests/warehouse")


class DbtProject(BuildHookInterface):  # type: ignore[type-arg]
    """Hatchling's build hook."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "editable":
            build_data["force_include"] |= {f"{self.root}/{name}": f"billhouse_project/{name}" for name in _DBT_PROJECT}
