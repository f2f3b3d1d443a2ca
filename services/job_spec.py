"""What a user may ask for: the job spec as strict models. Names and meanings are Keras 3's where Keras has them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeAlias

from annotated_types import Ge, Gt, Interval, Le, Lt
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    model_serializer,
    model_validator,
)

from kernels.registry import layers, losses, optimizers
from services.datasets import STEPS
from services.datasets.preprocessing import NAMES as STEP_NAMES
from services.members import STRICT, Family
from services.noise import NOISE_NAMES, NOISES, Noise
from services.schedules import NAMES as SCHEDULE_NAMES
from services.schedules import SCHEDULES

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([smhd])\s*$")


def _duration(value: Any) -> Any:
    """`90s`, `15m`, `2h`, `1d` → seconds; numbers are left for their own check."""
    if not isinstance(value, str):
        return value
    if found := _DURATION.match(value):
        return float(found[1]) * _SECONDS[found[2]]
    raise ValueError("a duration is seconds, or text such as 90s, 15m, 2h, 1d")


Duration = Annotated[
    float,
    BeforeValidator(_duration, json_schema_input_type=str | float),
    Field(description="Seconds, or text such as 90s, 15m, 2h, 1d."),
]
LayerName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,62}$")]
Label = Annotated[str, StringConstraints(min_length=1, max_length=64)]

ACTIVATIONS = Family(
    "activation",
    {name: cls for name, cls in layers.members.items() if cls.is_activation},
    {name: kind for name, kind in layers.names.items() if layers.members[kind].is_activation},
)
OPTIMIZERS = Family("optimizer", optimizers.members, optimizers.names)
LOSSES = Family(
    "loss",
    {name: cls for name, cls in losses.members.items() if cls.target != "actions"},
    {name: kind for name, kind in losses.names.items() if losses.members[kind].target != "actions"},
)
SCHEDULE_FAMILY = Family("learning rate schedule", SCHEDULES, SCHEDULE_NAMES)
PREPROCESSING = Family("preprocessing step", STEPS, STEP_NAMES)
NOISE_FAMILY = Family("noise", NOISES, NOISE_NAMES)

if TYPE_CHECKING:
    Activation: TypeAlias = Any
    Optimizer: TypeAlias = Any
    Loss: TypeAlias = Any
    Schedule: TypeAlias = Any
    Preprocessing: TypeAlias = Any
    AnyNoise: TypeAlias = Any
    Layer: TypeAlias = Any
else:
    Activation = ACTIVATIONS.annotation()
    Optimizer = OPTIMIZERS.annotation()
    Loss = LOSSES.annotation()
    Schedule = SCHEDULE_FAMILY.annotation()
    Preprocessing = PREPROCESSING.annotation()
    AnyNoise = NOISE_FAMILY.annotation()


def _layer_extras(cls: type[Any]) -> dict[str, Any]:
    sources = Annotated[list[LayerName], Field(min_length=1, max_length=64)]
    extras: dict[str, Any] = {"name": (LayerName | None, None), "inputs": (sources | None, None)}
    if cls.takes_activation:
        extras["activation"] = (Activation | None, None)
    return extras


LAYERS = Family("layer", layers.members, layers.names, _layer_extras)
if not TYPE_CHECKING:
    Layer = LAYERS.annotation()


class Section(BaseModel):
    """A part of the spec: unknown keys are refused, values never change after validation."""

    model_config = STRICT


class SplitSpec(Section):
    """How rows are dealt to train, validation and (for a data set without its own) test part."""

    train: Annotated[float, Gt(0), Le(1)] = 0.9
    validation: Annotated[float, Ge(0), Lt(1)] = 0.1
    test: Annotated[float, Gt(0), Lt(1)] | None = None
    stratify: bool = True
    seed: Annotated[int, Ge(0), Lt(2**32)] = 1


_ONE_OF = ("name", "upload", "sha256")


class DatasetSpec(Section):
    """Which data, how it is split, and what is done to it before the network sees it.

    `noise` is for auto-encoders: it goes over the inputs of every part, in training anew in each epoch, and the targets
    stay clean.
    Beside these keys a data set may have options of its own, such as the `window` of a series.
    """

    model_config = ConfigDict(
        **{**STRICT, "extra": "allow"}, json_schema_extra={"oneOf": [{"required": ["name"]}, {"required": ["upload"]}]}
    )

    name: Annotated[str, StringConstraints(min_length=1, max_length=128)] | None = Field(
        default=None, description="A built-in data set; exactly one of name and upload is given."
    )
    upload: Annotated[str, StringConstraints(min_length=1, max_length=128)] | None = Field(
        default=None, description="An upload of your own, by id (ds_…) or name."
    )
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = Field(
        default=None, description="What the upload's content must be; a posted job has it filled in."
    )
    split: SplitSpec = SplitSpec()
    train_fraction: Annotated[float, Gt(0), Le(1)] = 1.0
    preprocessing: Annotated[list[Preprocessing], Field(max_length=16)] = []
    noise: AnyNoise | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.name is None) == (self.upload is None):
            raise ValueError("give either name (a built-in data set) or upload (one of your own)")
        if self.sha256 is not None and self.upload is None:
            raise ValueError("sha256 belongs to an upload; a built-in data set needs none")
        return self

    @model_serializer(mode="wrap")
    def _without_the_other(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What does not apply is left out: a resolved spec has a name, or an upload and its content."""
        found: dict[str, Any] = dump(self)
        return {key: value for key, value in found.items() if value is not None or key not in _ONE_OF}

    @property
    def options(self) -> dict[str, Any]:
        """The data set's own options, as the user gave them."""
        return dict(self.model_extra or {})

    @property
    def corruption(self) -> Noise | None:
        """The noise over the inputs of an auto-encoder, where the user wants any."""
        return None if self.noise is None else NOISE_FAMILY.build(self.noise)


class NetworkSpec(Section):
    """The network, layer by layer; its input shape comes from the data set."""

    layers: Annotated[list[Layer], Field(min_length=1, max_length=512)]


class EarlyStoppingSpec(Section):
    """Stop when a metric has not improved by `min_delta` for `patience` epochs."""

    monitor: str = "val_loss"
    patience: Annotated[int, Ge(0)] = 5
    min_delta: Annotated[float, Ge(0)] = 0.0
    mode: Literal["auto", "min", "max"] = "auto"
    restore_best_weights: bool = True


class TrainingSpec(Section):
    """How the network learns: cost, descent, length, and when to stop.

    `batch_size` chooses the descent: 1 = stochastic, a number = mini-batch, `full` = batch gradient descent.
    """

    loss: Loss
    optimizer: Optimizer
    learning_rate_schedule: Schedule = Field(default={"type": "constant"}, validate_default=True)
    batch_size: Annotated[int, Interval(ge=1, le=65536)] | Literal["full"] = 32
    epochs: Annotated[int, Interval(ge=1, le=100_000)] = 1
    metrics: Annotated[list[str], Field(max_length=16)] | None = None
    early_stopping: EarlyStoppingSpec | None = None
    clipnorm: Annotated[float, Gt(0)] | None = None
    global_clipnorm: Annotated[float, Gt(0)] | None = None
    clipvalue: Annotated[float, Gt(0)] | None = None
    shuffle: bool = True
    seed: Annotated[int, Ge(0), Lt(2**32)] = 0
    gradient_noise: bool = Field(
        default=False, description="Measure how far the gradients of single batches scatter, at the first weights and"
        " at the kept ones; changes nothing in the training.",
    )  # fmt: skip

    @model_validator(mode="after")
    def _one_way_of_clipping(self) -> Self:
        if sum(c is not None for c in (self.clipnorm, self.global_clipnorm, self.clipvalue)) > 1:
            raise ValueError("choose one of clipnorm, global_clipnorm and clipvalue")
        return self


class ResourcesSpec(Section):
    """Where the job may run, for how long, and how it queues."""

    device: Literal["auto", "cpu", "gpu"] = "auto"
    max_runtime: Annotated[Duration, Gt(0)] | None = None
    priority: Literal["low", "normal", "high"] = "normal"


class ReliabilitySpec(Section):
    """How often the work is made safe, and how many checkpoints are kept."""

    checkpoint_every: Annotated[Duration, Ge(1)] = 60.0
    keep_last: Annotated[int, Interval(ge=1, le=100)] = 2
    keep_best: Annotated[int, Interval(ge=0, le=1)] = 1


class BaselineSpec(Section):
    """How the classical models beside the network are fitted; `baseline: false` does without them.

    `seconds` is about how long they may take in all. `whole`: on all train rows or not at all, each judged on the test
    part; otherwise on as many rows as the time allows.
    """

    seconds: Annotated[float, Gt(0), Le(300)] = 10.0
    whole: bool = False


class JobSpec(BaseModel):
    """One training job: data set, network, training. YAML and JSON are the same model."""

    model_config = ConfigDict(**STRICT, serialize_by_alias=True, validate_by_name=True, validate_by_alias=True)

    version: Literal["trainyard/v1"] = Field(default="trainyard/v1", alias="schema")
    name: Annotated[str, StringConstraints(min_length=1, max_length=128)] = "job"
    labels: Annotated[list[Label], Field(max_length=16)] = []
    task: Literal["classification", "regression", "autoencoder", "forecasting", "language_model"]
    dataset: DatasetSpec
    network: NetworkSpec
    training: TrainingSpec
    resources: ResourcesSpec = ResourcesSpec()
    reliability: ReliabilitySpec = ReliabilitySpec()
    baseline: bool | BaselineSpec = Field(
        default=True, description="Score classical models on the same split beside the network; false does not."
    )
    diagnostics: bool = Field(default=True, description="Look at the training and say what is wrong with it.")

    def resolved(self) -> dict[str, Any]:
        """The spec as JSON with every default filled in: what is stored, shown and replayed."""
        return self.model_dump(mode="json")

    @property
    def baseline_options(self) -> dict[str, Any] | None:
        """What the baseline is to be fitted with; None where none is wanted."""
        wished = BaselineSpec() if self.baseline is True else self.baseline
        return wished.model_dump() if isinstance(wished, BaselineSpec) else None


SECTIONS: dict[str, type[BaseModel]] = {"dataset": DatasetSpec, "network": NetworkSpec, "training": TrainingSpec}
