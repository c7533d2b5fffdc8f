"""Work that dbt repeats in every step of a build although its result does not change, done once.

dbt makes two contexts for each step, each with an object for each of 700 macros, searches five dictionaries for each of
them, compiles every template again in each build, and makes parsers of dates for the columns of each query's result.
"""

from __future__ import annotations

import hashlib
import marshal
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.warehouse.dbt_events import without_debug_events
from pipeline.warehouse.replaced_members import replaced_members
from pipeline.warehouse.user_cache import package_versions, read_cached, write_cached

_FORMAT = "2"
"""Part of the name of a file of stored code; another value where this module stores other keys or values."""
_Template = tuple[str, str]
"""A template: the class that generates its code (dbt has one for texts and one for values), and its text."""
_compiled: dict[_Template, Any] = {}
"""The code of each template, of the builds of this process: it depends on nothing else."""
_templates_in: dict[Path, frozenset[_Template]] = {}
"""The templates in each file of stored code, as this process last read or wrote it."""
_MANY_TEMPLATES = 2_000
"""A file of more is replaced by the templates of one build, some 300: others may be of former versions of the models."""


@contextmanager
def without_dbt_overhead(folder: Path | None = None) -> Iterator[None]:
    """Inside a block, dbt takes less time for each step; what it builds and logs is the same.

    `folder`: where the code of the templates is stored for the next process. It must be private to the user: the code is run.
    """
    from dbt.context.configured import ConfiguredContext
    from dbt.context.macros import MacroNamespace, MacroNamespaceBuilder
    from dbt.context.manifest import ManifestContext
    from dbt.context.providers import ModelContext
    from dbt_common.clients import agate_helper
    from dbt_common.clients.jinja import MacroFuzzEnvironment

    dates: Any = vars(agate_helper)["agate"].data_types.date.parsedatetime
    compile_template = MacroFuzzEnvironment.compile
    used: set[_Template] = set()
    file = None if folder is None else folder / f"{_version_of_code()}.templates"
    stored = frozenset[_Template]() if file is None else _stored_templates(file)
    make_macros = ManifestContext._build_namespace  # noqa: SLF001
    to_dictionary: Any = ManifestContext.to_dict
    of_thread = threading.local()

    def compile_once(self: Any, source: Any, name: Any = None, filename: Any = None, **options: Any) -> Any:
        if not isinstance(source, str) or name is not None or filename is not None or options:
            return compile_template(self, source, name, filename, **options)
        template = (self.code_generator_class.__qualname__, source)
        if template not in _compiled:
            _compiled[template] = compile_template(self, source)
        used.add(template)
        return _compiled[template]

    def macros_of_context(self: Any) -> Any:
        """A step compiles its node and then runs it: the second context gets the macros of the first, and its variables."""
        first = getattr(of_thread, "context", None)
        if type(self) is not ModelContext:
            return make_macros(self)
        if first is not None and first.model is self.model:
            of_thread.context = None
            self._ctx, self.macro_stack = first._ctx, first.macro_stack  # noqa: SLF001
            return first.namespace
        of_thread.context = self
        return make_macros(self)

    def variables(self: Any) -> Any:
        if not isinstance(self.namespace, MacroNamespace):
            return to_dictionary(self)
        found = ConfiguredContext.to_dict(self)
        found.update(_macros(self.namespace))
        return found

    members: tuple[tuple[Any, str, Any], ...] = (
        (ManifestContext, "_build_namespace", macros_of_context),
        (ManifestContext, "to_dict", variables),
        (MacroNamespace, "__iter__", lambda namespace: iter(_macros(namespace))),
        (MacroNamespace, "__getitem__", lambda namespace, name: _macros(namespace)[name]),
        (MacroNamespaceBuilder, "add_macros", _add_macros),
        (MacroFuzzEnvironment, "compile", compile_once),
        # Constants of a locale. Each has 40 regular expressions; agate makes three for every table of a result.
        (dates, "Constants", cache(dates.Constants)),
    )
    try:
        with without_debug_events(), replaced_members(members):
            yield
    finally:
        found = used.copy()  # after an interrupt, threads may still run
        if file is not None and not found <= stored:
            with suppress(OSError):  # the next process compiles them again
                _store_templates(file, found | stored if len(stored) < _MANY_TEMPLATES else found)


def _version_of_code() -> str:
    """SHA-256 over all that the code of a template depends on besides the template, and the form in which it is stored."""
    return hashlib.sha256("\0".join((_FORMAT, sys.version, *package_versions(("Jinja2", "dbt-common")))).encode()).hexdigest()


def _stored_templates(file: Path) -> frozenset[_Template]:
    """The templates in a file. Their code is read from it once in a process."""
    if file not in _templates_in:
        contents = read_cached(file)
        found: dict[_Template, Any] = {} if contents is None else marshal.loads(contents)  # noqa: S302 - only the user can write there
        _compiled.update(found)
        _templates_in[file] = frozenset(found)
    return _templates_in[file]


def _store_templates(file: Path, templates: Iterable[_Template]) -> None:
    write_cached(file, marshal.dumps({template: _compiled[template] for template in sorted(templates)}))
    _templates_in[file] = frozenset(templates)


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
