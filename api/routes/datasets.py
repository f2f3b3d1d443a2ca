"""The built-in data sets."""

from typing import Annotated, TypeAlias

from fastapi import APIRouter, Path

from api.deps import Reader
from api.openapi import problems
from api.schemas import CardList, CardOut
from services import datasets

router = APIRouter(prefix="/v1/datasets", tags=["catalog"])

Name: TypeAlias = Annotated[str, Path(max_length=100, examples=["digits"])]


@router.get("", responses=problems())
def list_datasets(caller: Reader) -> CardList:
    """Every built-in data set."""
    return CardList(items=[CardOut.model_validate(card) for card in datasets.cards().values()])


@router.get("/{name}", responses=problems(404, 422))
def show_dataset(name: Name, caller: Reader) -> CardOut:
    """One data set; `-` and `_` are equal in its name."""
    return CardOut.model_validate(datasets.card(name))
