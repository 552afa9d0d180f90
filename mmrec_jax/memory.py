"""How much memory this process has taken at most."""

import contextlib
import resource
import sys
from pathlib import Path


def forget_peak() -> None:
    """Begins anew where Linux is; elsewhere the peak stays that since the start."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int:
    """Bytes. Of this process alone: `getrusage` would count the program that started it, too."""
    with contextlib.suppress(OSError):
        lines = dict(x.split(":", 1) for x in Path("/proc/self/status").read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
