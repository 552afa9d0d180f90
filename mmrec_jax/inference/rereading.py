"""Models that keep no state, as if they had one: the text so far, which is read again."""

from typing import Any, ClassVar

import flax.struct
import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from mmrec_jax.models.api import LanguageModel, Output, Params, State
from mmrec_jax.models.growing_state import GrowingState, room_for
from mmrec_jax.models.wrapper import Inputs, Wrapper
from mmrec_jax.typing import Array, Int


@flax.struct.dataclass
class KeptText(GrowingState):
    """What each row has read."""

    room_axes: ClassVar[dict[str, int]] = {"tokens": 1, "segment_ids": 1}

    tokens: Int[Array, "B N"]
    segment_ids: Int[Array, "B N"]  # of the tokens; 0 where there is room for more
    length: Int[Array, "B"]

    @property
    def used(self) -> Int[Array, "B"]:
        """All of its tokens."""
        return self.length


@flax.struct.dataclass
class Rereading(Wrapper):
    """The inner model, which keeps no state, as one whose state is a `KeptText`."""

    inner: Any

    def forward(self, params: Params, inputs: Inputs, options: dict[str, Any]) -> Output:
        """The state needs room for the tokens (`with_room`)."""
        tokens, state, segment_ids = inputs
        rows, length = tokens.shape
        kept = _empty(rows, length) if state is None else state
        at = jnp.arange(rows)[:, None]
        if segment_ids is None:
            last = kept.segment_ids[at, jnp.maximum(kept.length - 1, 0)[:, None]]
            segment_ids = jnp.broadcast_to(jnp.maximum(last, 1), tokens.shape)
        real, room = segment_ids > 0, kept.tokens.shape[1]
        positions = kept.length[:, None] + jnp.cumsum(real, axis=1) - 1
        written = jnp.where(real, positions, room)  # padding: beyond the end, and dropped
        after = KeptText(
            tokens=kept.tokens.at[at, written].set(tokens, mode="drop"),
            segment_ids=kept.segment_ids.at[at, written].set(segment_ids, mode="drop"),
            length=kept.length + jnp.sum(real, axis=1, dtype=jnp.int32),
        )
        output = self.inner.apply(params, after.tokens, None, after.segment_ids, **options)
        hidden = jnp.take_along_axis(output.hidden, jnp.maximum(positions, 0)[..., None], axis=1)
        return output._replace(hidden=hidden, state=after)

    def initial_state(self, batch: int) -> KeptText:
        """The state before the first token."""
        return _empty(batch, room_for(1))

    @property
    def state_batch_axes(self) -> Any:
        """The batch axis of each array."""
        return KeptText(tokens=0, segment_ids=0, length=0)  # type: ignore[arg-type]


def with_state(model: LanguageModel) -> LanguageModel:
    """The model, if it keeps a state; else `Rereading` it."""
    return model if model.state_batch_axes is not None else Rereading(model)


def with_room(state: State, count: int) -> State:
    """The state as `count` more tokens need it; one of fixed size is ready."""
    return state.with_room(count) if isinstance(state, GrowingState) else state


def colocate(params: Params, tree: Any) -> Any:
    """The tree on the devices of the parameters, as what is computed from them: one program serves.

    Of parameters that are split over a mesh every device of it gets the whole tree.
    """
    leaves = jax.tree.leaves(params)
    sharding = getattr(leaves[0], "sharding", None) if leaves else None
    if isinstance(sharding, NamedSharding):
        sharding = NamedSharding(sharding.mesh, PartitionSpec())
    return tree if sharding is None else jax.device_put(tree, sharding)


def state_shapes(model: LanguageModel, length: int) -> State:
    """Shapes and dtypes of the state of one row that has read `length` tokens."""

    def state() -> State:
        first = model.initial_state(1)
        return first.resized(room_for(length)) if isinstance(first, GrowingState) else first

    return jax.eval_shape(state)


def _empty(rows: int, room: int) -> KeptText:
    tokens = jnp.zeros((rows, room), jnp.int32)
    return KeptText(tokens, tokens, jnp.zeros(rows, jnp.int32))
