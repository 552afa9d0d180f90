"""One training run of MM-Rec or of attention, by the library's own data, steps and evaluation.

What `train.py` does, in this process, without checkpoints, text samples or a target loss.
"""

import dataclasses
import functools
import math
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.matching import matching, parameters_of
from benchmarks.run_log import Record, RunLog
from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.config import Config, TrainConfig
from mmrec_jax.data.dataset import Dataset
from mmrec_jax.data.text_dataset import TextDataset
from mmrec_jax.errors import UserError
from mmrec_jax.evaluation.registry import EVALUATORS, EvaluationRequest
from mmrec_jax.models.attention.config import AttentionConfig
from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.optim.build import build_optimizer
from mmrec_jax.train.assembly import build_model, build_objectives, with_vocabulary
from mmrec_jax.train.compiled_steps import enable_compile_cache, lower_step
from mmrec_jax.train.mesh import make_mesh, shard_batch, split_cpu, state_shardings
from mmrec_jax.train.setup import load_data
from mmrec_jax.train.stages import plan_stages
from mmrec_jax.train.state import TrainState, initial_state
from mmrec_jax.tree import count

MODELS = ("mmrec", "attention")
TOLERANCE = 0.02  # of the attention model's parameters, as a share of MM-Rec's
_CURVE_POINTS = 25


def run_once(log: RunLog, model: str, config: Config, workdir: Path) -> Record:
    """The run from the log; if it is not there, it is done and written there first."""
    done = log.find(model, config)
    if done is None:
        print(f"{model}, lr {config.optim.lr:g}, seed {config.train.seed} ...", flush=True)
        done = log.append(model, config, train(model, config, workdir))
        print(f"  {done['metrics']} in {done['seconds']:.0f} s", flush=True)
    return done


def train(model: str, config: Config, workdir: Path) -> dict[str, Any]:
    """Trains one model for the run's length and evaluates it.

    Args:
      model: of `MODELS`. The attention model has the width, the layers and (to `TOLERANCE`) the
        parameters of the MM-Rec model that the config describes, and `num_memories` heads.
      config: the run, of MM-Rec. `train.eval_every` says when it is evaluated besides the end.
      workdir: where the tokenizer is kept for later runs.

    Returns:
      `parameters`, `steps`, `tokens` (read in training), `seconds` and `cpu_seconds` (of
      everything), `compile_seconds` and `tokens_per_second` (of training alone); `data`: its
      sizes; `curve`: `train` and `validation`, lists of [step, loss in nats], each of the first
      the mean since the one before; `metrics`: what the evaluators of the data and of `train` find
      at the end, or None if the loss was not finite at step `diverged_at`.

    Raises:
      UserError: the config or its files are wrong, or ask for what attention cannot do.
    """
    begin, processor = time.perf_counter(), time.process_time()
    check(model, config)
    split_cpu(config)
    mesh = make_mesh(config)
    data = _load(config, Workdir(workdir))
    config = of_family(model, config, data.tokenizer.vocab_size)
    enable_compile_cache()
    batches = data.batches(config.train.batch_size)
    _, steps = plan_stages(config, data)
    family = with_vocabulary(config, data.tokenizer)
    network = build_model(config, family, mesh, None, steps)
    objectives = build_objectives(config, network, data.tokenizer)
    optimizer = build_optimizer(config.optim, steps, network.decays)

    def new_state() -> TrainState:
        rows = config.train.batch_size if config.train.carry_state else None
        return initial_state(network, objectives, optimizer, config.train.seed, rows)

    shardings = state_shardings(jax.eval_shape(new_state), network, mesh)
    state = jax.jit(new_state, out_shardings=shardings)()
    compiling = time.perf_counter()
    lowered = lower_step(config, mesh, network, objectives, optimizer, state)
    update = lowered.compile()
    compile_seconds = time.perf_counter() - compiling

    def score(state: TrainState) -> dict[str, float]:
        request = EvaluationRequest(
            network, state.params, data, config, objectives, mesh, int(state.step)
        )
        names = (*config.data.evaluators, *config.train.evaluators)
        found = (EVALUATORS[name](request).metrics for name in names)
        return {name: value for metrics in found for name, value in metrics.items()}

    losses: list[float] = []
    validation: list[list[float]] = []
    metrics: dict[str, float] | None = None
    diverged_at, tokens, training = None, 0, 0.0
    mark = time.perf_counter()
    for number in range(1, steps + 1):
        state, values = update(network, state, shard_batch(next(batches), mesh))
        losses.append(float(values["loss"]))
        tokens += int(values["tokens"])
        if not math.isfinite(losses[-1]):
            diverged_at = number
            break
        if number == steps or number % config.train.eval_every == 0:
            jax.block_until_ready(state)
            training += time.perf_counter() - mark
            metrics = score(state)
            if not math.isfinite(metrics["loss"]):
                diverged_at = number
                break
            validation.append([number, metrics["loss"]])
            mark = time.perf_counter()
    return {
        "parameters": count(state.params),
        "steps": steps,
        "tokens": tokens,
        "seconds": round(time.perf_counter() - begin, 1),
        "cpu_seconds": round(time.process_time() - processor, 1),
        "compile_seconds": round(compile_seconds, 1),
        "tokens_per_second": round(tokens / training) if training else None,
        "data": _sizes(data),
        "curve": {"train": _thinned(losses), "validation": validation},
        "metrics": metrics if diverged_at is None else None,
        "diverged_at": diverged_at,
    }


def of_family(model: str, config: Config, vocab_size: int) -> Config:
    """The run with the model of that family, for a tokenizer of that size.

    Raises:
      UserError: no attention model of the same width and layers is near enough in size.
    """
    shape = dataclasses.replace(config.model, vocab_size=vocab_size)
    return dataclasses.replace(
        config, model=attention_shape(shape) if model == "attention" else shape
    )


def attention_shape(config: MMRecConfig) -> AttentionConfig:
    """The attention model to compare with this MM-Rec model.

    Raises:
      UserError: none of the same width and layers is near enough in size.
    """
    parameters = count(jax.eval_shape(config.build().init, jax.random.key(0)))
    shape = matching(
        parameters,
        vocab_size=config.vocab_size,
        model_dim=config.D,
        num_layers=config.num_layers,
        num_heads=config.num_memories,
    )
    if abs(parameters_of(shape) / parameters - 1) > TOLERANCE:
        raise UserError(
            f"config.model has {parameters:,} parameters; the nearest attention model has "
            f"{parameters_of(shape):,}, which is not within {TOLERANCE:.0%}"
        )
    return shape


def check(model: str, config: Config) -> None:
    """Refuses, before any compute, what cannot be compared.

    Raises:
      UserError: the model is unknown, the optimizer wants estimates of the curvature, or a field is
        set that attention has no counterpart of.
    """
    if model not in MODELS:
        raise UserError(f"model {model!r} is unknown; it must be one of {', '.join(MODELS)}")
    if config.optim.uses_hessian:
        raise UserError(
            f'config.optim.name is "{config.optim.name}"; no curvature is estimated here, so it '
            "must be adamw, lion or muon (optimizers are compared by benchmarks.optimizers)"
        )
    if model == "mmrec":
        return
    for name, value, expected in (
        ("model.dropout", config.model.dropout, 0.0),
        ("model.dtype", config.model.dtype, "float32"),
        ("model.param_dtype", config.model.param_dtype, "float32"),
        ("train.carry_state", config.train.carry_state, False),
    ):
        if value != expected:
            raise UserError(
                f"config.{name} is {value!r}; with the attention model it must be {expected!r}"
            )


def _load(config: Config, folder: Workdir) -> Dataset:
    """As `load_data`; the text of the last run is at hand, whatever its shuffle."""
    if "task" in config.data.evaluators:
        return load_data(config, folder)
    alike = Config(
        model=MMRecConfig(vocab_size=config.model.vocab_size),
        data=dataclasses.replace(config.data, seed=0),
        tokenizer=config.tokenizer,
        train=TrainConfig(steps=1, carry_state=config.train.carry_state),
        turkish=config.turkish,
    )
    return dataclasses.replace(_load_text(alike, folder), config=config.data)


@functools.lru_cache(maxsize=1)
def _load_text(config: Config, folder: Workdir) -> Any:
    return load_data(config, folder)


def _sizes(data: Dataset) -> dict[str, int]:
    sizes = {"vocabulary": data.tokenizer.vocab_size}
    if isinstance(data, TextDataset):
        held_out = [] if data.validation is None else [data.validation]
        for name, stores in (("train", data.train), ("validation", held_out)):
            sizes |= {
                f"{name}_documents": sum(store.num_documents for store in stores),
                f"{name}_bytes": sum(store.num_bytes for store in stores),
                f"{name}_tokens": sum(store.num_pairs for store in stores),
            }
    return sizes


def _thinned(losses: list[float]) -> list[list[float]]:
    """About 25 points [step, mean loss since the point before]; what is not finite is left out."""
    finite = [loss for loss in losses if math.isfinite(loss)]
    parts = np.array_split(np.asarray(finite), min(_CURVE_POINTS, max(1, len(finite))))
    ends = np.cumsum([len(part) for part in parts])
    return [
        [int(end), round(float(part.mean()), 4)]
        for end, part in zip(ends, parts, strict=True)
        if len(part)
    ]
