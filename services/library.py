"""Which data a spec means: a data set that comes with Trainyard, or something else that is at hand."""

import abc
from typing import TYPE_CHECKING, final

from services import datasets
from services.datasets.base import Source
from services.errors import Invalid, Mistake, NotFound

if TYPE_CHECKING:
    from services.job_spec import DatasetSpec


class Library(abc.ABC):
    """What the section `dataset` of a spec may refer to."""

    @abc.abstractmethod
    def source(self, dataset: "DatasetSpec") -> Source:
        """The source that is meant; Invalid at `dataset.name` or `dataset.upload` when there is none."""

    def pinned(self, dataset: "DatasetSpec") -> "DatasetSpec":
        """The section in words that will mean the same content tomorrow."""
        return dataset


@final
class BuiltIn(Library):
    """The data sets that come with Trainyard, and nothing else."""

    def source(self, dataset: "DatasetSpec") -> Source:
        """By name."""
        if dataset.upload is not None:
            hint = "Name a built-in data set, or post the job to a server that holds the upload."
            raise Invalid([Mistake("dataset.upload", "unknown_name", f"no upload {dataset.upload!r} is here", hint)])
        try:
            return datasets.find(dataset.name or "")
        except NotFound as error:
            raise Invalid([Mistake("dataset.name", "unknown_name", error.message, error.hint)]) from error


BUILT_IN = BuiltIn()
