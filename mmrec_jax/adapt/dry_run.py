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
from mmrec_jax.adapt.job import BASE, Job
from mmrec_jax.adapt.pipeline import make_plan, prepare_devices
from mmrec_jax.adapt.record import Record
from mmrec_jax.adapt.stages import own_names, stages
from mmrec_jax.checkpoints.load import open_model, with_base_model
from mmrec_jax.config import Config
from mmrec_jax.data.files.reading import find_sources
from mmrec_jax.data.kinds.text import TreebankConfig
from mmrec_jax.errors import UserError
from mmrec_jax.models.family_config import FamilyConfig
from mmrec_jax.plan.program import compile_program
from mmrec_jax.plan.step import lower_steps
from mmrec_jax.plan.target import Target, find_target

_GIB = 2**30
_GUESS = {"turkish": 0.35, "english": 0.28}  # tokens a byte, until a tokenizer has read the text


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
    record = Record(root)
    known = record.results(reasons)
    try:
        plan = make_plan(config, root, record, until=until, start=start)
        reasons = {step.stage.name: step.reason for step in plan}
    except UserError as error:
        yield f"planned without what is not here: {error}"
    job = Job(config, root, {**_expected(config), **known})
    model, is_here = _family(job)
    yield f"base: {job.base} ({'as it is here' if is_here else 'as config.model says'})"
    yield f"memory: of each {target.kind}, {target.memory / _GIB:.2f} GiB"
    costs: dict[Any, tuple[int, float]] = {}  # what decides a step's program: its cost
    for name, reason in reasons.items():
        line = f"{name:10}  {'run: ' + reason if reason else 'done before'}"
        size, steps, tokens, seconds = 0, 0, 0.0, 0.0
        runs = job.runs(name)
        for folder, run in runs.items():
            step, rows = _step(config, run, model), run.train.batch_size * run.data.seq_len
            shape = rows, run.data.seq_len, run.train.accumulate
            program = step.model, run.adapters.kind, run.noise, shape
            if program not in costs:
                with own_names(config, folder.name):
                    costs[program] = _cost(step, target, timed=not config.target)
            size = max(size, costs[program][0])
            number = run.train.steps or math.ceil((run.train.tokens or 0) / rows)
            steps, tokens = steps + number, tokens + (run.train.tokens or number * rows)
            seconds += number * costs[program][1]
        if size:
            line += f"; {size:,} bytes ({size / target.memory:.0%})"
        if tokens > len(runs):  # a token each is read of text that is not here
            line += f"; about {steps:,} steps, {tokens:,.0f} tokens"
            if seconds:
                line += f"; {seconds / steps:.2f} s a step, {seconds / 60:.0f} minutes"
        yield line


def _expected(config: AdaptConfig) -> dict[str, dict[str, Any]]:
    """What reading the text will find, about; of text that is not here that there is none."""
    size = 0
    with contextlib.suppress(UserError):
        if config.text:
            size = sum(source.size for source in find_sources(config.text, ""))
        else:
            size = sum(len(each.text.encode()) for each in TreebankConfig().load("train"))
    rates = {"tokens_per_byte": _GUESS}
    return {"analyse": {**rates, "texts": {"turkish": {"bytes": size}}}, "extend": rates}


def _family(job: Job) -> tuple[FamilyConfig, bool]:
    """The base's model, and whether that is known or `config.model` stands for it."""
    config = job.config
    if config.base or BASE in job.results:
        with contextlib.suppress(UserError):
            return open_model(job.base).model, True
    return config.model, False


def _step(config: AdaptConfig, run: Config, model: FamilyConfig) -> Config:
    """The run with the base's model, and as many rows as the extension will give it."""
    if run.extend.tokenizer:
        own = config.extension
        rows = -(-(model.vocab_size + own.vocab_size) // own.multiple) * own.multiple
        changed: Any = {"vocab_size": rows, "new_rows": rows - model.vocab_size}
        model = dataclasses.replace(model, **changed)
    return with_base_model(run, model)


def _cost(step: Config, target: Target, *, timed: bool) -> tuple[int, float]:
    """Bytes of one device, and seconds of a step on arrays of zeros; 0 where it is not timed."""
    size, seconds = 0, 0.0
    for _, lowered in lower_steps(step, target):
        size = max(size, compile_program(lowered).total)
        if timed:
            seconds = seconds or _time_step(lowered.compile())
    return size, seconds


def _time_step(compiled: jax.stages.Compiled) -> float:
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
