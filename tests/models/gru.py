"""A model family in one file, a gated recurrent unit, and a run of it (`get_config`)."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.sharding import PartitionSpec as P

from mmrec_jax.config import Config, OptimConfig, TokenizerConfig, TrainConfig
from mmrec_jax.models.family_config import FamilyConfig
from mmrec_jax.models.linen import LinenModel
from mmrec_jax.models.registry import FAMILIES
from mmrec_jax.settings import at_least, setting


@FAMILIES.register("gru")
@dataclasses.dataclass(frozen=True)
class GRUConfig(FamilyConfig):
    family = "gru"
    width: int = setting(16, "channels of the state", at_least(1))

    def build(self) -> "GRU":
        return GRU(self)


class Network(nn.Module):
    config: GRUConfig

    @nn.compact
    def __call__(self, tokens, state, segment_ids, *, deterministic=True, perturb=None):
        width = self.config.width
        state = state or GRU(self.config).initial_state(tokens.shape[0])
        if segment_ids is None:
            segment_ids = jnp.broadcast_to(jnp.maximum(state["segment"], 1)[:, None], tokens.shape)
        embed = nn.Embed(self.config.vocab_size, width, name="embed")
        x = embed(tokens) if perturb is None else perturb(embed(tokens))
        x = nn.Dense(2 * width, name="inputs")(x)
        lecun = nn.initializers.lecun_normal()
        recurrent = self.param("recurrent_kernel", lecun, (width, 2 * width))

        def step(carry: Any, at: Any) -> Any:
            x, ids = at
            h = jnp.where((ids == carry["segment"])[:, None], carry["h"], 0)
            gate, value = jnp.split(x + h @ recurrent, 2, axis=-1)
            h = h + nn.sigmoid(gate) * (jnp.tanh(value) - h)
            real = ids > 0  # padding leaves the state as it is
            h, ids = jnp.where(real[:, None], h, carry["h"]), jnp.where(real, ids, carry["segment"])
            return {"h": h, "segment": ids}, h

        after, h = jax.lax.scan(step, state, (x.swapaxes(0, 1), segment_ids.T))
        return h.swapaxes(0, 1), after, {}


class GRU(LinenModel):
    decayed = r"(kernel|embedding)$"
    not_adaptable = r"(^|/)embed|recurrent|bias$"
    sharding = ((r"embedding$", P("tensor", "fsdp")), (r"kernel$", P("fsdp", "tensor")))

    module = property(lambda self: Network(self.config))
    state_batch_axes = property(lambda self: {"h": 0, "segment": 0})

    def initial_state(self, batch: int) -> Any:
        return {"h": jnp.zeros((batch, self.config.width)), "segment": jnp.zeros(batch, jnp.int32)}

    def continues(self, segment_ids: Any, state: Any) -> Any:
        last = (state or self.initial_state(len(segment_ids)))["segment"]
        before = jnp.concatenate([last[:, None], segment_ids[:, :-1]], axis=1)
        return (segment_ids > 0) & (segment_ids == before)


def get_config() -> Config:
    return Config(
        plugins=("tests.models.gru",),
        model=GRUConfig(vocab_size=300),
        tokenizer=TokenizerConfig(kind="byte"),
        optim=OptimConfig(lr=1e-2, warmup_steps=1, schedule="constant"),
        train=TrainConfig(steps=8, batch_size=8, log_every=1, eval_every=4, checkpoint_every=4),
    )
