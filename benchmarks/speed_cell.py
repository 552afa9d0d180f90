"""One cell of a speed benchmark, in a process of its own: one model at one length.

    python -m benchmarks.speed_cell '{"model": "mmrec", "config": {...}, "rows": 16, ...}'

Prints JSON lines, each with all that is known so far, so that a cell that is stopped has said
something. torch and JAX are imported only by the cells that use them.
"""

import dataclasses
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import decoding
from benchmarks.timing import Step, time_steps
from benchmarks.workload import Batch, plain_objectives, random_batch

_SEED = 0
_TIMED_STEPS = 2


@dataclasses.dataclass(frozen=True)
class Cell:
    """What one process measures."""

    # "mmrec", "jax", "torch", "torch-compiled", "torch-cuda" (bfloat16) or one of `peers.catalogue`
    model: str
    config: dict[str, Any]  # fields of `MMRecConfig`, `AttentionConfig` or `published.Shape`
    rows: int  # B
    length: int  # T; tokens that a step decodes
    seconds: float  # to spend on timed steps
    warm_steps: int = 3
    context: int | None = None  # decode after so many tokens; None: train


def main() -> None:
    """Measures the cell that the first argument describes."""
    cell = Cell(**json.loads(sys.argv[1]))
    if cell.context is None:
        facts, step = _training(cell)
    else:
        facts, step = _decoding(cell, cell.context)
    _say(facts)
    for result in time_steps(
        step, seconds=cell.seconds, least=_TIMED_STEPS, warm_steps=cell.warm_steps
    ):
        _say(facts | result)


def _training(cell: Cell) -> tuple[dict, Step]:
    batch = random_batch(cell.rows, cell.length, cell.config["vocab_size"])
    if cell.model == "mmrec":
        return mmrec_training(cell.config, batch)
    del batch["segment_ids"]
    if cell.model == "jax":
        return _jax_attention(cell.config, batch)
    if cell.model in ("torch", "torch-compiled", "torch-cuda"):
        return _torch_attention(cell.config, batch, cell.model)
    return _published(cell.model, cell.config, batch)


def _decoding(cell: Cell, context: int) -> tuple[dict, Step]:
    rng = np.random.default_rng(_SEED)
    tokens = rng.integers(0, cell.config["vocab_size"], context, np.int32)
    if cell.model == "mmrec":
        return decoding.mmrec(cell.config, tokens, cell.length)
    if cell.model == "jax":
        steps = cell.warm_steps + _TIMED_STEPS
        return decoding.jax_attention(cell.config, tokens, cell.length, steps)
    return decoding.published(cell.model, cell.config, tokens, cell.length)


def mmrec_training(
    fields: dict[str, Any], batch: Batch, mesh: Any | None = None
) -> tuple[dict, Step]:
    """MM-Rec's training step as `train.py` runs it, on its mesh or this; a row is a document."""
    import functools

    from mmrec_jax.config import OptimConfig
    from mmrec_jax.models.mmrec.config import MMRecConfig
    from mmrec_jax.optim.build import build_optimizer
    from mmrec_jax.train.mesh import row_devices
    from mmrec_jax.train.state import initial_state
    from mmrec_jax.train.step import make_train_step

    rows = len(batch["inputs"])
    mesh = mesh or _mesh(rows)
    config = MMRecConfig(**fields)
    model = config.fitted(rows // row_devices(mesh), mesh.devices.flat[0].platform).build()
    optimizer = build_optimizer(OptimConfig(), 1000, model.decays)
    objectives = plain_objectives()
    return _jax_step(
        functools.partial(make_train_step(optimizer, objectives), model),
        lambda: initial_state(model, objectives, optimizer, _SEED),
        batch,
        mesh,
    )


def _mesh(rows: int) -> Any:
    """The devices of a run with so many rows."""
    from mmrec_jax.config import Config, TrainConfig
    from mmrec_jax.train.mesh import make_mesh, split_cpu

    config = Config(train=TrainConfig(steps=1, batch_size=rows))
    split_cpu(config)
    return make_mesh(config)


def _jax_attention(fields: dict[str, Any], batch: Batch) -> tuple[dict, Step]:
    import functools

    from benchmarks.peers.jax_training import initial_state, train_step
    from mmrec_jax.config import OptimConfig
    from mmrec_jax.models.attention.config import AttentionConfig
    from mmrec_jax.optim.build import build_optimizer

    model = AttentionConfig(**fields).build()
    optimizer = build_optimizer(OptimConfig(), 1000, model.decays)
    return _jax_step(
        functools.partial(train_step, model, optimizer),
        lambda: initial_state(model, optimizer, _SEED),
        batch,
        _mesh(len(batch["inputs"])),
    )


def _jax_step(
    update: Callable[[Any, Any], tuple[Any, dict]],
    initial: Callable[[], Any],
    batch: Batch,
    mesh: Any,
) -> tuple[dict, Step]:
    """Compiles `update` on the devices, and with the donated state, of the training loop."""
    import jax

    from mmrec_jax.train.mesh import replicated, shard_batch

    everywhere = replicated(mesh)
    state, placed = jax.jit(initial, out_shardings=everywhere)(), shard_batch(batch, mesh)
    start = time.perf_counter()
    program = jax.jit(update, donate_argnums=0, out_shardings=everywhere)
    compiled = program.lower(state, placed).compile()
    seconds = time.perf_counter() - start
    holder = [state]

    def step() -> float:
        holder[0], metrics = compiled(holder[0], placed)
        jax.block_until_ready((holder[0], metrics))
        return float(metrics["loss"])

    return {"version": f"jax {jax.__version__}", "compile_seconds": seconds}, step


def _torch_attention(fields: dict[str, Any], batch: Batch, name: str) -> tuple[dict, Step]:
    import torch

    from benchmarks.peers.torch_attention import make_train_step
    from mmrec_jax.models.attention.config import AttentionConfig

    compiled, on_card = name == "torch-compiled", name == "torch-cuda"
    torch.set_default_device("cuda" if on_card else "cpu")
    torch.manual_seed(_SEED)
    _, update = make_train_step(AttentionConfig(**fields), compiled=compiled)
    inputs, targets = (
        torch.as_tensor(batch[x]).long().to(torch.get_default_device())
        for x in ("inputs", "targets")
    )

    def step() -> float:
        with torch.autocast("cuda", torch.bfloat16, enabled=on_card):
            return update(inputs, targets)

    facts = {"version": f"torch {torch.__version__}", "compile_seconds": 0.0}
    if compiled:  # torch compiles at the first call
        start = time.perf_counter()
        step()
        facts["compile_seconds"] = time.perf_counter() - start
    return facts, step


def _published(name: str, fields: dict[str, Any], batch: Batch) -> tuple[dict, Step]:
    """A peer from `transformers`."""
    import functools

    import torch

    from benchmarks.peers.catalogue import random_model
    from benchmarks.peers.torch_training import make_step

    facts, peer, model = random_model(name, fields)
    update = make_step(model.train(), functools.partial(peer.logits, model))
    inputs, targets = (torch.from_numpy(batch[name]).long() for name in ("inputs", "targets"))
    return facts | {"compile_seconds": 0.0}, lambda: update(inputs, targets)


def _say(facts: dict) -> None:
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    main()
