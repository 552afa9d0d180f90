"""Runs the stages of an adaptation that have to be run, in their order, and writes the report."""

import dataclasses
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from mmrec_jax.adapt.config import INSTRUCTED, AdaptConfig
from mmrec_jax.adapt.job import BASE, Job
from mmrec_jax.adapt.record import Record, StageRecord, fingerprint
from mmrec_jax.adapt.report import summarise, write_report
from mmrec_jax.adapt.stages import Stage, own_names, stages
from mmrec_jax.adapt.text import files_key
from mmrec_jax.checkpoints.load import open_model
from mmrec_jax.checkpoints.lock import lock_folder, unlock_folder
from mmrec_jax.config import Config, TrainConfig
from mmrec_jax.config_tree import to_dict
from mmrec_jax.errors import UserError
from mmrec_jax.memory import forget_peak, peak_memory
from mmrec_jax.train.compiled_steps import enable_compile_cache
from mmrec_jax.train.mesh import make_mesh, split_cpu

_FILES = "text", "english", "instructions"  # fields that name files
_REPLACED = "replaced"  # the folders of stages that were run again, with a number each


@dataclasses.dataclass(frozen=True)
class Step:
    """A stage in the plan: what it depends on now, and why it is run; "": it is not."""

    stage: Stage
    inputs: dict[str, Any]
    reason: str


def adapt(
    config: AdaptConfig, root: Path, *, until: str = "", start: str = "", command: str = ""
) -> None:
    """Runs what has not been run yet, or not with this config; says first what and why.

    Args:
      config: the adaptation.
      root: its folder.
      until: the last stage to be run; "": all.
      start: a stage that is run again with all that follow it, whatever has changed.
      command: what was typed, for the report.

    Raises:
      UserError: the config, a file or a text is wrong.
      SystemExit: a signal ended a stage; the same call goes on.
    """
    lock_folder(root)
    try:
        prepare_devices(config)
        record = Record(root)
        plan = make_plan(config, root, record, until=until, start=start)
        names = [stage.name for stage in stages(config)]
        width = max(map(len, names))
        for step in plan:
            print(f"  {step.stage.name:{width}}  {step.reason or 'done before'}", flush=True)
        todo = [step for step in plan if step.reason]
        _check(config, root, [step.stage.name for step in todo])
        for number, step in enumerate(todo, 1):
            print(f"[{number}/{len(todo)}] {step.stage.name}", flush=True)
            _run(step, Job(config, root, record.results(names)), record)
            _report(Job(config, root, record.results(names)), record, names, command)
        if not todo:
            _report(Job(config, root, record.results(names)), record, names, command)
    finally:
        unlock_folder(root)


def make_plan(
    config: AdaptConfig, root: Path, record: Record, *, until: str = "", start: str = ""
) -> list[Step]:
    """Each stage up to `until`, and why it has to be run."""
    every = stages(config)
    names = [stage.name for stage in every]
    for option, name in (("--until", until), ("--from", start)):
        if name and name not in names:
            raise UserError(f"{option} is {name!r}; the stages are {', '.join(names)}")
    if start and until and names.index(start) > names.index(until):
        raise UserError(f"--from {start} comes after --until {until}")
    plain, plan = to_dict(config), []
    prints: dict[str, str] = {}
    for number, stage in enumerate(every):
        inputs = _inputs(stage, config, plain, prints)
        prints[stage.name] = fingerprint(inputs)
        found = record.stages.get(stage.name)
        if start and number >= names.index(start):
            reason = f"--from {start}"
        elif found is None:
            reason = "not run yet"
        elif changed := found.difference(inputs):
            reason = changed
        else:
            reason = "" if found.done else "goes on where it was"
        plan.append(Step(stage, inputs, reason))
        if stage.name == until:
            break
    return plan


def prepare_devices(config: AdaptConfig) -> None:
    """Splits a CPU as far as the rows of all stages divide; before JAX begins.

    Raises:
      UserError: the rows of a stage do not divide over the devices that there are.
    """
    shapes: dict[str, Any] = {**config.lengths, "evaluation": config.evaluation}
    if not config.base:
        shapes[BASE] = config.pretrain
    rows = {name: x.batch_size // getattr(x, "accumulate", 1) for name, x in shapes.items()}

    def run(rows: int) -> Config:
        train = TrainConfig(batch_size=rows, devices=config.devices, steps=1)
        return Config(mesh=config.mesh, train=train)

    split_cpu(run(math.gcd(*rows.values())))
    for name, each in rows.items():
        with own_names(config, name):
            make_mesh(run(each))
    enable_compile_cache()


def _check(config: AdaptConfig, root: Path, names: Sequence[str]) -> None:
    """Refuses what stages that are run late would refuse."""
    if INSTRUCTED in names:
        with own_names(config, INSTRUCTED):
            (run,) = Job(config, root, {}).runs(INSTRUCTED).values()
            run.data.load()
    if "evaluate" in names and config.evaluation.tasks:
        from mmrec_jax.evaluation.harness import find_tasks  # an extra

        find_tasks(config.evaluation.tasks)


def _inputs(
    stage: Stage, config: AdaptConfig, plain: dict[str, Any], prints: dict[str, str]
) -> dict[str, Any]:
    """What a stage depends on, by the names that are told where it changes."""
    inputs: dict[str, Any] = {}
    for field in stage.fields:
        group, _, name = field.partition(".")
        value = plain[group][name] if name else plain[group]
        if field in _FILES and value:
            inputs[f"the text of config.{field}"] = files_key(value, f"config.{field}")
        elif isinstance(value, dict):
            inputs |= {f"config.{field}.{name}": x for name, x in value.items()}
        else:
            inputs[f"config.{field}"] = value
    if stage.name == "analyse" and config.base:
        base = open_model(config.base)
        facts = base.step, base.tokenizer.fingerprint, to_dict(base.model)
        inputs["the base of config.base"] = fingerprint({"facts": facts})
    return inputs | {f"stage {name}": prints[name] for name in stage.needs if name in prints}


def _run(step: Step, job: Job, record: Record) -> None:
    name = step.stage.name
    found = record.stages.get(name)
    if found is None or found.done or found.difference(step.inputs):
        _set_aside(job.root, name)
        found = record.stages[name] = StageRecord(step.inputs)
    found.sessions += 1
    record.write()
    begun = time.perf_counter()
    forget_peak()
    try:
        found.result = step.stage.run(job)
        found.done = True
    except OSError as error:  # a full disk, say
        raise UserError(
            f"{error.filename or job.folder(name)}: {error.strerror or error}. The stage {name} "
            "stops; the same command goes on"
        ) from error
    finally:
        found.seconds += time.perf_counter() - begun
        found.peak_bytes = max(found.peak_bytes or 0, peak_memory())
        statistics = jax.local_devices()[0].memory_stats() or {}
        found.peak_device_bytes = statistics.get("peak_bytes_in_use")
        record.write()
        jax.clear_caches()  # the programs of a stage are of no use to the next


def _set_aside(root: Path, name: str) -> None:
    """Moves the folder of a stage that is run anew out of the way, and says where it is."""
    folder = root / name
    if not folder.exists():
        return
    aside = root / _REPLACED
    aside.mkdir(exist_ok=True)
    target = aside / f"{name}-{sum(each.name.startswith(name) for each in aside.iterdir()) + 1}"
    folder.rename(target)
    print(f"{folder} of before is now {target}", flush=True)


def _report(job: Job, record: Record, names: Sequence[str], command: str) -> None:
    report = summarise(job, record, names, command)
    write_report(report, job.root)
    if report["finished"]:
        print(f"{job.root}: report.html, report.json, export/", flush=True)
