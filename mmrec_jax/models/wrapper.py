"""What wraps a model and is one: whatever it does not change is the inner model's."""

from collections.abc import Callable
from typing import Any

from mmrec_jax.models.api import LanguageModel, Output, Params, State
from mmrec_jax.models.family_config import FamilyConfig
from mmrec_jax.typing import Array

Inputs = tuple[Array, State, Array | None]  # tokens, state and segment ids


class Wrapper:
    """A `LanguageModel` around another one, `inner`; subclasses are `flax.struct` dataclasses."""

    inner: LanguageModel
    replace: Callable[..., Any]  # of flax.struct

    @property
    def config(self) -> FamilyConfig:
        """See `LanguageModel.config`."""
        return self.inner.config

    def init(self, key: Array) -> Params:
        """See `LanguageModel.init`."""
        return self.inner.init(key)

    def apply(
        self,
        params: Params,
        tokens: Array,
        state: State = None,
        segment_ids: Array | None = None,
        **options: Any,
    ) -> Output:
        """See `LanguageModel.apply`; a subclass says in `forward` what is different."""
        return self.forward(params, (tokens, state, segment_ids), options)

    def forward(self, params: Params, inputs: Inputs, options: dict[str, Any]) -> Output:
        """`apply`, whose keyword arguments are `options`."""
        raise NotImplementedError

    def initial_state(self, batch: int) -> State:
        """See `LanguageModel.initial_state`."""
        return self.inner.initial_state(batch)

    @property
    def state_batch_axes(self) -> Any:
        """See `LanguageModel.state_batch_axes`."""
        return self.inner.state_batch_axes

    def continues(self, segment_ids: Array, state: State) -> Array:
        """See `LanguageModel.continues`."""
        return self.inner.continues(segment_ids, state)

    def partition_specs(self, params: Params) -> Any:
        """See `LanguageModel.partition_specs`."""
        return self.inner.partition_specs(params)

    def decays(self, name: str) -> bool:
        """See `LanguageModel.decays`."""
        return self.inner.decays(name)

    @property
    def not_adaptable(self) -> str:
        """See `LanguageModel.not_adaptable`."""
        return self.inner.not_adaptable

    def mixing_flops(self, length: int) -> float:
        """See `LanguageModel.mixing_flops`."""
        return self.inner.mixing_flops(length)

    def unwrap(self, params: Params) -> tuple[LanguageModel, Params]:
        """See `LanguageModel.unwrap`."""
        return self.inner.unwrap(params)
