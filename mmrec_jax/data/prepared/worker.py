"""A process that tokenises chunks: `python -m mmrec_jax.data.prepared.worker`.

It reads pickles from its standard input, first (folder of the tokenizer, settings, on_error), then
chunks, and answers each on its standard output: first with None, a chunk with its `EncodedChunk`,
a mistake of the user's with the `UserError`. It ends when its input does, so it never outlives the
process that started it by more than a chunk, however that one ended.
"""

import contextlib
import os

from mmrec_jax.data.prepared.encoded_chunk import encode_chunk
from mmrec_jax.data.worker_process import ParentProcess
from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.cache import load_tokenizer


def main() -> None:
    """Answers until the input ends."""
    parent = ParentProcess()
    with contextlib.suppress(EOFError, BrokenPipeError):
        folder, settings, on_error = parent.receive()
        tokenizer = load_tokenizer(folder)
        parent.send(None)
        while True:
            chunk = parent.receive()
            try:
                parent.send(encode_chunk(chunk, tokenizer, settings, on_error))
            except UserError as error:
                parent.send(error)
    os._exit(0)  # what could not be written to a closed pipe is of no use


if __name__ == "__main__":
    main()
