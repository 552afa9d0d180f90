"""A model with adapters on a frozen base: a `LanguageModel` whose parameters are the adapters."""

from collections.abc import Sequence
from typing import Any, Self

import flax.struct
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from mmrec_jax.adapter_config import AdapterConfig
from mmrec_jax.dora.adapter import Adapter, init, nodes, partition_specs, trained
from mmrec_jax.dora.interception import intercept
from mmrec_jax.dora.rules import AdapterRule, RowRule, Rule, WholeRule, all_linear, choose_whole
from mmrec_jax.dora.transform import apply, squares
from mmrec_jax.models.api import LanguageModel, Output, Params
from mmrec_jax.models.vocabulary import NEW_ROWS
from mmrec_jax.models.wrapper import Inputs, Wrapper
from mmrec_jax.tree import map_named, named_leaves, nested
from mmrec_jax.typing import Array

Rules = tuple[Rule, ...]


@flax.struct.dataclass
class AdaptedModel(Wrapper):
    """The inner model with adapters put into its base, which has neither gradient nor moments."""

    inner: Any
    base: Any  # the inner model's parameters, without those that are trained whole
    squares: Any  # `dora.squares`, which do not change in training
    rules: Rules = flax.struct.field(pytree_node=False)
    # Paths, shapes and dtypes in the base of what is trained whole.
    whole: tuple[tuple[str, jax.ShapeDtypeStruct], ...] = flax.struct.field(pytree_node=False)
    dropout: float = flax.struct.field(pytree_node=False)
    detach_norm: bool = flax.struct.field(pytree_node=False)

    def init(self, key: Array) -> Params:
        """Adapters at which the model is the base; what is trained whole is 0 (`first_values`)."""
        zeros = {name: jnp.zeros(like.shape, like.dtype) for name, like in self.whole}
        return init(key, nested(named_leaves(self.base) | zeros), self.rules)

    def forward(self, params: Params, inputs: Inputs, options: dict[str, Any]) -> Output:
        """With the adapters, whose dropout is for training alone."""
        # No module calls the head, where its adapters could be intercepted.
        head = {
            name: params[name] for name in self.inner.head_parameters if _adapts(params.get(name))
        }
        own = {name: self.base.get(name, {}) for name in head}
        with intercept(
            self.base | apply(own, head, detach_norm=self.detach_norm),
            {name: part for name, part in params.items() if name not in head},
            squares=self.squares,
            dropout=0.0 if options.get("training") is None else self.dropout,
            detach_norm=self.detach_norm,
        ) as variables:
            others = {name: value for name, value in variables.items() if name != "params"}
            return self.inner.apply(variables["params"], *inputs, collections=others, **options)

    def partition_specs(self, params: Params) -> Any:
        """The adapters lie where the axes of their kernels do."""
        return partition_specs(params, self._matrix_specs())

    def kept_specs(self) -> Self:
        """The squares lie as their kernels do, too."""
        specs = self._matrix_specs()
        kept: Self = self.replace(
            inner=self.inner.kept_specs(),
            base=self.inner.partition_specs(self.base),
            squares=map_named(lambda name, _: specs[name], self.squares),
        )
        return kept

    def _matrix_specs(self) -> dict[str, PartitionSpec]:
        """Of each matrix of the inner model, however it is stored."""
        shapes = {
            name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
            for name, leaf in named_leaves(self.base).items()
        }
        return named_leaves(self.inner.partition_specs(nested(shapes | dict(self.whole))))

    def decays(self, name: str) -> bool:
        """Matrices and rows decay, magnitudes do not, and what is whole does as in the model."""
        *path, part = name.split("/")
        return self.inner.decays("/".join(path)) if part == "value" else part != "m"

    def unwrap(self, params: Params) -> tuple[LanguageModel, Params]:
        """The inner model, with the adapters put into its parameters."""
        return self.inner.unwrap(apply(self.base, params))


def _adapts(params: Params) -> bool:
    return any(isinstance(node, Adapter) for node in nodes(params).values())


def adapt(
    model: LanguageModel,
    base: Params,
    rules: Sequence[Rule],
    *,
    dropout: float = 0.0,
    detach_norm: bool = True,
) -> AdaptedModel:
    """The model with adapters on its frozen parameters, `base`.

    It does not hold what is trained whole: that begins with its `first_values`.

    `dropout` is on the adapters' input in training; see `intercept`.

    Raises:
      UserError: a rule does not fit.
    """
    rules, leaves = tuple(rules), named_leaves(base)
    whole = choose_whole(leaves, rules)
    shapes = {name: jax.ShapeDtypeStruct(leaves[name].shape, leaves[name].dtype) for name in whole}
    frozen = nested({name: leaf for name, leaf in leaves.items() if name not in whole})
    adapters = jax.eval_shape(lambda key: init(key, base, rules), jax.random.key(0))
    lengths = jax.jit(lambda base: squares(base, adapters))(frozen)
    fixed = rules, tuple(shapes.items()), dropout, detach_norm
    return AdaptedModel(model, frozen, lengths, *fixed)


def first_values(base: Params, rules: Sequence[Rule]) -> dict[str, Array]:
    """What is trained whole begins with, by its path among the adapters."""
    leaves = named_leaves(base)
    return {
        f"{name}/value": trained(leaves[name], rule)
        for name, rule in choose_whole(leaves, rules).items()
    }


def adapter_rules(config: AdapterConfig, model: LanguageModel) -> Rules:
    """Which parameters a run adapts; none where it trains all of them.

    Raises:
      UserError: there is nothing to train.
    """
    if config.kind == "none":
        return ()
    exclude, dtype = model.not_adaptable, "" if config.train_dtype == "float32" else "bfloat16"
    rules: list[Rule] = []
    if config.kind != "whole":
        size = config.rank, config.alpha, config.kind
        if config.pattern == "all-linear":
            rules += all_linear(*size, exclude)
        else:
            rules.append(AdapterRule(config.pattern, *size, exclude=exclude))
    if config.row_ranges:
        rules.append(RowRule(config.row_ranges, dtype=dtype))
    if getattr(model.config, "new_rows", 0):
        rules.append(WholeRule(NEW_ROWS, dtype))
    if config.train:
        rules.append(WholeRule(config.train, dtype))
    config.require(bool(rules), "train", 'what is trained, with adapters.kind "whole"')
    return tuple(rules)
