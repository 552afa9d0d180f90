"""What the subcommands of `mmrec` do and print."""

import dataclasses
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from mmrec_jax.config import Config
from mmrec_jax.config_file import read_config
from mmrec_jax.data.document import Document
from mmrec_jax.data.inspect import fill, inspect_rows
from mmrec_jax.data.sources import read_documents
from mmrec_jax.data.tasks.registry import TASKS
from mmrec_jax.data.tasks.task_dataset import TaskDataset
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.errors import UserError
from mmrec_jax.generation import generate
from mmrec_jax.loading import load
from mmrec_jax.nn.state import state_bytes, zero_state
from mmrec_jax.sampling import Sampling
from mmrec_jax.train.evaluate import evaluate
from mmrec_jax.train.evaluate_task import evaluate_task
from mmrec_jax.train.prepare import load_data
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
    config, _ = Workdir(Path(workdir)).read_config()
    if config.data.source in TASKS:
        raise UserError(
            f'{workdir}: this model was trained on the task "{config.data.source}": it answers '
            "what it reads and writes no text of its own. To score it: mmrec evaluate "
            f"--workdir={workdir}"
        )
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
    workdir: str,
    step: Any,
    data: str | None,
    *,
    documents: Any,
    field: str,
    lengths: str | None,
    batch_size: int,
) -> None:
    """Prints how well a model predicts some text, or solves the task that it was trained on."""
    config, _ = Workdir(Path(workdir)).read_config()
    if config.data.source in TASKS:
        if data is not None:
            raise UserError(
                f'{workdir} was trained on the task "{config.data.source}": give --lengths, or '
                "nothing, and no --data"
            )
        _print_task_scores(workdir, step, _with_lengths(config, lengths), batch_size)
    else:
        if data is None or lengths is not None:
            raise UserError(f"{workdir} was trained on text: give --data=FILE and no --lengths")
        texts = read_documents(data, documents, field)
        _print_text_scores(workdir, step, config.data.seq_len, texts, batch_size)


def _with_lengths(config: Config, lengths: str | None) -> Config:
    if lengths is None:
        return config
    parts = [part.strip() for part in lengths.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise UserError(f"--lengths is {lengths!r}; it must be numbers such as 40,256")
    data = dataclasses.replace(config.data, task_eval_lengths=tuple(map(int, parts)))
    return dataclasses.replace(config, data=data)


def _print_task_scores(workdir: str, step: Any, config: Config, batch_size: int) -> None:
    data = TaskDataset(config)
    model, params, _ = load(workdir, step)
    result = evaluate_task(
        jax.jit(make_eval_step(model)),
        params,
        model.config,
        data,
        _one_device(),
        batch_size=batch_size,
    )
    print(data.describe())
    print("\n".join(f"{name} {value:,.4f}" for name, value in result.items()))


def _print_text_scores(
    workdir: str, step: Any, seq_len: int, texts: list[Document], batch_size: int
) -> None:
    model, params, tokenizer = load(workdir, step)
    store = TokenStore.from_documents(texts, tokenizer)
    eval_step = jax.jit(make_eval_step(model))
    print(f"{store.num_documents:,} documents, {store.num_bytes:,} bytes")
    for carry, label in ((True, "state carried along each document"), (False, "rows apart")):
        result = evaluate(
            eval_step,
            params,
            model.config,
            store,
            _one_device(),
            # One lane a document at most: the others would be padding.
            batch_size=min(batch_size, store.num_documents) if carry else batch_size,
            seq_len=seq_len,
            carry=carry,
        )
        numbers = ", ".join(f"{name} {value:,.4f}" for name, value in result.items())
        print(f"{label}: {numbers}")


def print_rows(config_file: str, overrides: list[str], *, rows: int) -> None:
    """Prints the first rows that a run with this config would train on."""
    config = read_config(config_file, overrides)
    with tempfile.TemporaryDirectory() as workdir:
        data = load_data(config, Workdir(Path(workdir)))
    batch = next(data.batches(config.train.batch_size))
    print(inspect_rows(batch, data.tokenizer, rows))
    print(f"{data.describe()}; rows {fill(batch):.1%} full")


def _one_device() -> Mesh:
    return Mesh(np.asarray(jax.local_devices()[:1]), ("data",))
