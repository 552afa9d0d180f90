"""What a training step with DoRA costs beside one with LoRA: time, memory, optimizer state.

    python -m benchmarks.adapters

Steps of AdamW on random tokens, the methods in turn in one process, so that a slow moment does not
fall on one of them alone; the median of the ratios within each round. Memory is what XLA reserves
for one step: its arguments (base, adapters, moments, batch) and its temporaries. Prints Markdown.
"""

import argparse
import dataclasses
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import jax

from benchmarks.markdown import header, row
from benchmarks.workload import Batch, plain_objectives, random_batch
from mmrec_jax.commands.options import require_positive
from mmrec_jax.config import AdapterConfig, OptimConfig
from mmrec_jax.dora.adapted_model import adapt, adapter_rules
from mmrec_jax.errors import exit_on_user_error
from mmrec_jax.models.api import LanguageModel
from mmrec_jax.models.mmrec.sizes import SIZES
from mmrec_jax.optim.build import build_optimizer
from mmrec_jax.train.state import TrainState, initial_state
from mmrec_jax.train.step import make_train_step
from mmrec_jax.tree import count, num_bytes

METHODS = ("lora", "dora", "all parameters")  # the ratios are to the first


@dataclasses.dataclass
class Method:
    """One way of training, compiled, and what was measured of it."""

    step: Callable[[LanguageModel, TrainState, Batch], tuple[TrainState, Any]]
    model: LanguageModel
    state: TrainState
    bytes: int
    seconds: list[float] = dataclasses.field(default_factory=list)


def main() -> int:
    """Measures and prints the table; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="small", choices=sorted(SIZES))
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=256, help="of a row")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    options = parser.parse_args()
    with exit_on_user_error():
        require_positive(options, "rows", "tokens", "rank", "rounds")
        print("\n".join(measure(options)))
    return 0


def measure(options: argparse.Namespace) -> list[str]:
    """The table for some options."""
    config = SIZES[options.size].fitted(options.rows, jax.devices()[0].platform)
    batch = random_batch(options.rows, options.tokens, config.vocab_size)
    model = config.build()
    methods = {name: compile_method(model, name, options.rank, batch) for name in options.methods}
    for _ in range(options.rounds + 1):
        for method in methods.values():
            begin = time.perf_counter()
            method.state, metrics = method.step(method.model, method.state, batch)
            jax.block_until_ready(metrics)
            method.seconds.append(time.perf_counter() - begin)
    for method in methods.values():
        del method.seconds[0]  # the first step also pages memory in
    size = count(jax.eval_shape(model.init, jax.random.key(0)))
    return [
        f"{options.size}: {size:,} parameters, {options.rows} x {options.tokens} tokens, rank "
        f"{options.rank}, {options.rounds} rounds",
        "",
        *table(methods),
    ]


def compile_method(model: LanguageModel, name: str, rank: int, batch: Batch) -> Method:
    """A method at its start."""
    if name != METHODS[-1]:
        fields: dict[str, Any] = {"kind": name, "rank": rank}
        rules = adapter_rules(AdapterConfig(**fields), model)
        base = jax.jit(model.init)(jax.random.key(0))
        model = adapt(model, base, rules)
    optimizer, objectives = build_optimizer(OptimConfig(), 1000, model.decays), plain_objectives()
    state = jax.jit(lambda model: initial_state(model, objectives, optimizer, 0))(model)
    step = make_train_step(optimizer, objectives)
    compiled = jax.jit(step, donate_argnums=1).lower(model, state, batch).compile()
    memory = compiled.memory_analysis()
    assert memory is not None
    used = memory.argument_size_in_bytes + memory.temp_size_in_bytes
    used += memory.output_size_in_bytes - memory.alias_size_in_bytes
    return Method(compiled, model, state, used)


def table(methods: dict[str, Method]) -> list[str]:
    """Markdown of what was measured."""
    titles = ("trained", "numbers", "optimizer MB", "s/step", "of LoRA's", "MB", "of LoRA's")
    lines = header(titles)
    for name, method in methods.items():
        reference = None if name == METHODS[0] else methods.get(METHODS[0])
        times = sizes = ""
        if reference is not None:
            pairs = zip(method.seconds, reference.seconds, strict=True)
            times = f"{median(mine / other for mine, other in pairs):.2f}"
            sizes = f"{method.bytes / reference.bytes:.2f}"
        numbers, moments = count(method.state.params), num_bytes(method.state.opt_state)
        spread = f"{min(method.seconds):.2f} to {max(method.seconds):.2f}"
        lines.append(
            row(
                [
                    name,
                    f"{numbers:,}",
                    f"{moments / 2**20:.1f}",
                    f"{median(method.seconds):.2f} ({spread})",
                    times,
                    f"{method.bytes / 2**20:,.0f}",
                    sizes,
                ]
            )
        )
    return lines


if __name__ == "__main__":
    raise SystemExit(main())
