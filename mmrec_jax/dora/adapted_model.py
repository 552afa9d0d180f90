"""A model with adapters on a frozen base: a `LanguageModel` whose parameters are the adapters."""

import re
from collections.abc import Sequence
from typing import Any, Literal

import flax.struct
import jax

from mmrec_jax.config import AdapterConfig
from mmrec_jax.dora.adapter import init, partition_specs
from mmrec_jax.dora.interception import intercept
from mmrec_jax.dora.rules import AdapterRule, RowRule, all_linear
from mmrec_jax.dora.transform import apply, squares
from mmrec_jax.models.api import LanguageModel, Output, Params
from mmrec_jax.models.wrapper import Inputs, Wrapper
from mmrec_jax.tree import named_leaves
from mmrec_jax.typing import Array

Rules = tuple[AdapterRule | RowRule, ...]


@flax.struct.dataclass
class AdaptedModel(Wrapper):
    """The inner model with adapters put into its base, which has neither gradient nor moments."""

    inner: Any
    base: Any  # the inner model's parameters
    squares: Any  # `dora.squares`, which do not change in training
    rules: Rules = flax.struct.field(pytree_node=False)
    path: Literal["apply", "intercept"] = flax.struct.field(pytree_node=False)
    dropout: float = flax.struct.field(pytree_node=False)
    detach_norm: bool = flax.struct.field(pytree_node=False)

    def init(self, key: Array) -> Params:
        """Adapters at which the model is the base."""
        return init(key, self.base, self.rules)

    def forward(self, params: Params, inputs: Inputs, options: dict[str, Any]) -> Output:
        """With the adapters, whose dropout is for training alone."""
        if self.path == "apply":
            adapted = apply(self.base, params, detach_norm=self.detach_norm)
            return self.inner.apply(adapted, *inputs, **options)
        # No module calls the head, where its adapters could be intercepted.
        head = {name: params[name] for name in self.inner.head_parameters if name in params}
        own = {name: self.base[name] for name in head}
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
        return partition_specs(params, named_leaves(self.inner.partition_specs(self.base)))

    def decays(self, name: str) -> bool:
        """Matrices and rows decay, magnitudes do not."""
        return not re.search(r"(^|/)m$", name)

    def unwrap(self, params: Params) -> tuple[LanguageModel, Params]:
        """The inner model, with the adapters put into its parameters."""
        return self.inner.unwrap(apply(self.base, params))


def adapt(
    model: LanguageModel,
    base: Params,
    rules: Sequence[AdapterRule | RowRule],
    *,
    path: Literal["apply", "intercept"] = "intercept",
    dropout: float = 0.0,
    detach_norm: bool = True,
) -> AdaptedModel:
    """The model with adapters on its frozen parameters, `base`.

    The path "apply" forms the adapted weights in each call, "intercept" adds x A B to x W; dropout,
    on the adapters' input in training, needs the latter. See `transform.apply` and `intercept`.

    Raises:
      UserError: a rule does not fit.
    """
    rules = tuple(rules)
    adapters = jax.eval_shape(lambda key: init(key, base, rules), jax.random.key(0))
    lengths = jax.jit(lambda base: squares(base, adapters))(base)
    return AdaptedModel(model, base, lengths, rules, path, dropout, detach_norm)


def adapter_rules(config: AdapterConfig, model: LanguageModel) -> Rules:
    """Which parameters a run adapts; none where it trains all of them."""
    if config.kind == "none":
        return ()
    size, exclude = (config.rank, config.alpha, config.kind), model.not_adaptable
    kernels = all_linear(*size, exclude)
    if config.pattern != "all-linear":
        kernels = (AdapterRule(config.pattern, *size, exclude=exclude),)
    return (*kernels, *((RowRule(config.row_ranges),) if config.row_ranges else ()))
