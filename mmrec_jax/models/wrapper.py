"""What wraps a model and is one: whatever it does not change is the inner model's."""

from collections.abc import Callable
from typing import Any

from mmrec_jax.models.api import LanguageModel, Output, Params, State
from mmrec_jax.typing import Array

Inputs = tuple[Array, State, Array | None]  # tokens, state and segment ids


def _of_inner(name: str) -> Any:
    return property(lambda self: getattr(self.inner, name), doc=f"See `LanguageModel.{name}`.")


class Wrapper:
    """A `LanguageModel` around another one, `inner`; subclasses are `flax.struct` dataclasses."""

    inner: LanguageModel
    replace: Callable[..., Any]  # of flax.struct

    config: Any = _of_inner("config")
    init: Any = _of_inner("init")
    probeable: Any = _of_inner("probeable")
    initial_state: Any = _of_inner("initial_state")
    state_batch_axes: Any = _of_inner("state_batch_axes")
    continues: Any = _of_inner("continues")
    partition_specs: Any = _of_inner("partition_specs")
    decays: Any = _of_inner("decays")
    head_parameters: Any = _of_inner("head_parameters")
    not_adaptable: Any = _of_inner("not_adaptable")
    mixing_flops: Any = _of_inner("mixing_flops")
    unwrap: Any = _of_inner("unwrap")

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

    def kept_specs(self) -> Any:
        """See `LanguageModel.kept_specs`."""
        raise NotImplementedError

    def forward(self, params: Params, inputs: Inputs, options: dict[str, Any]) -> Output:
        """`apply`, whose keyword arguments are `options`."""
        raise NotImplementedError
