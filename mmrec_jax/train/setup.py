"""From a config to everything that the loop needs, with every check before any compilation."""

import contextlib
import dataclasses
import json
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh
from numpy.typing import NDArray

from mmrec_jax.checkpoints.checkpointer import Checkpointer
from mmrec_jax.checkpoints.load import continued_values, load_base, with_base_model
from mmrec_jax.checkpoints.lock import lock_folder, unlock_folder
from mmrec_jax.checkpoints.resume import check_same_run, check_same_tokenizer
from mmrec_jax.checkpoints.saved_model import base_record, check_same_base
from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.config import Config
from mmrec_jax.config_tree import to_dict
from mmrec_jax.data.dataset import Dataset
from mmrec_jax.data.files.paths import require_outside
from mmrec_jax.data.train_iterator import TrainIterator, joined_progress
from mmrec_jax.dora.base import base_converter
from mmrec_jax.errors import UserError
from mmrec_jax.models.api import LanguageModel
from mmrec_jax.models.noise import read_noise_table
from mmrec_jax.objectives.api import Objective
from mmrec_jax.tokenizers.tokenizer import Tokenizer
from mmrec_jax.train.assembly import assemble, build_model, first_params, with_vocabulary
from mmrec_jax.train.compiled_steps import enable_compile_cache
from mmrec_jax.train.mesh import (
    abstract_on,
    check_shared_rows,
    distribute,
    make_mesh,
    split_cpu,
    state_shardings,
)
from mmrec_jax.train.processes import (
    barrier,
    gather,
    is_process_zero,
    process_zero_first,
    require_same,
    require_shared,
)
from mmrec_jax.train.stages import Stage, plan_stages
from mmrec_jax.train.state import TrainState, from_items, to_items
from mmrec_jax.tree import named_leaves


@dataclasses.dataclass
class Setup:
    """A run that is ready to step."""

    config: Config
    workdir: Workdir
    mesh: Mesh
    data: Dataset
    model: LanguageModel
    objectives: Mapping[str, Objective]
    optimizer: optax.GradientTransformation
    stages: tuple[Stage, ...]  # at least one: what precedes those of the config
    models: Mapping[int, LanguageModel]  # by the rows of a microbatch
    steps: int
    stage: Stage  # that the state is in
    read: dict[str, float]  # of the data before that stage, `TrainIterator.progress`
    base: dict[str, Any] | None  # what the run began with, for its checkpoints
    batches: TrainIterator
    checkpointer: Checkpointer
    making: Future[TrainState]  # `state`
    abstract: TrainState  # its shapes, dtypes and shardings
    start: int  # updates done in earlier sessions
    meta: dict[str, Any] | None  # of the checkpoint that the run continues from

    @property
    def state(self) -> TrainState:
        """That the session begins with; waits until it is there."""
        return self.making.result()

    def model_of(self, stage: Stage) -> LanguageModel:
        """The model with what it leaves open set for the batches of a stage."""
        return self.models[stage.config.train.microbatch_rows]

    def abstract_state(self, stage: Stage) -> TrainState:
        """Shapes, dtypes and shardings of the state in a stage."""
        return _of_stage(self.abstract, stage, self.model, self.mesh)

    def enter(self, stage: Stage, state: TrainState) -> TrainState:
        """Goes on in another stage, with its batches; states begin from nothing if they must."""
        before, self.stage = self.stage, stage
        if state.carried is not None and stage.shape != before.shape:
            rows, carried = stage.config.train.batch_size, self.abstract_state(stage).carried
            layout = jax.tree.map(lambda x: x.sharding, carried)
            begin = jax.jit(lambda: self.model.initial_state(rows), out_shardings=layout)
            state = dataclasses.replace(state, carried=begin())
        if not stage.same_data(before):
            self.read = joined_progress(gather(self.batches.progress()))
            self.batches.close()
            self.batches = stage.batches(self.data, self.read)
        return state


def set_up(config: Config, workdir: Path, *, fresh: bool, resume_step: int | None = None) -> Setup:
    """Reads the data, makes or finds the tokenizer, and restores a checkpoint.

    The lock of `workdir` is held from here on (`unlock_folder`), unless this raises. The newest
    checkpoint is continued, or that of `resume_step`, its successors moved aside; none if `fresh`.

    Raises:
      UserError: anything in the config, the files or the checkpoint is wrong, or another process
        is training in this folder.
    """
    folder = Workdir(workdir)
    for name, pattern in config.data.files.items():  # where its own files would become data
        require_outside(workdir, "--workdir", pattern, f"config.data.{name}")
    split_cpu(config)
    mesh = make_mesh(config)
    try:
        _lock(folder)
        return _set_up(config, folder, mesh, fresh=fresh, resume_step=resume_step)
    except BaseException:
        unlock_folder(folder.root, discard=True)
        raise


def _lock(folder: Workdir) -> None:
    """Takes the lock of the folder in process zero, for all."""
    refused = ""
    if is_process_zero():
        try:
            folder.require_own_run()
            lock_folder(folder.root)
        except UserError as error:
            refused = str(error)
    if refused := gather({"refused": refused})[0]["refused"]:
        raise UserError(refused)


def _set_up(
    config: Config, folder: Workdir, mesh: Mesh, *, fresh: bool, resume_step: int | None
) -> Setup:
    start, meta = 0, None
    if not fresh:
        with contextlib.closing(Checkpointer(folder.checkpoints, read_only=True)) as saved:
            start = saved.resume_step(resume_step)
            meta = saved.read_meta(start) if start else None
    require_same(str(start), f"{folder.checkpoints}: the processes see different steps; try again")
    where = str(folder.checkpoints / str(start))
    border = (meta or {}).get("stages", {"begun": 0, "read": {}})
    if meta is not None and (foreign := _foreign(meta)):
        raise UserError(
            f"{where} was written {foreign}, whose runs cannot be continued: begin another one "
            f"with --config.init_from={folder.root} and a new --workdir, or start anew with --fresh"
        )
    origin = load_base(config, folder, meta)
    if origin is not None:
        config = with_base_model(config, origin.model)
        check_shared_rows(config, mesh)
    if meta is not None:
        check_same_run(config, meta["config"], where, border["begun"])
    with process_zero_first("data"):  # it makes the tokenizer that they find
        data = load_data(config, folder, None if origin is None else origin.tokenizer)
    require_same(json.dumps(to_dict(config)), "the processes were given different configs")
    require_shared(folder.root, "--workdir")
    enable_compile_cache()
    stages, steps = plan_stages(config, data)
    for other in stages[1:]:  # refused before any compute
        other.batches(data, {}).close()
    stage = stages[border["begun"]]
    batches = stage.batches(data, border["read"])
    base, record = None, (meta or {}).get("base")
    # A run that trained all parameters and goes on has them in its checkpoint.
    if origin is not None and (config.adapters.used or not start):
        kept = base_converter(config.adapters) if config.adapters.used else None
        base = origin.read(mesh, kept)
        if record:
            check_same_base(record, base, where)
        record = base_record(base)
    family = with_vocabulary(config, data.tokenizer)
    table = _noise_table(config, data.tokenizer)
    params = None if base is None else base.params
    models = {
        each.train.microbatch_rows: build_model(each, family, mesh, params, steps, table)
        for each in (stage.config for stage in reversed(stages))
    }
    model = models[config.train.microbatch_rows]
    given = first_params(config, family, params)
    if base is not None and not start:
        given |= continued_values(config.adapters, model, base)
    del base, params  # what is frozen of it is in the model by now
    parts = assemble(config, model, data.tokenizer, mesh, steps, given)
    _check_prompt(config.train.sample_prompt, data.tokenizer)

    if fresh:
        if is_process_zero():
            folder.clear()
        barrier("cleared")
    checkpointer = Checkpointer(
        folder.checkpoints, keep_last=config.train.keep_last, keep_best=config.train.keep_best
    )
    if meta is not None:
        check_same_tokenizer(data.tokenizer.fingerprint, meta["tokenizer"], where)
    if start:
        abstract = _of_stage(parts.state, stage, model, mesh)
        restored, position = checkpointer.restore(start, to_items(abstract))
        making = Future[TrainState]()
        making.set_result(from_items(restored, abstract))
        batches.set_state(position)
        checkpointer.set_aside_later(start)
    else:
        sharding = jax.tree.map(lambda x: x.sharding, parts.state)
        places = named_leaves(sharding.params)
        given = {name: distribute(leaf, places[name]) for name, leaf in given.items()}
        make = jax.jit(parts.new_state, out_shardings=sharding, donate_argnums=1)
        # The step can be compiled meanwhile: this program takes the compiler seconds, too.
        background = ThreadPoolExecutor(1)
        making = background.submit(make, model, given)
        background.shutdown(wait=False)
        if jax.process_count() > 1:  # which must all do the same one after the other
            making.result()
    if is_process_zero():
        folder.write_config(config, model.config.vocab_size)
        data.tokenizer.save(folder.tokenizer)
    return Setup(
        config=config,
        workdir=folder,
        mesh=mesh,
        data=data,
        model=model,
        objectives=parts.objectives,
        optimizer=parts.optimizer,
        stages=stages,
        models=models,
        steps=steps,
        stage=stage,
        read=border["read"],
        base=record,
        batches=batches,
        checkpointer=checkpointer,
        making=making,
        abstract=parts.state,
        start=start,
        meta=meta,
    )


def _foreign(meta: Mapping[str, Any]) -> str:
    """What wrote a checkpoint that this version only reads models of; empty if it goes on."""
    if meta["format"] == 1:
        return "by mmrec_jax 0.1"
    guided = meta["config"].get("guided", {}).get("every")
    return "with config.guided.every, a sampling that was removed" if guided else ""


def load_data(config: Config, folder: Workdir, tokenizer: Tokenizer | None = None) -> Dataset:
    """The run's data, with the tokenizer of the base model or the one that the config says."""
    config.data.check(config)
    data = config.data.open(config, folder.tokenizer_cache, tokenizer)
    if tokenizer is not None:
        own = data.tokenizer.fingerprint
        check_same_tokenizer(own, tokenizer.fingerprint, config.init_from)
    if not data.evaluators:
        expected = "None where no document is held out: there is no validation loss"
        config.train.require(config.train.target_loss is None, "target_loss", expected)
    if "loss" not in data.evaluators:
        known = config.train.target_bits_per_byte is None
        expected = "None where no text is held out, of which the bits per byte were known"
        config.train.require(known, "target_bits_per_byte", expected)
    return data


def _noise_table(config: Config, tokenizer: Tokenizer) -> NDArray[np.float32] | None:
    if not config.noise.table:
        return None
    ids = {tokenizer.id_to_piece(index): index for index in range(tokenizer.vocab_size)}
    return read_noise_table(config.noise.table, ids)


def _check_prompt(prompt: str, tokenizer: Tokenizer) -> None:
    """Refuses a prompt that the tokenizer cannot spell, long before it is needed."""
    try:
        tokenizer.encode(prompt)
    except UserError as error:
        raise UserError(f"config.train.sample_prompt: {error}") from None


def _of_stage(abstract: TrainState, stage: Stage, model: LanguageModel, mesh: Mesh) -> TrainState:
    """Shapes, dtypes and shardings of a run's state, with the rows of a stage."""
    if abstract.carried is None:
        return abstract
    carried = jax.eval_shape(lambda: model.initial_state(stage.config.train.batch_size))
    state = dataclasses.replace(abstract, carried=carried)
    return abstract_on(state, state_shardings(state, model, mesh))
