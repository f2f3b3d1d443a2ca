"""The reference page of job specs, written from the registries: `python -m services.reference` renews it, and with it
the pages of the families of networks and of the studies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from services import families, illness_page
from services.agents.spec import AgentTrainingSpec, EnvironmentSpec, ReinforcementSpec
from services.datasets.options import schema
from services.datasets.uploaded import KINDS
from services.job_spec import (
    BaselineSpec,
    DatasetSpec,
    EarlyStoppingSpec,
    JobSpec,
    ReliabilitySpec,
    ResourcesSpec,
    Section,
    SplitSpec,
    TrainingSpec,
)
from services.spec import catalog
from services.studies import pages

PAGE = Path("docs/job_spec.md")
_HEAD = """# What a job may say

YAML and JSON are one model. Unknown keys are refused. Names and arguments are Keras 3's, class names (`Conv2D`) are
accepted. Wherever a thing has a `type`, its bare name will do: `activation: relu` is `activation: {type: relu}`.
`GET /v1/schema/job` is the same as a JSON Schema, `POST /v1/jobs/validate` checks a job without running it.

This page is written from the code: `python3 run.py docs`.
"""
_SECTIONS: dict[str, type[Any]] = {
    "The job": JobSpec,
    "dataset": DatasetSpec,
    "dataset.split": SplitSpec,
    "training": TrainingSpec,
    "training.early_stopping": EarlyStoppingSpec,
    "baseline": BaselineSpec,
    "The job of an agent": ReinforcementSpec,
    "environment": EnvironmentSpec,
    "training of an agent": AgentTrainingSpec,
    "resources": ResourcesSpec,
    "reliability": ReliabilitySpec,
}
_UPLOADS = """## Data sets of your own: `dataset.upload`

`trainyard datasets add FILE`, or `PUT /v1/datasets/{name}`; then `upload: my-data` in place of `name: …`.
`GET /v1/datasets/{name}` says which options suit what was sent. The kinds, and the keys that a spec may have for them:
"""
_FAMILIES = {
    "layers": "Layers: `network.layers`",
    "activations": "Activations: `activation` of a layer, or a layer of their own",
    "losses": "Losses: `training.loss`",
    "optimizers": "Optimizers: `training.optimizer`",
    "learning_rate_schedules": "Schedules: `training.learning_rate_schedule`",
    "preprocessing": "Preprocessing: `dataset.preprocessing`",
    "noises": "Noise on the inputs of an auto-encoder: `dataset.noise`",
    "agents": "Agents: `agent`",
}


def job_spec_page() -> str:
    """The whole page."""
    found = catalog()
    names = {activation["type"] for activation in found["activations"]}
    found["layers"] = [layer for layer in found["layers"] if layer["type"] not in names]
    parts = [_HEAD, *map("\n".join, map(_section, _SECTIONS.items()))]
    parts += ["\n".join(_family(title, found[key])) for key, title in _FAMILIES.items()]
    parts += ["\n".join(_metrics(found["metrics"])), "\n".join(_datasets(found["datasets"]))]
    parts += ["\n".join(_uploads()), "\n".join(_environments(found["environments"]))]
    return "\n".join(parts)


def _section(named: tuple[str, type[Section]]) -> Iterator[str]:
    title, model = named
    yield from (f"## {title}", "", " ".join((model.__doc__ or "").split()), "", "| key | default |", "|---|---|")
    for name, field in model.model_fields.items():
        default = "required" if field.is_required() else f"`{_plain(field.get_default(call_default_factory=True))}`"
        yield f"| `{field.alias or name}` | {default} |"
    yield ""


def _plain(value: Any) -> str:
    if isinstance(value, Section):
        return "…"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_plain(v)}" for key, v in value.items())
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _family(title: str, members: list[dict[str, Any]]) -> Iterator[str]:
    yield from (f"## {title}", "")
    for member in members:
        keys = {k: v for k, v in member["schema"]["properties"].items() if k not in ("type", "name", "activation")}
        required = member["schema"].get("required", [])
        told = [f"`{k}`" if k in required else f"`{k}: {_plain(v.get('default'))}`" for k, v in keys.items()]
        yield from (f"### `{member['type']}`", "", *member["doc"].splitlines(), "")
        yield from ([f"Arguments: {', '.join(told)}.", ""] if told else [])


def _metrics(members: list[dict[str, Any]]) -> Iterator[str]:
    yield from ("## Metrics: `training.metrics`", "", "| name | also | formula | better |", "|---|---|---|---|")
    for member in members:
        also = ", ".join(f"`{alias}`" for alias in member["aliases"])
        yield f"| `{member['type']}` | {also} | {member['doc'].replace('|', chr(92) + '|')} | {member['better']} |"
    yield ""


def _datasets(cards: list[dict[str, Any]]) -> Iterator[str]:
    yield from (
        "## Data sets: `dataset.name`",
        "",
        "| name | what | rows to learn, to test | tasks |",
        "|---|---|---|---|",
    )
    for card in cards:
        rows = f"{card['rows']['train']:,}, {card['rows']['test']:,}"
        yield f"| `{card['name']}` | {card['title']} | {rows} | {', '.join(card['tasks'])} |"
    yield ""


def _uploads() -> Iterator[str]:
    yield _UPLOADS
    for name, kind in KINDS.items():
        keys = [f"`{key}: {_plain(of.get('default'))}`" for key, of in schema(kind.options_type)["properties"].items()]
        yield from (f"### `{name}`", "", kind.docs, "", " ".join((kind.options_type.__doc__ or "").split()), "")
        yield from (f"Keys: {', '.join(keys)}.", "")


def _environments(cards: list[dict[str, Any]]) -> Iterator[str]:
    yield from (
        "## Environments: `environment.name`",
        "",
        "| name | what | sees | may do | solved at |",
        "|---|---|---|---|---|",
    )
    for card in cards:
        numbers = card["choices"] and " + ".join(map(str, card["choices"]))
        seen = f"choice of {numbers}" if numbers else f"{len(card['observation'])} numbers"
        done = "" if card["reward_threshold"] is None else _plain(card["reward_threshold"])
        yield f"| `{card['name']}` | {card['title']}: {card['doc']} | {seen} | {', '.join(card['actions'])} | {done} |"
    yield ""


if __name__ == "__main__":
    PAGE.write_text(job_spec_page())
    illness_page.PAGE.write_text(illness_page.diagnostics_page())
    families.write()
    pages.write()
