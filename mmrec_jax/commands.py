"""What the subcommands of `mmrec` do and print."""

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from mmrec_jax.config_file import read_config
from mmrec_jax.data.inspect import inspect_rows, summarise
from mmrec_jax.data.pipeline import make_train_iterator
from mmrec_jax.data.sources import load_documents, read_documents
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.data.tokenizer_cache import build_tokenizer
from mmrec_jax.generation import generate
from mmrec_jax.loading import load
from mmrec_jax.nn.state import state_bytes, zero_state
from mmrec_jax.sampling import Sampling
from mmrec_jax.train.evaluate import evaluate
from mmrec_jax.train.step import make_eval_step
from mmrec_jax.workdir import Workdir


def print_generated(
    workdir: str,
    step: Any,
    prompt: str,
    sampling: Sampling,
    *,
    max_tokens: int,
    samples: int,
    seed: int,
    stop_at_end: bool,
) -> None:
    """Streams the first continuation as it is drawn; further ones follow it."""
    model, params, tokenizer = load(workdir, step)
    size = state_bytes(zero_state(model.config, 1))
    times: list[float] = []

    def show(text: str) -> None:
        times.append(time.perf_counter())
        print(text, end="", flush=True)

    print(prompt, end="", flush=True)
    texts = generate(
        model,
        params,
        tokenizer,
        prompt,
        max_tokens=max_tokens,
        samples=samples,
        sampling=sampling,
        seed=seed,
        stop_at_end=stop_at_end,
        on_text=show,
    )
    print()
    for text in texts[1:]:
        print(f"---\n{prompt}{text}")
    rate = ""
    if len(times) > 1:
        rate = f", {samples * (len(times) - 1) / (times[-1] - times[0]):,.0f} tokens/s"
    print(f"[state {size:,} bytes a sample, whatever the length{rate}]", file=sys.stderr)


def print_evaluation(
    workdir: str, step: Any, data: str, *, documents: Any, field: str, batch_size: int
) -> None:
    """Prints loss, perplexity, bits per byte and per character of some text."""
    config, _ = Workdir(Path(workdir)).read_config()
    texts = read_documents(data, documents, field)
    model, params, tokenizer = load(workdir, step)
    store = TokenStore.from_documents(texts, tokenizer)
    eval_step = jax.jit(make_eval_step(model))
    mesh = Mesh(np.asarray(jax.local_devices()[:1]), ("data",))
    print(f"{store.num_documents:,} documents, {store.num_bytes:,} bytes")
    for carry, label in ((True, "state carried along each document"), (False, "rows apart")):
        result = evaluate(
            eval_step,
            params,
            model.config,
            store,
            mesh,
            # One lane a document at most: the others would be padding.
            batch_size=min(batch_size, store.num_documents) if carry else batch_size,
            seq_len=config.data.seq_len,
            carry=carry,
        )
        numbers = ", ".join(f"{name} {value:,.4f}" for name, value in result.items())
        print(f"{label}: {numbers}")


def print_rows(config_file: str, overrides: list[str], *, rows: int) -> None:
    """Prints the first rows that a run with this config would train on."""
    config = read_config(config_file, overrides)
    documents = load_documents(config.data, "train")
    with tempfile.TemporaryDirectory() as cache:
        tokenizer = build_tokenizer(
            config.tokenizer,
            (document.text for document in documents),
            cache,
            default_vocab_size=config.model.vocab_size,
        )
    store = TokenStore.from_documents(documents, tokenizer)
    batch = next(make_train_iterator(store, config.data, config.train.batch_size))
    print(inspect_rows(batch, tokenizer, rows))
    print(summarise(store, batch))
