"""A model as its files say it is, before and after its parameters are read; and as a base."""

import dataclasses
import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from jax.sharding import Mesh

from mmrec_jax.checkpoints.identity import difference, identity
from mmrec_jax.config import Config
from mmrec_jax.errors import UserError
from mmrec_jax.models.api import Params
from mmrec_jax.models.family_config import FamilyConfig
from mmrec_jax.models.vocabulary import NEW_ROWS
from mmrec_jax.pretrained.reading import Convert
from mmrec_jax.quantised import Quantised
from mmrec_jax.tokenizers.tokenizer import Tokenizer
from mmrec_jax.tree import named_leaves


@dataclasses.dataclass(frozen=True)
class SavedModel:
    """A model as it was at one step of its run, whose parameters are not read yet.

    A pretrained model of others is of step 0, of a run that would have left all to the defaults.
    """

    root: Path  # of the run; of a pretrained model what it was called
    config: Config  # of the run
    model: FamilyConfig  # with the vocabulary of its tokenizer
    step: int
    tokenizer: Tokenizer
    read_params: "Callable[[Mesh | None, Convert | None], Params]"

    def read(self, mesh: Mesh | None = None, convert: Convert | None = None) -> "TrainedModel":
        """With the parameters on the first device, or as the model's table says on `mesh`.

        `convert` is what is kept of each: see `pretrained.reading.Convert`; None: its numbers,
        whatever they are stored as.

        Raises:
          UserError: the files are damaged, or hold what cannot be quantised.
        """
        params = self.read_params(mesh, convert)
        for name, leaf in named_leaves(params).items():
            if isinstance(leaf, Quantised) and not jnp.all(jnp.isfinite(leaf.scales)):
                raise UserError(f"{self.root}: {name} has numbers that are not finite")
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(SavedModel)}
        return TrainedModel(**fields, params=params)

    def require_text(self) -> None:
        """Refuses a model that was trained on a task and writes no text, with a `UserError`."""
        data = self.config.data
        if data.prompt_style == "none":
            raise UserError(
                f'{self.root}: this model was trained on the task "{data.source}": it answers what '
                "it reads and writes no text of its own. To score it: mmrec eval loss "
                f"--workdir={self.root}"
            )


@dataclasses.dataclass(frozen=True)
class TrainedModel(SavedModel):
    """A model with its parameters, adapters merged."""

    params: Any

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """What no other base shares, without the rows of new tokens: see `identity.py`."""
        leaves = named_leaves(self.params)
        old = {name: leaf for name, leaf in leaves.items() if not re.search(NEW_ROWS, name)}
        return identity(self.model, old)


def base_record(base: TrainedModel) -> dict[str, Any]:
    """What a run keeps of the model that it began with, fit for JSON."""
    return {
        "run": str(base.root.resolve() if base.root.exists() else base.root),  # or a Hub id
        "step": base.step,
        "identity": base.identity,
    }


def check_same_base(record: dict[str, Any], base: TrainedModel, where: str) -> None:
    """Refuses a base that is not the recorded one, bit for bit, naming the first difference."""
    differing = difference(record["identity"], base.identity)
    if differing:
        raise UserError(
            f"{where} has adapters of another base ({record['run']}, step {record['step']}) than "
            f"{base.root}, step {base.step}: {differing}"
        )
