"""Work that dbt repeats in every step of a build although its result does not change, done once.

dbt makes two contexts for each step, each with an object for each of 700 macros, searches five dictionaries for each of
them, compiles every template again in each build of a process, and makes parsers of dates for the columns of each query's result.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from pipeline.warehouse.dbt_events import without_debug_events
from pipeline.warehouse.replaced_members import replaced_members

_compiled: dict[str, Any] = {}
"""The code of each template by its text, of the builds of this process: it depends on nothing else."""


@contextmanager
def without_dbt_overhead() -> Iterator[None]:
    """Inside a block, dbt takes less time for each step; what it builds and logs is the same."""
    from dbt.context.macros import MacroNamespace, MacroNamespaceBuilder
    from dbt_common.clients import agate_helper
    from dbt_common.clients.jinja import MacroFuzzEnvironment

    dates: Any = vars(agate_helper)["agate"].data_types.date.parsedatetime
    compile_template = MacroFuzzEnvironment.compile

    def compile_once(self: Any, source: Any, name: Any = None, filename: Any = None, **options: Any) -> Any:
        if not isinstance(source, str) or name is not None or filename is not None or options:
            return compile_template(self, source, name, filename, **options)
        if source not in _compiled:
            _compiled[source] = compile_template(self, source)
        return _compiled[source]

    members: tuple[tuple[Any, str, Any], ...] = (
        (MacroNamespace, "__iter__", lambda namespace: iter(_macros(namespace))),
        (MacroNamespace, "__getitem__", lambda namespace, name: _macros(namespace)[name]),
        (MacroNamespaceBuilder, "add_macros", _add_macros),
        (MacroFuzzEnvironment, "compile", compile_once),
        # Constants of a locale. Each has 40 regular expressions; agate makes three for every table of a result.
        (dates, "Constants", cache(dates.Constants)),
    )
    with without_debug_events(), replaced_members(members):
        yield


def _add_macros(self: Any, macros: Iterable[Any], context: dict[str, Any]) -> None:
    """MacroNamespaceBuilder.add_macros: the objects of a package's macros, made without the constructors of three classes."""
    from dbt.clients.jinja import MacroGenerator
    from dbt.exceptions import DuplicateMacroNameError

    attributes = {"context": context, "node": self.node, "stack": self.thread_ctx}
    for macro in macros:
        generator = MacroGenerator.__new__(MacroGenerator)
        generator.__dict__ = {**attributes, "macro": macro}
        package, name = macro.package_name, macro.name
        is_internal = package in self.internal_package_names
        namespace = (self.internal_packages if is_internal else self.packages).setdefault(package, {})
        if name in namespace:
            raise DuplicateMacroNameError(macro, macro, package)
        namespace[name] = generator
        if not is_internal and package == self.search_package:
            self.locals[name] = generator
        elif not is_internal and package == self.root_package:
            self.globals[name] = generator


def _macros(namespace: Any) -> dict[str, Any]:
    """The members of a MacroNamespace by name: of several with one name, the first in its order of search."""
    found: dict[str, Any] | None = namespace.__dict__.get("_macros")
    if found is None:
        found = {}
        for members in reversed(list(namespace._search_order())):  # noqa: SLF001
            found.update(members)
        namespace._macros = found  # noqa: SLF001
    return found
