"""Everything that can be known about a job before it runs: shapes, parameters, operations, bytes, and what is wrong.

Allocates nothing, loads no data. Every check looks at what is sound so far and adds what it finds, so that a user
reads all mistakes in one answer.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar, final

from kernels.operator import Loss, ShapeError
from kernels.tensor import TensorSpec
from services import datasets
from services.datasets import Card, Sizes, Split
from services.errors import Invalid, Mistake, NotFound
from services.footprint import Load, footprint
from services.job_spec import LOSSES, OPTIMIZERS, SCHEDULE_FAMILY, DatasetSpec, JobSpec, NetworkSpec, TrainingSpec
from services.library import BUILT_IN, Library
from services.metrics import metric
from services.outline import Outline, outline

Answer = TypeVar("Answer")

DEFAULT_METRICS = {
    "classification": ["accuracy"],
    "regression": ["mean_absolute_error"],
    "forecasting": ["mean_squared_error", "mean_absolute_error"],
    "autoencoder": ["mean_squared_error"],
    "language_model": ["accuracy"],
}


@final
@dataclass(frozen=True)
class Preflight:
    """A job that can run, and what it will cost. `form` is the shape its targets take."""

    card: Card
    sizes: Sizes
    batch: int
    network: Outline
    target: TensorSpec
    form: str
    metrics: list[str]
    epochs: int
    slots: int
    keeps_best: bool = False

    @property
    def steps_per_epoch(self) -> int:
        """Updates of the weights in one epoch; the last batch may be short."""
        return -(-self.sizes.train // self.batch)

    @property
    def total_steps(self) -> int:
        """Updates of the weights in the whole job, if nothing stops it early."""
        return self.steps_per_epoch * self.epochs

    @property
    def bytes(self) -> dict[str, int]:
        """Device memory by purpose."""
        flat = 4 * self.network.flat
        row = 4 * (self.network.nodes[0].x.features + max(1, self.target.features))
        return {
            "weights": flat,
            "gradients": flat,
            "optimizer": flat * self.slots,
            "activations": self.network.activations,
            "data": row * sum(self.sizes),
        }

    @property
    def memory(self) -> dict[str, Any]:
        """What it takes of a worker's memory, by kind of worker."""
        row = 4 * (self.network.output.features + 1)
        return footprint(Load(self.bytes, row * self.batch, row * sum(self.sizes), self.total_steps, self.keeps_best))

    @property
    def outline(self) -> dict[str, Any]:
        """The plan as JSON: what `validate` answers and the job carries."""
        return {
            "dataset": self.card.name,
            "input_shape": list(self.network.nodes[0].x.shape[1:]),
            "output_shape": list(self.network.output.shape[1:]),
            "layers": [layer_card(node) for node in self.network.nodes],
            "parameters": self.network.parameters,
            "flops_per_step": 3 * self.network.flops,
            "bytes": self.bytes | {"total": sum(self.bytes.values())},
            "memory": self.memory,
            "rows": self.sizes._asdict(),
            "batch_size": self.batch,
            "steps_per_epoch": self.steps_per_epoch,
            "total_steps": self.total_steps,
            "metrics": self.metrics,
        }


def layer_card(node: Any) -> dict[str, Any]:
    """One operator of a plan as JSON."""
    operator = node.operator
    return {
        "name": node.name,
        "path": node.path,
        "type": operator.type,
        "inputs": list(node.sources),
        "input_shape": list(node.x.shape[1:]),
        "output_shape": list(node.signature.output.shape[1:]),
        "parameters": node.parameters,
        "params": {name: list(p.spec.shape) for name, p in node.signature.params.items()},
        "flops": node.flops // max(1, node.x.shape[0]),
        "bytes": node.buffers,
        "settings": asdict(operator),
    }


def check(spec: JobSpec, library: Library = BUILT_IN) -> Preflight:
    """The preflight of a well-formed spec; Invalid with every mistake."""
    mistakes, preflight = review(spec.task, spec.dataset, spec.network, spec.training, library=library)
    if mistakes or preflight is None:
        raise Invalid(mistakes)
    return preflight


def review(
    task: str | None,
    dataset: DatasetSpec | None,
    network: NetworkSpec | None,
    training: TrainingSpec | None,
    *,
    whole: bool = True,
    library: Library = BUILT_IN,
) -> tuple[list[Mistake], Preflight | None]:
    """Check the sections that are well-formed (None = not) against each other.

    Not `whole`: the network breaks off before a layer that is not well-formed. A `training.loss` of None is not either.
    """
    found = _Found()
    card = found.of(lambda: _card(dataset, library)) if dataset else None
    sizes = found.of(lambda: _sizes(card, dataset)) if card and dataset else None
    if card and dataset:
        found.of(lambda: _pipeline(card, dataset))
        found.of(lambda: _noise(task, card, dataset))
    choosable = dataset is not None and dataset.upload is not None
    fits = card is not None and found.of(lambda: _task_fits(task, card, choosable)) is not None
    names = found.of(lambda: _metric_names(task, training)) if training and (task or training.metrics) else None
    if training:
        found.of(lambda: _schedule(training))
    rows = sizes.train if sizes else 65536
    batch = rows if training is None or training.batch_size == "full" else min(training.batch_size, rows)
    shapes = None
    if card and network:
        x = TensorSpec((batch, *card.input_shape), card.input_dtype)
        shapes = found.of(lambda: outline(network.layers, x, whole=whole))
    if training and sizes:
        found.of(lambda: _stopping(training, sizes, names))
    if not (shapes and card and fits and training and training.loss and whole):
        return found.mistakes, None
    target = found.of(lambda: _target(task, shapes, card, training))
    found.of(lambda: _lessons(shapes, training))
    if target and names:
        found.of(lambda: _forms(names, target[0]))
    if found.mistakes or target is None or sizes is None or names is None:
        return found.mistakes, None
    slots = len(OPTIMIZERS.build(training.optimizer).slots())
    best = training.early_stopping is not None and training.early_stopping.restore_best_weights
    return [], Preflight(card, sizes, batch, shapes, target[1], target[0], names, training.epochs, slots, best)


@final
class _Found:
    """Collects what several checks find."""

    def __init__(self) -> None:
        self.mistakes: list[Mistake] = []

    def of(self, look: Callable[[], Answer]) -> Answer | None:
        """The answer of a check, or None after noting its mistakes."""
        try:
            return look()
        except Invalid as error:
            self.mistakes += error.mistakes
        return None


def _card(dataset: DatasetSpec, library: Library) -> Card:
    try:
        return datasets.card_of(library.source(dataset), dataset.options)
    except Invalid as error:
        raise Invalid([_with_keys(mistake) for mistake in error.mistakes]) from error


def _task_fits(task: str | None, card: Card, choosable: bool = False) -> bool:
    if task is not None and task not in card.tasks and not (task == "autoencoder" and card.input_dtype == "float32"):
        hint = f"Set task to {' or '.join(card.tasks)}, or choose another data set."
        if choosable and {task, *card.tasks} == {"classification", "regression"}:
            hint = f"Set task to {card.tasks[0]}, or dataset.task to {task} where the target's numbers can be both."
        raise Invalid([Mistake("task", "task_unfit", f"{card.name} has no targets for {task}", hint)])
    return True


def _pipeline(card: Card, dataset: DatasetSpec) -> None:
    steps = [step.model_dump() for step in dataset.preprocessing]
    datasets.Pipeline.of(steps, card.input_shape[-1], card.input_dtype)


def _noise(task: str | None, card: Card, dataset: DatasetSpec) -> None:
    noise = dataset.corruption
    if noise is None:
        return
    if task not in (None, "autoencoder"):
        hint = "Set task to autoencoder, or add a gaussian_noise layer: it makes noise while training."
        message = f"noise is for auto-encoders to remove, not for {task}"
        raise Invalid([Mistake("dataset.noise", "task_unfit", message, hint)])
    if wrong := noise.unfit(card, len(dataset.preprocessing)):
        raise Invalid([wrong])


def _sizes(card: Card, dataset: DatasetSpec) -> Sizes:
    return datasets.sizes(card, Split(**dataset.split.model_dump()), dataset.train_fraction)


def _with_keys(mistake: Mistake) -> Mistake:
    """An unknown option may be a misspelt key that every data set has."""
    key = mistake.path.removeprefix("dataset.")
    near = difflib.get_close_matches(key, DatasetSpec.model_fields, n=1)
    if mistake.code != "unknown_key" or not near:
        return mistake
    return replace(mistake, hint=f"Did you mean {near[0]!r}?")


def _schedule(training: TrainingSpec) -> None:
    try:
        SCHEDULE_FAMILY.build(training.learning_rate_schedule)
    except ValueError as error:
        raise Invalid([Mistake("training.learning_rate_schedule", "value_error", str(error))]) from error


def _metric_names(task: str | None, training: TrainingSpec) -> list[str]:
    wanted = training.metrics if training.metrics is not None else DEFAULT_METRICS.get(task or "", [])
    mistakes, names = [], []
    for number, name in enumerate(wanted):
        try:
            names.append(metric(name).name)
        except NotFound as error:
            mistakes.append(Mistake(f"training.metrics[{number}]", "unknown_name", error.message, error.hint))
    if mistakes:
        raise Invalid(mistakes)
    return list(dict.fromkeys(names))


def _stopping(training: TrainingSpec, sizes: Sizes, names: list[str] | None) -> None:
    stopping = training.early_stopping
    if stopping is None or names is None:
        return
    path = "training.early_stopping.monitor"
    known = ["loss", *names] + ([f"val_{name}" for name in ("loss", *names)] if sizes.validation else [])
    if stopping.monitor not in known:
        hint = f"This job measures: {', '.join(known)}."
        if stopping.monitor.startswith("val_") and not sizes.validation:
            hint += " There are no validation rows: give dataset.split.validation a share."
        raise Invalid([Mistake(path, "unknown_name", f"nothing measures {stopping.monitor!r}", hint)])


def _target(task: str | None, shapes: Outline, card: Card, training: TrainingSpec) -> tuple[str, TensorSpec]:
    """The form and the spec of the targets, once the network's output is known to fit them."""
    loss: Loss = LOSSES.build(training.loss)
    form, target = _forms_by_task.get(task or "", _labels_or_values)(shapes, card, loss)
    try:
        loss.infer(shapes.output, target)
    except ShapeError as error:
        message, _, hint = str(error).partition("; ")
        raise Invalid([Mistake("training.loss", "loss_unfit", message, hint or None)]) from error
    return form, target


def _labels_or_values(shapes: Outline, card: Card, loss: Loss) -> tuple[str, TensorSpec]:
    classes = len(card.classes) if card.classes is not None else None
    output = shapes.output
    if len(output.shape) != 2:
        message = f"the network gives {output.shape[1:]} for each row, {card.name} needs one row of numbers"
        raise _unfit(shapes, message, "Add a flatten layer and a dense layer at the end.")
    form = datasets.target_form(loss.type, classes, output.features)
    needed = classes if form in ("index", "one_hot") and classes else 1 if form == "binary" else len(card.target_names)
    if output.features != needed:
        what = f"{needed} classes" if form in ("index", "one_hot") else f"{needed} target value(s)"
        message = f"the network gives {output.features} numbers for each row, {card.name} has {what}"
        raise _unfit(shapes, message, f"Give the last layer units: {needed}.")
    shape, dtype = datasets.target_shape(form, classes, len(card.target_names))
    return form, TensorSpec((output.shape[0], *shape), dtype)


def _the_input_itself(shapes: Outline, card: Card, loss: Loss) -> tuple[str, TensorSpec]:
    given, output = shapes.nodes[0].x, shapes.output
    if loss.target != "values" and "sigmoid" not in loss.fused:
        hint = "Use mean_squared_error, mean_absolute_error or, for inputs from 0 to 1, binary_crossentropy."
        raise Invalid([Mistake("training.loss", "loss_unfit", f"{loss.type} compares classes, not inputs", hint)])
    if output.features != given.features:
        message = f"an auto-encoder gives back its input, {given.shape[1:]}; this network gives {output.shape[1:]}"
        raise _unfit(shapes, message, f"The last layer must give {given.features} numbers for each row.")
    return "values", output


def _unfit(shapes: Outline, message: str, hint: str) -> Invalid:
    path = shapes.nodes[-1].path.removesuffix(".activation")
    return Invalid([Mistake(path, "output_unfit", message, hint)])


def _what_follows(shapes: Outline, card: Card, loss: Loss) -> tuple[str, TensorSpec]:
    output = shapes.output
    wanted = (*card.input_shape, card.vocabulary)
    if output.shape[1:] != wanted:
        message = f"the network gives {output.shape[1:]} for each row; chances for every next symbol are {wanted}"
        raise _unfit(
            shapes, message, f"Keep the sequence (return_sequences: true), then dense with units: {card.vocabulary}."
        )
    if loss.target != "labels":
        hint = "Use sparse_categorical_crossentropy after a softmax."
        raise Invalid([Mistake("training.loss", "loss_unfit", f"{loss.type} does not compare symbols", hint)])
    return "index", TensorSpec((output.shape[0], *card.input_shape), "int32")


_forms_by_task = {"autoencoder": _the_input_itself, "language_model": _what_follows}


def _lessons(shapes: Outline, training: TrainingSpec) -> None:
    """Networks that fit together but could not learn, or would learn nonsense."""
    loss, last = LOSSES.build(training.loss), shapes.nodes[-1]
    mistakes = []
    if not shapes.segments:
        hint = "Add a layer with weights, such as dense."
        mistakes.append(Mistake("network.layers", "nothing_to_learn", "no layer has weights to learn", hint))
    for number, node in enumerate(shapes.nodes):
        fused = number == len(shapes.nodes) - 1 and node.operator.type in loss.fused
        if getattr(node.operator, "teachable", True) or fused or not any(s.node < number for s in shapes.segments):
            continue
        message = "the slope of a step is 0 everywhere, so dC/dw = 0 and w ← w − α·dC/dw never changes a weight"
        hint = (
            "Use the perceptron rule (training.loss: perceptron, step on the last layer), a surrogate slope"
            " ({type: step, gradient: sigmoid}), or a smooth activation such as sigmoid."
        )
        mistakes.append(Mistake(node.path, "step_has_no_slope", message, hint))
    answers = [name for name in ("softmax", "sigmoid", "step") if name in loss.fused]
    threshold = answers == ["step"] and (last.signature.output.features == 1 or loss.type == "perceptron")
    if (set(answers) & {"softmax", "sigmoid"} or threshold) and last.operator.type not in {
        *answers,
        "softmax",
        "sigmoid",
    }:
        wants = "thresholds" if threshold else "probabilities"
        message = f"{loss.type} compares {wants}, and {last.operator.type} gives any number"
        mistakes.append(Mistake(last.path, "loss_unfit", message, f"Give the last layer activation: {answers[0]}."))
    elif threshold and last.operator.type != "step":
        message = f"{loss.type} compares thresholds, and {last.operator.type} gives probabilities"
        mistakes.append(Mistake(last.path, "loss_unfit", message, "Give the last layer activation: step."))
    if mistakes:
        raise Invalid(mistakes)


def _forms(names: list[str], form: str) -> None:
    unfit = [name for name in names if form not in metric(name).forms]
    if unfit:
        raise Invalid([
            Mistake("training.metrics", "metric_unfit", f"{name} does not fit these targets", metric(name).formula)
            for name in unfit
        ])  # fmt: skip
