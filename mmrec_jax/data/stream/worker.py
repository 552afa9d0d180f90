"""A process that reads and tokenises: `python -m mmrec_jax.data.stream.worker`.

It gets one pickled `Task` on standard input and writes one pickled message after another to
standard output: lists of `Piece`, or at last a `Failure`. It ends when either pipe closes, so it
outlives the training process by no more than a moment, however that one ends.
"""

import contextlib
import os
import signal
import threading
import traceback

from mmrec_jax.data.stream.group import Piece, ShardGroup
from mmrec_jax.data.stream.task import Failure, Task
from mmrec_jax.data.worker_process import ParentProcess
from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.cache import tokenizer_of


def main() -> None:
    """Works until a pipe closes or something fails."""
    # The training process decides when it is over: it may want to save first.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    parent = ParentProcess()
    task: Task = parent.receive()
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    with contextlib.suppress(BrokenPipeError):
        try:
            kind, content = task.tokenizer
            tokenizer = tokenizer_of(kind, content, "the tokenizer of the run")
            group = ShardGroup(task.plan, task.numbers, tokenizer, task.positions)
            count = 1  # the first batch is waited for
            while True:
                _send_bundle(parent, group, count)
                count = min(2 * count, task.bundle)
        except BrokenPipeError:
            raise
        except UserError as error:
            parent.send(Failure(str(error), by_user=True))
        except MemoryError:
            parent.send(Failure("an input process has run out of memory", by_user=True))
        except Exception:
            parent.send(Failure(traceback.format_exc(), by_user=False))
    os._exit(0)  # without waiting for the thread, or for a pipe that nobody reads


def _send_bundle(parent: ParentProcess, group: ShardGroup, count: int) -> None:
    """Sends the next pieces; what there is of them, if one fails."""
    bundle: list[Piece] = []
    try:
        for _ in range(count):
            bundle.append(group.next_piece())
    finally:
        if bundle:
            parent.send(bundle)


def _end_with(parent: ParentProcess) -> None:
    parent.wait_for_end()
    os._exit(0)


if __name__ == "__main__":
    main()
