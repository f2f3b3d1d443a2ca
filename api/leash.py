"""Become another program that is told to stop when its parent dies: `python leash.py PARENT PROGRAM ARGUMENTS…`.

Linux tells a process about its parent's death (PR_SET_PDEATHSIG), whichever way the parent died, and keeps the wish
across exec. Run as a program of its own, because code between fork and exec is unsafe in a process with threads.
"""

import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask for SIGTERM at the parent's death, then exec."""
    parent, *words = sys.argv[1:]
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):
        sys.exit(f"{words[0]}: the process that wanted this has ended")
    os.execv(words[0], words)


if __name__ == "__main__":
    main()
