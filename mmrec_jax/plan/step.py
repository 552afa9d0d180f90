"""The training step of a config for devices that need not be here: shapes, no weights, no data."""

from collections.abc import Iterator

import jax
import numpy as np

from mmrec_jax.config import Config
from mmrec_jax.dora.base import base_converter
from mmrec_jax.models.api import LanguageModel, Params
from mmrec_jax.plan.target import Target
from mmrec_jax.stages import staged
from mmrec_jax.tokenizers.byte import ByteTokenizer
from mmrec_jax.train.assembly import assemble, build_model, first_params
from mmrec_jax.train.compiled_steps import lower_refresh, lower_step
from mmrec_jax.train.mesh import abstract_on, mesh_over, model_shardings
from mmrec_jax.tree import map_named

# The length of a run whose length only its data says; the schedule's numbers depend on it.
_STEPS = 1000


def lower_steps(config: Config, target: Target) -> Iterator[tuple[str, jax.stages.Lowered]]:
    """The programs that a run of `config` steps with on these devices, by name.

    The step, and the refresh before some where the optimizer has a curvature; and as many for each
    shape of a batch that stages have besides. They are those of `train.py` (but for the factors of
    stages), with every row of `config.model.vocab_size`: no tokenizer is made.

    Raises:
      UserError: the config does not fit the devices, or asks for what there is not.
    """
    done = set()
    for number, (_, stage) in enumerate(staged(config)):
        shape = stage.train.batch_size, stage.train.accumulate, stage.data.seq_len
        if shape not in done:
            done.add(shape)
            for name, lowered in _lower_shape(stage, target):
                yield name + (f", stage {number}" if number else ""), lowered


def _lower_shape(config: Config, target: Target) -> Iterator[tuple[str, jax.stages.Lowered]]:
    mesh = mesh_over(config, target.devices)
    steps = config.train.steps or _STEPS
    tokenizer = ByteTokenizer()  # what is made for the ids of a vocabulary has the shapes of any
    tokenizer.vocab_size = min(tokenizer.vocab_size, config.model.vocab_size)

    def build(base: Params | None) -> LanguageModel:
        table = np.ones(config.model.vocab_size, np.float32) if config.noise.table else None
        return build_model(config, config.model, mesh, base, steps, table)

    base = jax.eval_shape(lambda: _base(config)) if config.init_from else None
    model = jax.eval_shape(build, base)
    model = abstract_on(model, model_shardings(model, mesh))
    given = jax.eval_shape(lambda base: first_params(config, config.model, base), base)
    parts = assemble(config, model, tokenizer, mesh, steps, given)
    run = config, mesh, model
    yield "step", lower_step(*run, parts.objectives, parts.optimizer, parts.state)
    if config.optim.uses_hessian:
        yield "refresh of the curvature", lower_refresh(*run, parts.state)


def _base(config: Config) -> Params:
    """What a run begins with, were it made here."""
    params = config.model.build().init(jax.random.key(0))
    return map_named(base_converter(config.adapters), params) if config.adapters.used else params
