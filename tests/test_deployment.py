"""What is deployed agrees with what is coded: settings, commands and metrics exist under the names used."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.cli.main import app
from app.settings import Settings
from app.telemetry import Metrics

ROOT = Path(__file__).resolve().parent.parent
METRIC = re.compile(r"\bgoodput_[a-z_]+")


def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "compose.yaml").read_text())


def exposed() -> set[str]:
    """Every sample name that ``/metrics`` can show."""
    names: set[str] = set()
    for family in Metrics().registry.collect():
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}[family.type]
        names |= {f"{family.name}{suffix}" for suffix in suffixes}
    return names


@pytest.mark.parametrize("name", ["market-dashboard.json", "alerts.yml"])
def test_every_metric_that_is_graphed_or_watched_exists(name: str) -> None:
    used = set(METRIC.findall((ROOT / "deploy" / name).read_text()))
    assert used
    assert used <= exposed()


def test_the_dashboard_is_whole() -> None:
    dashboard = json.loads((ROOT / "deploy" / "market-dashboard.json").read_text())
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    assert all(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])


def test_every_service_names_settings_that_exist() -> None:
    known = {f"GOODPUT_{name.upper()}" for name in Settings.model_fields}
    for service in compose()["services"].values():
        named = {name for name in service.get("environment", {}) if name.startswith("GOODPUT_")}
        assert named <= known


def test_every_service_of_ours_runs_a_command_that_exists() -> None:
    commands = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    ours = [service for service in compose()["services"].values() if service.get("image") == "goodput:local"]
    assert len(ours) >= 5
    assert {service["command"][0] for service in ours} <= commands


def test_no_secret_has_a_default() -> None:
    text = (ROOT / "compose.yaml").read_text()
    for variable in ("POSTGRES_PASSWORD", "GOODPUT_SECRET_KEY", "GRAFANA_PASSWORD"):
        assert set(re.findall(rf"\$\{{{variable}(.)", text)) == {":"}
        assert not re.findall(rf"\$\{{{variable}:-", text)


def test_the_image_does_not_run_as_root() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    last_stage = lines[max(number for number, line in enumerate(lines) if line.startswith("FROM")) :]
    assert "USER goodput" in last_stage


def has_compose() -> bool:
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(not has_compose(), reason="no docker client with the compose plugin on this machine")
def test_docker_compose_reads_the_file() -> None:
    secrets = {"POSTGRES_PASSWORD": "x", "GOODPUT_SECRET_KEY": "x", "GRAFANA_PASSWORD": "x"}
    command = ["docker", "compose", "--profile", "observability", "config", "--quiet"]
    env = {**os.environ, **secrets}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
