"""Targets in the form that a loss compares with: class numbers, a column per class, a column of 0 and 1, or values.

Which form a loss takes is said by the loss itself (`Loss.target`); no loss is named here. Everything holds for every
position of a sequence or image alike: class numbers may be (n,) or (n, t), values (n, k) or (n, t, k) or (n, h, w, c).
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kernels.registry import losses
from services.errors import Invalid, Mistake

Form = Literal["index", "one_hot", "binary", "values"]


def target_form(loss: str, classes: int | None, units: int | None = None) -> Form:
    """The form of target that `loss` takes on a data set of `classes` classes (None = values) for `units` outputs.

    Invalid when the loss does not fit the data; its hint names one that does.
    """
    kind = losses[loss]
    if classes is None:
        return _values_form(kind.type, kind.target)
    if kind.target == "labels":
        return "index"
    if kind.target == "one_hot":
        return "one_hot"
    if units == classes or (units is None and classes > 2 and kind.target != "binary"):
        return "one_hot"
    return _one_column(kind.type, classes, units)


def target_shape(
    form: Form, classes: int | None, columns: int = 1, positions: tuple[int, ...] = ()
) -> tuple[tuple[int, ...], str]:
    """Shape (without the batch) and dtype of a target of this form.

    `columns` counts the values of a regression; `positions` are the axes before them: (t,) for an answer at every
    step of a sequence, (h, w) for one at every pixel.
    """
    if form == "index":
        return positions, "int32"
    return (*positions, {"one_hot": classes or 0, "binary": 1, "values": columns}[form]), "float32"


def targets_for(loss: str, y: NDArray[Any], classes: int | None, units: int | None = None) -> NDArray[Any]:
    """`y` (int32 class numbers (n, …), or float32 values (n, …, k)) as `loss` takes it.

    int32 (n, …) for sparse categorical cross-entropy; float32 one-hot (n, …, classes) for losses between
    distributions, or where another loss meets as many output `units` as classes; float32 (n, …, 1) of 0 and 1 for
    one output and two classes; float32 (n, …, k) for values, where (n,) becomes (n, 1).
    """
    match target_form(loss, classes, units):
        case "index":
            return y.astype(np.int32, copy=False)
        case "one_hot":
            return one_hot(y, classes or 0)
        case "binary":
            return y.astype(np.float32)[..., np.newaxis]
        case "values":
            return y.astype(np.float32, copy=False).reshape(y.shape if y.ndim > 1 else (-1, 1))


def one_hot(y: NDArray[Any], classes: int) -> NDArray[np.float32]:
    """Class numbers (n, …) as float32 rows (n, …, classes) with a single 1; Invalid for a number that is no class."""
    if y.size and not 0 <= int(y.min()) <= int(y.max()) < classes:
        message = f"class numbers run from {y.min()} to {y.max()}, not from 0 to {classes - 1}"
        raise Invalid([Mistake("y", "out_of_range", message)])
    rows = np.zeros((y.size, classes), np.float32)
    rows[np.arange(y.size), y.ravel()] = 1
    return rows.reshape(*y.shape, classes)


def _values_form(name: str, target: str) -> Form:
    if target != "values":
        raise _unfit(
            f"{name} compares classes, and this data set's targets are values",
            "Use mean_squared_error, huber or mean_absolute_error.",
        )
    return "values"


def _one_column(name: str, classes: int, units: int | None) -> Form:
    if classes == 2 and units in {None, 1}:
        return "binary"
    outputs = "one output" if units is None else f"{units} outputs"
    raise _unfit(
        f"{name} cannot compare {outputs} with {classes} classes: it takes one per class, or one for two",
        f"Give the last layer {classes} units, or use sparse_categorical_crossentropy after a softmax layer "
        f"of {classes} units.",
    )


def _unfit(message: str, hint: str) -> Invalid:
    return Invalid([Mistake("training.loss", "loss_unfit", message, hint)])
