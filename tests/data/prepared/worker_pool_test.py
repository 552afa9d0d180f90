import os
import signal
import subprocess
import sys
import time

import pytest

from mmrec_jax.data.byte_tokenizer import ByteTokenizer
from mmrec_jax.data.prepared.encoded_chunk import encode_chunk
from mmrec_jax.data.prepared.settings import PrepareSettings
from mmrec_jax.data.prepared.worker_pool import WorkerPool
from mmrec_jax.errors import UserError
from tests.small_corpus import small_sources, write_corpus

_SETTINGS = PrepareSettings()


def test_a_worker_imports_neither_jax_nor_what_draws():
    code = (
        "import mmrec_jax.data.prepared.worker, sys; "
        "print({'jax', 'flax', 'grain', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def _ended(pid):
    for _ in range(200):
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rsplit(")")[-1].split()[0] == "Z":
                    return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def test_what_befalls_workers(tmp_path):
    ByteTokenizer().save(tmp_path / "tokenizer")
    chunks = list(small_sources(write_corpus(tmp_path))[0].files[0].chunks())[:6]
    with WorkerPool(2, tmp_path / "tokenizer", _SETTINGS, "stop") as pool:
        first, second = pool.pids
        futures = [pool.submit(chunk) for chunk in chunks]
        for chunk, future in zip(chunks, futures, strict=True):
            expected = encode_chunk(chunk, ByteTokenizer(), _SETTINGS, "stop")
            assert future.result().tokens.tolist() == expected.tokens.tolist()
        # Ctrl-C reaches the whole group of processes; the workers leave it to their parent.
        os.kill(first, signal.SIGINT)
        os.kill(second, signal.SIGINT)
        assert pool.submit(chunks[0]).result().counts["read"] > 0
        assert pool.retire()
        assert not pool.retire()
        (left,) = pool.pids
        assert _ended(({first, second} - {left}).pop())
        assert pool.submit(chunks[0]).result().counts["read"] > 0
        os.kill(left, signal.SIGKILL)
        with pytest.raises(UserError, match=r"the preparation was killed by SIGKILL .*fewer"):
            pool.submit(chunks[0]).result()
    assert _ended(left)
