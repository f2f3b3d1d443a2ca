"""The demonstration: a convolutional network learns handwritten digits through the whole stack, then reads some.

The stack starts first; what only the tour needs is imported while broker, API and worker are on their way.
"""

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from api.serve import Address, find_address, interruptible, running
from services.settings import Settings, get_settings

DIGITS = Path(__file__).parent.parent / "examples" / "digits_cnn.yaml"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demonstration; the exit codes are the command line's."""
    parser = argparse.ArgumentParser(prog="python3 run.py demo", description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, default=DIGITS, help="another job to train")
    file: Path = parser.parse_args(argv).file
    if not file.is_file():
        parser.error(f"there is no file {file}")
    try:
        return demonstrate(file, get_settings())
    except (Exception, KeyboardInterrupt) as trouble:
        from api.cli import report

        return report(partial(reraise, trouble))


def reraise(trouble: BaseException) -> None:
    """Raise it once more, for whoever knows what to say about it."""
    raise trouble


def demonstrate(file: Path, settings: Settings) -> int:
    """Start what is not running, show the tour, stop what was started."""
    with interruptible(), open_stack(settings) as (address, mend):
        from api import tour

        return tour.show(file, settings, address, mend)


@contextlib.contextmanager
def open_stack(settings: Settings) -> Iterator[tuple[Address, Callable[[], None]]]:
    """The stack that runs on the data folder already, or one for this demonstration on free ports."""
    address = find_address(settings.data_dir)
    if address:
        print(f"Using the Trainyard that runs at {address.url}")
        yield address, lambda: None
        return
    print("Starting broker, API and one worker …", flush=True)
    free = {} if "port" in settings.model_fields_set else {"port": 0}
    try:
        with running(settings.model_copy(update=free)) as stack:
            print(f"They run on {stack.device}; the API is {stack.address.url}", flush=True)
            yield stack.address, stack.mend
    finally:
        print("Everything that was started is stopped.", flush=True)


if __name__ == "__main__":
    sys.exit(main())
