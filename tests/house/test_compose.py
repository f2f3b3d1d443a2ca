"""The production stack as described in docker-compose.yml and Dockerfile: valid, hardened, closed by default."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
OURS = {"api": "api", "migrate": "api", "worker-cpu": "worker-cpu", "worker-gpu": "worker-cuda"}


def test_it_passes_the_schema_of_the_compose_specification() -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    answer = subprocess.run([*check, str(ROOT / "docker-compose.yml")], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_there_are_redis_postgres_api_and_workers() -> None:
    assert set(SERVICES) == {"redis", "postgres", *OURS}


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_non_root_read_only_and_without_capabilities(name: str) -> None:
    service = SERVICES[name]
    uid = str(service["user"]).partition(":")[0]
    assert uid.isdigit()
    assert int(uid) > 0
    assert service["read_only"] is True
    assert service["tmpfs"]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert "privileged" not in service


def test_only_the_api_is_published_and_on_loopback_alone() -> None:
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(ports) == {"api"}
    assert all(port.startswith("127.0.0.1:") for port in ports["api"])
    assert COMPOSE["networks"]["inside"]["internal"] is True


@pytest.mark.parametrize("name", ["redis", "postgres", "api"])
def test_what_others_wait_for_has_a_health_check(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"]


def test_nothing_of_ours_starts_before_the_database_is_migrated() -> None:
    for name in set(OURS) - {"migrate"}:
        assert SERVICES[name]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    assert SERVICES["migrate"]["depends_on"]["postgres"]["condition"] == "service_healthy"
    assert SERVICES["migrate"]["restart"] == "no"


def test_gpu_workers_are_a_profile_that_reserves_a_gpu() -> None:
    worker = SERVICES["worker-gpu"]
    assert worker["profiles"] == ["gpu"]
    (device,) = worker["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert not any("profiles" in SERVICES[name] for name in set(SERVICES) - {"worker-gpu"})


def test_a_worker_has_time_to_hand_its_job_back() -> None:
    from workers.main import DRAIN_SECONDS

    for name in ("worker-cpu", "worker-gpu"):
        assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > DRAIN_SECONDS


def test_no_secret_has_a_default() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    for variable in re.findall(r"\$\{(\w*PASSWORD)(\W)", text):
        assert variable[1] == ":", variable
    assert re.findall(r"\$\{\w*PASSWORD:-", text) == []
    example = (ROOT / ".env.example").read_text()
    assert re.findall(r"^\w*PASSWORD=(.*)$", example, re.M) == ["", ""]


@pytest.mark.parametrize(("name", "target"), OURS.items())
def test_every_image_is_a_target_of_the_dockerfile_that_ends_non_root(name: str, target: str) -> None:
    assert SERVICES[name]["build"]["target"] == target
    stage = DOCKERFILE.partition(f" AS {target}\n")[2].partition("\nFROM ")[0]
    assert re.search(r"^USER 10001:10001$", stage, re.M)
    assert "CMD [" in stage


def test_images_install_from_the_hash_locks() -> None:
    installs = re.findall(r"uv pip install .*", DOCKERFILE)
    assert len(installs) == 3
    assert all("--require-hashes -r requirements" in line or "--no-deps -e ." in line for line in installs)


def test_the_build_context_holds_nothing_private() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines[0] == "*"
    assert not any(line.startswith("!.") for line in lines)
