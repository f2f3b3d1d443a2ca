"""The stage of the API tests: an application on a fresh record, clients with keys of all kinds, jobs in every state."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fastapi import FastAPI
from starlette.testclient import TestClient

from api.deps import Record
from api.main import create_app
from services.jobs import Artifact, Job, Reason
from services.lease import Lease
from services.settings import Settings

BASE = "http://127.0.0.1:8000"


def iris(**changes: Any) -> dict[str, Any]:
    """A small valid spec; `changes` replace its parts."""
    spec: dict[str, Any] = {
        "schema": "trainyard/v1",
        "name": "iris-mlp",
        "labels": ["course-2"],
        "task": "classification",
        "dataset": {"name": "iris"},
        "network": {
            "layers": [
                {"type": "dense", "units": 8, "activation": "relu"},
                {"type": "dense", "units": 3, "activation": "softmax"},
            ]
        },
        "training": {
            "loss": "sparse_categorical_crossentropy",
            "optimizer": {"type": "sgd", "learning_rate": 0.05},
            "batch_size": 16,
            "epochs": 2,
            "metrics": ["accuracy"],
        },
    }
    return spec | changes


def client_of(app: FastAPI, address: str = "127.0.0.1", **options: Any) -> TestClient:
    """A client at `address`, by default on this machine, that sees 500s as answers."""
    return TestClient(app, BASE, raise_server_exceptions=False, client=(address, 50000), **options)


@dataclass
class House:
    """A running application: its clients by key, its record, and which bells it rang."""

    app: FastAPI
    anonymous: TestClient
    rung: list[str]
    secrets: dict[str, str] = field(default_factory=dict)

    @property
    def record(self) -> Record:
        """What the routes see."""
        return self.app.state.record

    def key(
        self, name: str, *scopes: str, tenant: str | None = None, expires: datetime | None = None, **options: Any
    ) -> TestClient:
        """A client with a new key of these scopes."""
        key, secret = self.record.keys.create(name, scopes, expires, tenant=tenant)
        self.secrets[name] = secret
        self.secrets |= {f"{name}.id": key.id, f"{name}.tenant": key.tenant}
        return self.client(headers={"Authorization": f"Bearer {secret}"}, **options)

    def client(self, **options: Any) -> TestClient:
        """A client of the one event loop that serves, as all clients of a real server are."""
        client = client_of(self.app, **options)
        client.portal = self.anonymous.portal
        return client

    def queue(self, tenant: str, **changes: Any) -> str:
        """Queue a job straight into the record; returns its id."""
        return self.record.jobs.submit(tenant, iris(**changes), {"parameters": 67})[0].id

    def claim(self, job: str) -> Lease:
        """A worker takes the queued job, which must be the only one."""
        lease = Lease.claim(self.record.jobs.engine, "worker-1", {"cpu"})
        assert lease is not None
        assert lease.job.id == job
        return lease

    def finish(self, job: str, model: bytes = b"weights", name: str = "model.safetensors", **more: bytes) -> Job:
        """Claim, publish a model and `more` files (`clean_wav` is clean.wav), succeed."""
        lease = self.claim(job)
        store = self.record.artifacts
        files = {name: model} | {key.replace("_", "."): data for key, data in more.items()}
        artifacts: list[Artifact] = [
            store.publish(lease.job.tenant, job, lease.attempt, file, data) for file, data in files.items()
        ]
        metrics = [(step, "loss", 1.0 / step) for step in range(1, 11)]
        lease.succeed(Reason.COMPLETED, {"test": {"accuracy": 0.97}}, artifacts, metrics)
        return self.record.jobs.get(lease.job.tenant, job)


def open_house(settings: Settings) -> Iterator[House]:
    """Serve until the test is over."""
    rung: list[str] = []
    app = create_app(settings, ring=rung.extend)
    with client_of(app) as anonymous:
        yield House(app, anonymous, rung)
