"""What an adaptation would take: stages, tokens, memory by the compiler, time by a step."""

import contextlib
import dataclasses
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from mmrec_jax.adapt.config import AdaptConfig
from mmrec_jax.adapt.pipeline import make_plan, prepare_devices
from mmrec_jax.adapt.record import Record
from mmrec_jax.adapt.runs import ALIGNED, INSTRUCTED, TRAINING, Rates
from mmrec_jax.adapt.stages import Job, stages
from mmrec_jax.checkpoints.load import open_model
from mmrec_jax.config import Config, ExtendConfig, TrainConfig
from mmrec_jax.data.files.reading import find_sources
from mmrec_jax.data.kinds.text import TreebankConfig
from mmrec_jax.errors import UserError
from mmrec_jax.models.family_config import FamilyConfig
from mmrec_jax.plan.program import compile_program
from mmrec_jax.plan.step import lower_steps
from mmrec_jax.plan.target import Target, find_target
from mmrec_jax.settings import role

_GIB = 2**30
_GUESS = Rates(turkish=0.35, english=0.28)  # tokens a byte, until a tokenizer has read the text


def dry_run(config: AdaptConfig, root: Path, *, until: str = "", start: str = "") -> Iterator[str]:
    """Lines that say which stages would be run, and what they would take; nothing is written.

    The memory is the compiler's account of the training step for `config.target`, or this machine,
    where a step is timed, too. A base or text that is not here is planned without: by
    `config.model` and by lengths in tokens.

    Raises:
      UserError: a field is wrong, or the compiler for the target is not installed.
    """
    if config.target:
        jax.config.update("jax_platforms", "cpu")  # nothing is run
    else:
        prepare_devices(config)
    target = find_target(config.target) if config.target else _here()
    reasons = {stage.name: "not run yet" for stage in stages(config)}
    job = Job(config, root, Record(root).results(reasons))
    try:
        plan = make_plan(config, root, Record(root), until=until, start=start)
        reasons = {step.stage.name: step.reason for step in plan}
    except UserError as error:
        yield f"planned without what is not here: {error}"
    model, known = _family(job)
    yield f"base: {job.base} ({'as it is here' if known else 'as config.model says'})"
    yield f"memory: of each {target.kind}, {target.memory / _GIB:.2f} GiB"
    taken: dict[Config, tuple[int, float]] = {}
    for name, reason in reasons.items():
        line = f"{name:10}  {'run: ' + reason if reason else 'done before'}"
        found = _training(job, name, model)
        if found is not None:
            step, tokens = found
            if step not in taken:
                taken[step] = _cost(step, target, timed=not config.target)
            size, seconds = taken[step]
            line += f"; {size:,} bytes ({size / target.memory:.0%})"
            if tokens is not None:
                steps = math.ceil(tokens / (step.train.batch_size * step.data.seq_len))
                line += f"; about {steps:,} steps, {tokens:,.0f} tokens"
                if seconds:
                    line += f"; {seconds:.2f} s a step, {steps * seconds / 60:.0f} minutes"
        yield line


def _training(job: Job, name: str, model: FamilyConfig) -> tuple[Config, float | None] | None:
    """The step of a stage, and the tokens it reads if they are known; None: it trains nothing."""
    config, runs = job.config, job.runs
    if name == "base":
        own = config.pretrain
        return _step(runs.pretrain(), model), own.steps * own.batch_size * own.seq_len
    extended = _extended(config, model) if config.extends else model
    if name == INSTRUCTED:
        return _step(runs.instruct(""), extended), config.instruct.tokens
    if name == "control":
        run = runs.text(TRAINING[0], 1.0, _GUESS, extended=False)
        read = (ALIGNED, *TRAINING) if config.aligns else TRAINING
        found = [_tokens(job, stage, "base") for stage in read]
        known = [tokens for tokens in found if tokens is not None]
        return _step(run, model), sum(known) if len(known) == len(found) else None
    if name not in (ALIGNED, *TRAINING):
        return None
    run = runs.text(name, 1.0, _GUESS, extended=config.extends)
    return _step(run, extended), _tokens(job, name, "extend")


def _step(run: Config, model: FamilyConfig) -> Config:
    """What decides the program of a run's step, alike where that is alike."""
    names = [field.name for field in dataclasses.fields(model) if role(field) == "run"]
    own = {name: getattr(run.model, name) for name in names if hasattr(run.model, name)}
    train = run.train
    return dataclasses.replace(
        run,
        model=dataclasses.replace(model, **own),
        extend=ExtendConfig(),
        adapters=dataclasses.replace(run.adapters, init_from=""),
        data=TreebankConfig(seq_len=run.data.seq_len),
        optim=dataclasses.replace(run.optim, lr=1e-3),
        train=TrainConfig(
            steps=1000,
            batch_size=train.batch_size,
            accumulate=train.accumulate,
            devices=train.devices,
        ),
    )


def _tokens(job: Job, stage: str, which: str) -> float | None:
    """That a stage reads with the tokenizer of the "base" or the extended one; None: unknown."""
    config, share = job.config, job.config.english_share
    with contextlib.suppress(KeyError):
        return job.length(stage) * job.rates(which).mixed(share)
    with contextlib.suppress(UserError):  # the text has not been read yet, or is not here
        size = sum(source.size for source in find_sources(config.text, "")) if config.text else 0
        size = size or sum(len(each.text.encode()) for each in TreebankConfig().load("train"))
        return job.runs.size(stage, _GUESS, size) * _GUESS.mixed(share)
    tokens: int | None = getattr(config, stage).tokens
    return tokens


def _family(job: Job) -> tuple[FamilyConfig, bool]:
    """The base's model, and whether that is known or `config.model` stands for it."""
    config = job.config
    if config.base or "base" in job.results:
        try:
            return open_model(job.base).model, True
        except UserError:
            return config.model, False
    return dataclasses.replace(config.model, vocab_size=config.pretrain.vocab_size), False


def _extended(config: AdaptConfig, model: FamilyConfig) -> FamilyConfig:
    """With the rows of new tokens behind those of the base."""
    own = config.extension
    least = -(-(model.vocab_size + own.vocab_size) // own.multiple) * own.multiple
    changed: Any = {"vocab_size": least, "new_rows": least - model.vocab_size}
    return dataclasses.replace(model, **changed)


def _cost(step: Config, target: Target, *, timed: bool) -> tuple[int, float]:
    """Bytes of one device, and seconds of a step on arrays of zeros; 0 where it is not timed."""
    size, seconds = 0, 0.0
    for _, lowered in lower_steps(step, target):
        size = max(size, compile_program(lowered).total)
        if timed:
            seconds = seconds or time_step(lowered.compile())
    return size, seconds


def time_step(compiled: jax.stages.Compiled) -> float:
    """Seconds of the second call, on zeros."""
    begun = 0.0
    for _ in range(2):
        shapes, places = compiled.args_info[0], compiled.input_shardings[0]
        make = jax.tree.map(
            lambda x, place: jax.device_put(jnp.zeros(x.shape, x.dtype), place), shapes, places
        )
        begun = time.perf_counter()
        jax.block_until_ready(compiled(*make))
    return time.perf_counter() - begun


def _here() -> Target:
    """The devices of this machine."""
    devices = tuple(jax.local_devices())
    statistics = devices[0].memory_stats() or {}
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // len(devices)
    return Target(devices, statistics.get("bytes_limit", host))
