"""How much of the machine's memory processes take."""

import re
import subprocess
from pathlib import Path

# In memory a tokenizer takes so many times its file: Qwen3's (11 MB) 120 MB.
_TOKENIZER_FACTOR = 11
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


def tokenizer_memory(file_bytes: int) -> int:
    """About the bytes that a tokenizer takes in memory.

    Args:
      file_bytes: of its file.
    """
    return _TOKENIZER_FACTOR * file_bytes
