"""Ties a child process's life to ours: when we die, by whatever means, the kernel kills it.

The child asks for it itself, in a tiny interpreter that then becomes the command, so that nothing runs between fork and
exec in a process with threads. On systems without that request the command runs untethered.
"""

import os
import sys
from collections.abc import Sequence
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_TETHER: Final = f"""
import os, signal, sys
parent, command = int(sys.argv[1]), sys.argv[2:]
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None, use_errno=True).prctl({_PR_SET_PDEATHSIG}, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(0)
try:
    os.execvp(command[0], command)
except OSError as error:
    sys.exit(f"{{command[0]}}: {{error.strerror}}")
"""


def tethered(command: Sequence[str]) -> list[str]:
    """The command line that runs ``command`` as a child which cannot outlive this process.

    Start it from the main thread: the kernel ties it to the thread that forked.
    """
    return [sys.executable, "-I", "-S", "-c", _TETHER, str(os.getpid()), *command]
