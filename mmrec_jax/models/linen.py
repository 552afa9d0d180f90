"""A model family whose network is a Flax linen module."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.sharding import PartitionSpec
from jax.tree_util import Partial

from mmrec_jax.models.api import Output, Params, Probe, State, Training
from mmrec_jax.models.layout import layout
from mmrec_jax.quantised import row_products
from mmrec_jax.tree import map_named
from mmrec_jax.typing import Array

PROBED = "probed"  # the collection of what probes have summed, by their names


def recomputed(what: Any, remat: str, products: Any, *names: str) -> Any:
    """A module or method of which the backward pass recomputes what `remat` says.

    "none": nothing; "full": all from its input; "dots": all but the products that the policy
    `products` keeps and what is called by `names`.
    """
    if remat == "none":
        return what
    policies = jax.checkpoint_policies
    kept = policies.save_from_both_policies(products, policies.save_only_these_names(*names))
    return nn.remat(what, prevent_cse=False, policy=kept if remat == "dots" else None)


@dataclasses.dataclass(frozen=True)
class LinenModel:
    """`LanguageModel` around a module; a subclass says which, and what its parameters are.

    The module is called as `module(tokens, state, segment_ids, deterministic=..., perturb=...)` and
    returns hidden states [B, T, D], the state and scalar metrics. It draws dropout from the rng
    "dropout". `head` makes logits of the hidden states. A module that has something `probeable` is
    given `probes=...`, too, and leaves their sums in the collection `PROBED`.

    Attributes:
      decayed: found in the paths of parameters that weight decay applies to.
      not_decayed: found in those of all others, so that none is forgotten in silence.
      sharding: (regular expression, spec) pairs; the first that is found in a path holds, over as
        many of the array's axes as it names. What none is found in is replicated.
    """

    config: Any

    decayed: ClassVar[str] = r"(^|/)(kernel|embedding)$"
    not_decayed: ClassVar[str] = r"(^|/)(scale|bias)$"
    not_adaptable: ClassVar[str] = r"(^|/)embed|norm[^/]*(/|$)|(^|/)(scale|bias)$"
    sharding: ClassVar[tuple[tuple[str, PartitionSpec], ...]] = (
        (r"(^|/)embedding$", PartitionSpec("tensor", "fsdp")),
    )

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        jax.tree_util.register_static(cls)

    @property
    def module(self) -> nn.Module:
        """The network."""
        raise NotImplementedError

    @property
    def head_parameters(self) -> tuple[str, ...]:
        """The top-level entries of the parameters that `head` gets."""
        return ("embed",)

    def init(self, key: Array) -> Params:
        """See `LanguageModel.init`."""
        return self.module.init(key, jnp.zeros((1, 2), jnp.int32), None, None)["params"]

    def apply(
        self,
        params: Params,
        tokens: Array,
        state: State = None,
        segment_ids: Array | None = None,
        *,
        training: Training | None = None,
        perturb: Callable[[Array], Array] | None = None,
        capture: Sequence[str] = (),
        probes: Mapping[str, Probe] | None = None,
        collections: Mapping[str, Any] | None = None,
    ) -> Output:
        """See `LanguageModel.apply`."""
        probed: dict[str, Any] = {"probes": dict(probes)} if probes else {}
        mutable = [*capture, *([PROBED] if probes else [])]
        result: Any = self.module.apply(
            {"params": params, **(collections or {})},
            tokens,
            state,
            segment_ids,
            deterministic=training is None,
            perturb=perturb,
            rngs=None if training is None else {"dropout": training.key},
            mutable=mutable or False,
            **probed,
        )
        (hidden, after, metrics), collected = result if mutable else (result, {})
        own = {name: params[name] for name in self.head_parameters}
        # The model is a pytree without leaves: an argument of the function, like its parameters.
        head = Partial(type(self).head, self, own)
        captured = dict(collected)
        return Output(hidden, head, after, metrics, captured | captured.pop(PROBED, {}))

    def head(self, params: Params, hidden: Array) -> Array:
        """Logits [..., V] of hidden states [..., D]; here with the embedding of the tokens."""
        return row_products(hidden, params["embed"]["embedding"])

    @property
    def probeable(self) -> Mapping[str, jax.ShapeDtypeStruct]:
        """See `LanguageModel.probeable`; here nothing."""
        return {}

    def initial_state(self, batch: int) -> State:
        """None: the model keeps nothing."""

    @property
    def state_batch_axes(self) -> Any:
        """See `LanguageModel.state_batch_axes`."""
        return None

    def continues(self, segment_ids: Array, state: State) -> Array:
        """See `LanguageModel.continues`; a state has `segment` and `position` (`layout.py`)."""
        shape = segment_ids.shape
        tokens = layout(segment_ids, state, shape, self.config.row_block(shape[1]))
        return tokens.real & ~tokens.start

    def partition_specs(self, params: Params) -> Any:
        """See `LanguageModel.partition_specs`."""

        def spec(name: str, leaf: Any) -> Any:
            found = (spec for pattern, spec in self.sharding if re.search(pattern, name))
            first = next(found, PartitionSpec())
            return jax.tree.map(lambda _: first, leaf)  # of both arrays of a quantised matrix

        return map_named(spec, params)

    def kept_specs(self) -> Self:
        """See `LanguageModel.kept_specs`: it keeps nothing."""
        return self

    def decays(self, name: str) -> bool:
        """See `LanguageModel.decays`.

        Raises:
          ValueError: the family has no rule for the parameter.
        """
        if re.search(self.not_decayed, name):
            return False
        if not re.search(self.decayed, name):
            raise ValueError(f"{type(self).__name__} has no rule for weight decay of {name}")
        return True

    def mixing_flops(self, length: int) -> float:
        """See `LanguageModel.mixing_flops`."""
        return 0.0

    def unwrap(self, params: Params) -> tuple[Self, Params]:
        """See `LanguageModel.unwrap`."""
        return self, params
