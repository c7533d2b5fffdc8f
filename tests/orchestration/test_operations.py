"""The commands of docs/operate/operations.md work, and the files in deploy/ are valid and safe."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from dagster._core.instance.ref import InstanceRef

from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.core.settings import Settings
from tests.support import billhouse

DEPLOY = PROJECT_ROOT / "deploy"
PAGE = (PROJECT_ROOT / "docs" / "operate" / "operations.md").read_text(encoding="utf-8")
METRICS = (PROJECT_ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")


def test_a_home_that_is_backed_up_restored_and_built_has_identical_reports(built_home: Home, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "billhouse").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pipeline.cli.app "$@"\n')
    (tools / "billhouse").chmod(0o755)
    commands = "".join(re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
    known = {"PATH": os.pathsep.join([str(tools), os.environ["PATH"]]), "PYTHONPATH": str(PROJECT_ROOT)}
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=tmp_path,
        env=os.environ | known | {"BILLHOUSE_HOME": str(built_home.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert digests(tmp_path / "restored" / "marts") == digests(built_home.marts)
    assert (tmp_path / "backup.tar").stat().st_mode & 0o077 == 0, "only the owner can read the backup"


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_configuration_of_a_server_installation_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", "postgresql://dagster@127.0.0.1/dagster")
    instance = InstanceRef.from_dir(str(DEPLOY))
    assert instance.storage_data is not None
    assert instance.storage_data.class_name == "DagsterPostgresStorage"
    assert dict(instance.settings)["concurrency"] == {"pools": {"granularity": "run", "default_limit": 1}}


def test_the_configuration_of_the_local_ui_loads(tmp_path: Path) -> None:
    from orchestration.ui.serve import prepare_instance

    folder = prepare_instance(Home.open(tmp_path / "it's a home"))
    instance = InstanceRef.from_dir(str(folder))
    assert instance.event_storage_data is not None
    assert instance.event_storage_data.class_name == "PooledSqliteEventLogStorage"
    assert dict(instance.settings)["concurrency"] == {"pools": {"granularity": "run", "default_limit": 1}}


def test_the_compose_file_exposes_only_the_proxy_and_contains_no_secret() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert set(services) == {"code", "daemon", "web", "receive", "consume", "proxy", "postgres"}
    assert [name for name, service in services.items() if "ports" in service] == ["proxy"]
    with_home = [name for name, service in services.items() if "home:/var/lib/billhouse" in service.get("volumes", [])]
    assert with_home == ["code", "receive", "consume"]
    assert [name for name, service in services.items() if "STRIPE_API_KEY" in service["environment"]] == ["code"]
    for service in services.values():
        secrets = {name: value for name, value in service["environment"].items() if "KEY" in name or "PASSWORD" in name}
        assert [name for name, value in secrets.items() if not value.startswith("${")] == []
    workspace = yaml.safe_load((DEPLOY / "workspace.yaml").read_text(encoding="utf-8"))
    assert [it["grpc_server"]["host"] for it in workspace["load_from"]] == ["code"]


def test_the_monitoring_beside_it_only_reads_the_home_and_opens_a_port_on_this_machine_only() -> None:
    services = yaml.safe_load((DEPLOY / "compose.monitoring.yaml").read_text(encoding="utf-8"))["services"]
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []
    folders = {name: [volume for volume in service.get("volumes", []) if "home:" in volume] for name, service in services.items()}
    assert folders["node-exporter"] == ["home:/var/lib/billhouse:ro"]
    assert (folders["prometheus"], folders["grafana"]) == ([], [])
    files = [volume.split(":")[0] for service in services.values() for volume in service.get("volumes", []) if volume[0] == "."]
    assert [path for path in files if not (DEPLOY / path).exists()] == []
    assert services["grafana"]["environment"]["GF_SECURITY_ADMIN_PASSWORD"].startswith("${GRAFANA_PASSWORD:?")
    targets = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    hosts = {host.split(":")[0] for job in targets for host in job["static_configs"][0]["targets"]}
    assert hosts == {"node-exporter", "receive"}


def test_every_setting_is_passed_to_the_runs_and_no_secret_is_copied_to_the_image() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]
    settings = {f"BILLHOUSE_{name.upper()}" for name in Settings.model_fields}
    receiving = {name for name in settings if name.startswith("BILLHOUSE_RECEIVE_")}
    assert settings - receiving - {"BILLHOUSE_UI_HOSTS"} <= set(services["code"]["environment"])
    assert "BILLHOUSE_UI_HOSTS" in services["web"]["environment"]
    assert set(services["receive"]["environment"]) == receiving
    for name in (".gitignore", ".dockerignore"):
        ignored = (PROJECT_ROOT / name).read_text(encoding="utf-8").split()
        assert {".env", "**/.env"} & set(ignored), name
        assert {"var/", "var*"} & set(ignored), name


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this machine")
@pytest.mark.parametrize("unit", sorted(DEPLOY.glob("*.service")), ids=lambda unit: unit.stem)
def test_the_systemd_units_are_valid(unit: Path, tmp_path: Path) -> None:
    copy = tmp_path / unit.name
    copy.write_text(re.sub(r"/opt/billhouse/.venv/bin/[\w-]+", shutil.which("true") or "", unit.read_text(encoding="utf-8")))
    verified = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False)
    assert [line for line in verified.stderr.splitlines() if unit.name in line] == []


def test_every_metric_is_documented(tmp_path: Path) -> None:
    printed = billhouse(tmp_path, "health").stdout
    source = (PROJECT_ROOT / "pipeline" / "monitoring" / "health.py").read_text(encoding="utf-8")
    metrics = set(re.findall(r"billhouse_\w+", source)) | set(re.findall(r"^# HELP (\w+)", printed, re.MULTILINE))
    assert metrics == set(re.findall(r"^\| `(billhouse_\w+)`", METRICS.split("## Of billhouse receive")[0], re.MULTILINE))
