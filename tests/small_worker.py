"""A worker that says what its environment holds, and prints much else."""

import contextlib
import os

from mmrec_jax.data.worker_process import ParentProcess

if __name__ == "__main__":
    parent = ParentProcess()
    with contextlib.suppress(EOFError):
        while True:
            name = parent.receive()
            print("not for the other process", flush=True)
            parent.send(os.environ[name])
