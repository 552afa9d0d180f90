"""One writer per folder: a lock that the system releases when its process ends, even by SIGKILL."""

import contextlib
import fcntl
import os
import socket
import sys
from pathlib import Path

from mmrec_jax.errors import UserError

_NAME = ".lock"
# By folder: the open file, and whether the folder was made for it. A process that holds a lock may
# take it again: it is one writer.
_held: dict[Path, tuple[int, bool]] = {}


def lock_folder(folder: Path) -> None:
    """Takes the lock of a folder, which is made if needed, until `unlock_folder` or the exit.

    A folder that another process holds, or that cannot be written, is a `UserError`.
    """
    folder = folder.resolve()
    path = folder / _NAME
    if folder in _held:
        if _is_open(path, _held[folder][0]):
            return
        os.close(_held.pop(folder)[0])  # the folder was deleted and made anew
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            _flock(descriptor, path)
            if _is_open(path, descriptor):
                break
            os.close(descriptor)  # whoever held it has removed the file since it was opened
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
    except OSError as error:
        raise UserError(f"--workdir {folder}: {error.strerror}") from None
    _held[folder] = descriptor, made


def unlock_folder(folder: Path, *, discard: bool = False) -> None:
    """Gives the lock back, if this process has it.

    With `discard` a folder that was made for the lock and holds nothing else is removed again.
    """
    folder = folder.resolve()
    if folder not in _held:
        return
    descriptor, made = _held.pop(folder)
    if discard and made:
        with contextlib.suppress(OSError):
            if [path.name for path in folder.iterdir()] == [_NAME]:
                (folder / _NAME).unlink()
                folder.rmdir()
    os.close(descriptor)


def _is_open(path: Path, descriptor: int) -> bool:
    """Whether the file at this path is still the one that was opened."""
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False


def _flock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip()
        os.close(descriptor)
        raise UserError(
            f"{path.parent}: another run is writing here ({holder or 'a process'}); wait until it "
            "has ended, or name another --workdir"
        ) from None
    except OSError as error:  # a file system without locks
        print(
            f"{path}: cannot be locked ({error.strerror}); start no second run in this folder",
            file=sys.stderr,
        )
