"""dbt's Jinja templates in a build: the names of macros are looked up, and each template is compiled, once.

dbt makes two contexts for each step, with all 700 macros, and searches five dictionaries for each of them; and it compiles every
template again in each build of a process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_compiled: dict[str, Any] = {}
"""The code of each template by its text, of the builds of this process: it depends on nothing else."""


@contextmanager
def fast_templates() -> Iterator[None]:
    """Inside a block, dbt's contexts and templates take less time; what they give is the same."""
    from dbt.context.macros import MacroNamespace
    from dbt_common.clients.jinja import MacroFuzzEnvironment

    compile_template = MacroFuzzEnvironment.compile

    def compile_once(self: Any, source: Any, name: Any = None, filename: Any = None, **options: Any) -> Any:
        if not isinstance(source, str) or name is not None or filename is not None or options:
            return compile_template(self, source, name, filename, **options)
        if source not in _compiled:
            _compiled[source] = compile_template(self, source)
        return _compiled[source]

    replaced: tuple[tuple[type, str, Any], ...] = (
        (MacroNamespace, "__iter__", lambda namespace: iter(_macros(namespace))),
        (MacroNamespace, "__getitem__", lambda namespace, name: _macros(namespace)[name]),
        (MacroFuzzEnvironment, "compile", compile_once),
    )
    before = [(owner, name, vars(owner).get(name)) for owner, name, _ in replaced]
    for owner, name, function in replaced:
        setattr(owner, name, function)
    try:
        yield
    finally:
        for owner, name, function in before:
            if function is None:
                delattr(owner, name)  # it was inherited
            else:
                setattr(owner, name, function)


def _macros(namespace: Any) -> dict[str, Any]:
    """The members of a MacroNamespace by name: of several with one name, the first in its order of search."""
    found: dict[str, Any] | None = namespace.__dict__.get("_macros")
    if found is None:
        found = {}
        for members in reversed(list(namespace._search_order())):  # noqa: SLF001
            found.update(members)
        namespace._macros = found  # noqa: SLF001
    return found
