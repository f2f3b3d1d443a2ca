"""What every test may ask for: settings of its own, the data sets' folder, a broker, a whole running stack."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.broker import start_broker
from api.client import Client
from api.serve import Stack, running
from services.settings import Settings, get_settings

ROOT = Path(__file__).parents[1]
BESIDE = ROOT.parent / "shared" / "data"


def pytest_configure() -> None:
    """No setting of the developer's machine reaches a test, but for where downloaded data sets lie."""
    datasets = os.environ.get("TRAINYARD_DATASETS_DIR") or (str(BESIDE) if BESIDE.is_dir() else None)
    for name in [name for name in os.environ if name.startswith("TRAINYARD_")]:
        del os.environ[name]
    if datasets:
        os.environ["TRAINYARD_DATASETS_DIR"] = str(Path(datasets).absolute())
    get_settings.cache_clear()
    # As in a trainer: threads of scikit-learn that share too few cores wait for each other in busy loops.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Whoever starts the suite in the background may have it ignore Ctrl-C; its children must not inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def datasets_dir() -> Path:
    """The cache of downloaded data sets."""
    return get_settings().datasets_dir


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with a data folder of the test's own and any free port."""
    return Settings(_env_file=None, data_dir=tmp_path / "trainyard", port=0)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real broker that lives as long as the test run."""
    broker = start_broker(tmp_path_factory.mktemp("broker"))
    yield broker.url
    broker.stop()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Broker, API and one CPU worker that live as long as the test run."""
    folder = tmp_path_factory.mktemp("stack") / "data"
    with running(Settings(_env_file=None, data_dir=folder, port=0), "cpu") as stack:
        yield stack


@pytest.fixture(scope="session")
def client(stack: Stack) -> Iterator[Client]:
    """The owner's client of that stack."""
    with Client(stack.address.url, stack.address.key) as client:
        yield client
