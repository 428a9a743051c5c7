"""Becomes the command in its arguments, which then does not outlive the process that began it.

    tied.py PARENT COMMAND...

A job whose process was killed would otherwise train on, and hold the lock of its folder
against the one that takes its place. Only Linux can tie them; elsewhere it may live on.
The signals by which SLURM announces that time is up are for the parent.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, command: list[str]) -> None:
    """Ties this process to `parent`, then becomes the command."""
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before they were tied
            sys.exit(1)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
