"""How much of the machine's memory processes take."""

import re
import subprocess
from pathlib import Path

_PSS = re.compile(rb"^Pss:\s+(\d+) kB", re.MULTILINE)


def process_memory(pid: int) -> int:
    """Bytes of a process; 0 once it has ended, and where the system does not say.

    On Linux its proportional set size: a page that n processes share counts as an n-th. Elsewhere
    its resident set size, as `ps` says.
    """
    try:
        found = _PSS.search(Path(f"/proc/{pid}/smaps_rollup").read_bytes())
    except OSError:
        found = None
    if found:
        return int(found[1]) * 1024
    if Path("/proc/self/smaps_rollup").exists():
        return 0
    command = ["ps", "-o", "rss=", "-p", str(pid)]
    try:
        said = subprocess.run(command, capture_output=True, check=False)
    except OSError:
        return 0
    return int(said.stdout or 0) * 1024
