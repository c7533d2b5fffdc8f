"""The private API of libraries that docs/internals/private-api.md lists exists and works as assumed."""

from __future__ import annotations

import ast
import inspect
import re
import tomllib
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.warehouse.build import prepare_build
from tests.support import dbt

PAGE = PROJECT_ROOT / "docs" / "internals" / "private-api.md"
LOOK_UP = "See docs/internals/private-api.md for its use and its replacement."


def test_every_private_import_is_listed() -> None:
    text = PAGE.read_text(encoding="utf-8")
    folders = ("pipeline", "orchestration", "benchmarks", "tests", "deploy")
    files = [file for folder in folders for file in (PROJECT_ROOT / folder).rglob("*.py")]
    missing = [
        f"{file.relative_to(PROJECT_ROOT)} imports {module}"
        for file in files
        for module in _private_imports(file)
        if module not in text
    ]
    assert missing == [], "List it in docs/internals/private-api.md, or use public API."


def _private_imports(file: Path) -> list[str]:
    modules = [
        name
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else []
        )
    ]
    own = ("pipeline", "orchestration", "tests", "benchmarks", "__future__")
    return [name for name in modules if re.search(r"(^|\.)_(?!_)", name) and name.partition(".")[0] not in own]


@pytest.mark.parametrize("package", ["dagster", "dagster-webserver", "dbt-core", "dbt-duckdb", "stripe"])
def test_libraries_with_private_api_in_use_are_pinned(package: str) -> None:
    dependencies = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    assert any(dependency.startswith(f"{package}==") for dependency in dependencies), f"{package} needs an exact version."


def test_dagsters_sqlite_event_log_uses_our_connections(tmp_path: Path) -> None:
    from orchestration.ui.event_storage import PooledSqliteEventLogStorage

    storage = PooledSqliteEventLogStorage(str(tmp_path))
    for open_connection, shard in ((storage.index_connection, "index"), (lambda: storage.run_connection("run"), "run")):
        for _ in range(2):
            with open_connection() as connection:
                connection.exec_driver_sql("select 1")
        assert shard in storage._engines, f"SqliteEventLogStorage no longer opens {shard} by _connect. {LOOK_UP}"
        assert shard in storage._initialized_dbs, f"SqliteEventLogStorage no longer tracks its databases. {LOOK_UP}"
    storage.dispose()
    assert not storage._engines


def test_the_pools_of_the_local_instance_have_one_slot(tmp_path: Path) -> None:
    from dagster import DagsterInstance

    from orchestration.ui.serve import prepare_instance

    with DagsterInstance.from_config(str(prepare_instance(Home.open(tmp_path / "home")))) as instance:
        limits = {pool.name: pool.limit for pool in instance.event_log_storage.get_pool_limits()}
    assert limits == {"warehouse": 1, "alerts": 1}, f"set_concurrency_slots no longer sets the limit of a pool. {LOOK_UP}"


def test_dagsters_web_server_builds_our_middleware() -> None:
    from dagster_webserver import app
    from dagster_webserver.webserver import DagsterWebserver

    builder: Any = app.create_app_from_workspace_process_context
    assert builder.__globals__.get("DagsterWebserver") is DagsterWebserver, (
        f"dagster_webserver.app no longer creates DagsterWebserver: the request guard would not be installed. {LOOK_UP}"
    )
    assert "self.build_middleware()" in inspect.getsource(DagsterWebserver.create_asgi_app), (
        f"DagsterWebserver no longer calls build_middleware: the request guard would not be installed. {LOOK_UP}"
    )


@pytest.mark.parametrize("script", ["dagster-daemon", "dagster-webserver"])
def test_dagsters_console_scripts_can_be_loaded(script: str) -> None:
    from importlib.metadata import entry_points

    (found,) = entry_points(group="console_scripts", name=script)
    assert callable(found.load())


def test_dbt_duckdbs_connection_can_be_closed() -> None:
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager
    from dbt.adapters.duckdb.environments import Environment

    assert hasattr(DuckDBConnectionManager, "_ENV"), f"DuckDBConnectionManager has no _ENV. {LOOK_UP}"
    assert callable(DuckDBConnectionManager.close_all_connections), LOOK_UP
    assert callable(Environment.close), f"dbt-duckdb's Environment has no close(). {LOOK_UP}"


def test_a_build_drops_dbts_debug_events_and_nothing_else() -> None:
    from dbt.adapters.events.types import ConnectionLeftOpen
    from dbt_common.events.base_types import EventLevel
    from dbt_common.events.event_manager_client import get_event_manager
    from dbt_common.events.functions import fire_event
    from dbt_common.events.types import Note

    from pipeline.warehouse.dbt_events import without_debug_events

    before = get_event_manager()
    found: list[Any] = []
    with without_debug_events():
        get_event_manager().add_callback(found.append)
        fire_event(Note(msg="for debugging"), level=EventLevel.DEBUG)
        fire_event(Note(msg="for people"), level=EventLevel.INFO)
        dropped = ConnectionLeftOpen(conn_name="one")
        assert "pb_msg" not in vars(dropped), LOOK_UP
        fire_event(dropped, level=EventLevel.INFO)
    assert get_event_manager() is before, LOOK_UP
    assert [event.info.msg for event in found] == ["for people", ConnectionLeftOpen(conn_name="one").message()]


def test_dbts_macros_and_templates_are_the_same_inside_a_build() -> None:
    from dbt.context.macros import MacroNamespace
    from dbt_common.clients.jinja import MacroFuzzEnvironment, get_environment

    from pipeline.warehouse.dbt_overhead import without_dbt_overhead

    own, root, of_dbt = {"a": "own", "b": "own"}, {"b": "root", "c": "root"}, {"c": "dbt", "d": "dbt", "project": "dbt"}
    packages: Any = {"project": {**own, **root}}
    arguments: tuple[Any, ...] = (root, own, of_dbt, packages)
    expected = dict(MacroNamespace(*arguments))
    before = MacroNamespace.__getitem__, MacroNamespace.__iter__
    with without_dbt_overhead():
        inside = MacroNamespace(*arguments)
        assert MacroNamespace.__getitem__ is not before[0], LOOK_UP
        assert (dict(inside), len(inside), inside.get("e")) == (expected, len(expected), None), LOOK_UP
        rendered = [get_environment().from_string("{{ value }}").render({"value": value}) for value in ("1", "2")]
    assert rendered == ["1", "2"], LOOK_UP
    assert (MacroNamespace.__getitem__, MacroNamespace.__iter__) == before
    assert "compile" not in vars(MacroFuzzEnvironment), LOOK_UP


def test_the_objects_of_dbts_macros_are_the_same_inside_a_build() -> None:
    from dbt.clients.jinja import MacroStack
    from dbt.context.macros import MacroNamespaceBuilder
    from dbt.exceptions import DuplicateMacroNameError

    from pipeline.warehouse.dbt_overhead import without_dbt_overhead

    packages = ("ours", "theirs", "dbt", "dbt_duckdb")
    macros: Any = {}
    for package in packages:
        of_package = {"package_name": package, "original_file_path": "macros.sql"}
        macros[package] = {name: SimpleNamespace(name=name, unique_id=name, **of_package) for name in (package, "shared")}
    stack: Any = MacroStack()  # type: ignore[no-untyped-call]
    node, context = object(), {"a": 1}

    def members(package: str) -> dict[str, dict[str, Any]]:
        builder = MacroNamespaceBuilder("ours", package, stack, ["dbt_duckdb", "dbt"], node)
        found = builder.build_namespace(macros, context)
        places = {"own": found.local_namespace, "root": found.global_namespace, "dbt": found.global_project_namespace}
        return {place: {name: vars(made) for name, made in its.items()} for place, its in (places | found.packages).items()}

    expected = {package: members(package) for package in packages}
    with without_dbt_overhead():
        assert {package: members(package) for package in packages} == expected, LOOK_UP
        macros["ours"]["again"] = macros["ours"]["shared"]
        with pytest.raises(DuplicateMacroNameError):
            members("ours")


def test_a_steps_second_context_is_the_same_inside_a_build(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The contexts of a model: one to compile it, one to run it. Macros read the variables and the node of their context."""
    from dbt.clients.jinja import MacroGenerator
    from dbt.context.manifest import ManifestContext
    from dbt.context.providers import ModelContext

    found: list[tuple[set[str], int]] = []

    def to_dict(self: Any) -> dict[str, Any]:
        context_class: Any = ManifestContext
        variables: dict[str, Any] = context_class.to_dict(self)
        macros = [value for value in variables.values() if isinstance(value, MacroGenerator)]
        if self.model.name == "stg_build_inputs":
            for macro in macros:
                assert macro.context is variables and macro.node is self.model and macro.stack is self.macro_stack, LOOK_UP
            assert variables["context"] is variables and variables["context_macro_stack"] is self.macro_stack, LOOK_UP
            assert variables["model"].get("compiled_code") == self.model.compiled_code, LOOK_UP
            assert variables["_sql_results"] is self.sql_results, LOOK_UP
            assert variables["source"] in macros, "our macro comes before dbt's function of its name. " + LOOK_UP
            found.append((set(variables), len(macros)))
        return variables

    def contexts_of_a_run() -> list[tuple[set[str], int]]:
        found.clear()
        assert dbt(home, "run", "--select", "stg_build_inputs") == [("stg_build_inputs", "success")]
        return list(found)

    prepare_build(home, datetime(2026, 9, 20, tzinfo=UTC))
    monkeypatch.setattr(ModelContext, "to_dict", to_dict)
    inside = contexts_of_a_run()
    monkeypatch.setattr("tests.support.without_dbt_overhead", nullcontext)
    expected = contexts_of_a_run()
    assert len(expected) == 2, LOOK_UP
    assert inside == expected, LOOK_UP


def test_what_a_macro_writes_into_the_graph_is_in_the_graph_of_every_step() -> None:
    from dbt.context.providers import ProviderContext

    contexts: list[Any] = [ProviderContext.__new__(ProviderContext) for _ in range(2)]
    contexts[0].manifest = contexts[1].manifest = SimpleNamespace(flat_graph={"nodes": {}})
    contexts[0].graph.update({"is_full_rating": True})
    assert contexts[1].graph == {"nodes": {}, "is_full_rating": True}, LOOK_UP


def test_templates_of_an_earlier_process_are_not_compiled_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dbt_common.clients.jinja import MacroFuzzEnvironment, get_environment

    from pipeline.warehouse import dbt_overhead

    compiled: list[str] = []
    compile_template: Any = MacroFuzzEnvironment.compile

    def record(self: Any, source: str, *arguments: Any) -> Any:
        compiled.append(source)
        return compile_template(self, source, *arguments)

    def rendered_in_a_new_process(value: str) -> str:
        compiled.clear()
        monkeypatch.setattr(dbt_overhead, "_compiled", {})
        monkeypatch.setattr(dbt_overhead, "_templates_in", {})
        with dbt_overhead.without_dbt_overhead(tmp_path):
            return str(get_environment().from_string("value: {{ value }}").render({"value": value}))

    monkeypatch.setattr(MacroFuzzEnvironment, "compile", record)
    assert (rendered_in_a_new_process("1"), len(compiled)) == ("value: 1", 1)
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert (rendered_in_a_new_process("2"), compiled) == ("value: 2", []), LOOK_UP
    file.write_bytes(file.read_bytes()[:-1])
    assert (rendered_in_a_new_process("3"), len(compiled)) == ("value: 3", 1), "an incomplete file is not used"
    monkeypatch.setattr(dbt_overhead, "_FORMAT", "of another version")
    assert (rendered_in_a_new_process("4"), len(compiled)) == ("value: 4", 1), "code that is stored in another form is not read"
    assert len(list(tmp_path.iterdir())) == 2


def test_an_error_in_a_template_is_the_error_that_is_raised(tmp_path: Path) -> None:
    from dbt_common.clients.jinja import get_environment
    from jinja2 import TemplateSyntaxError

    from pipeline.warehouse.dbt_overhead import without_dbt_overhead

    with pytest.raises(TemplateSyntaxError), without_dbt_overhead(tmp_path):
        get_environment().from_string("{% wrong %}")


def test_a_template_of_a_text_and_one_of_a_value_have_code_of_their_own(tmp_path: Path) -> None:
    from dbt_common.clients.jinja import get_environment

    from pipeline.warehouse.dbt_overhead import without_dbt_overhead

    with without_dbt_overhead(tmp_path):
        values = [get_environment(native=native).from_string("{{ x }}").render({"x": [1, 2]}) for native in (True, False)]
    assert list(map(str, values)) == ["[1, 2]", "[1, 2]"]


def test_tables_of_results_are_the_same_inside_a_build() -> None:
    import datetime

    from dbt_common.clients import agate_helper

    from pipeline.warehouse.dbt_overhead import without_dbt_overhead

    rows: Any = [{"day": "2026-09-01", "at": datetime.datetime(2026, 9, 1, 10), "n": 1, "text": "may"}]

    def table() -> list[Any]:
        made = agate_helper.table_from_data_flat(rows, ["day", "at", "n", "text"])
        return [[type(column.data_type).__name__ for column in made.columns], [list(row) for row in made.rows]]

    dates: Any = vars(agate_helper)["agate"].data_types.date.parsedatetime
    expected, before = table(), dates.Constants
    with without_dbt_overhead():
        assert dates.Constants("en_US") is dates.Constants("en_US"), LOOK_UP
        assert table() == expected, LOOK_UP
    assert dates.Constants is before


def test_dbts_progress_events_have_index_total_and_description() -> None:
    from dbt.events.types import LogStartLine

    event: Any = LogStartLine(index=1, total=2, description="sql table model billing.invoices")
    assert (event.index, event.total, event.description.rsplit(".", 1)[-1]) == (1, 2, "invoices"), (
        f"LogStartLine has changed: a build would show no progress. {LOOK_UP}"
    )


def test_dbt_spark_keeps_ansi_mode_on_inside_a_build() -> None:
    connections = pytest.importorskip("dbt.adapters.spark.connections", reason="dbt-spark is not installed: make setup-spark")
    from pipeline.warehouse import spark

    def ansi_mode() -> str:
        credentials = connections.SparkCredentials(method="session", host="none", schema="billing")
        return str(credentials.server_side_parameters["spark.sql.ansi.enabled"]).lower()

    assert ansi_mode() == "false", "dbt-spark leaves ANSI mode on: remove the wrapper in pipeline/warehouse/spark.py."
    with spark._exact_decimals():
        assert ansi_mode() == "true", f"SparkCredentials.__post_init__ no longer sets the parameters. {LOOK_UP}"


def test_stripes_client_sends_requests_through_one_method() -> None:
    import stripe

    client: Any = stripe.StripeClient("sk_test_x")
    assert callable(client._requestor.request), f"StripeClient has no _requestor.request. {LOOK_UP}"
    assert client.v1.customers._requestor is client._requestor, f"Services do not share _requestor. {LOOK_UP}"
