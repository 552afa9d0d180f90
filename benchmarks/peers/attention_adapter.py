"""The attention peer, called as MM-Rec is, so that the library's own steps can train it."""

from flax import linen as nn

from benchmarks.peers.attention_config import AttentionConfig
from benchmarks.peers.jax_attention import AttentionLM
from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.models.mmrec.model import Intermediates
from mmrec_jax.models.mmrec.state import MMRecState, zero_state
from mmrec_jax.typing import Array, Float, Int


class AttentionAdapter(nn.Module):
    """`AttentionLM` with the signature of `MMRecLM`; its parameters are under "attention"."""

    # What the steps read of a model: the vocabulary, the shape of the state, the switches. Dropout
    # and UBOO must be off: the attention model has neither.
    config: MMRecConfig
    attention: AttentionConfig

    @nn.compact
    def __call__(
        self,
        tokens: Int[Array, "B T"],
        state: MMRecState | None = None,
        segment_ids: Int[Array, "B T"] | None = None,
        *,
        deterministic: bool = True,
    ) -> tuple[Float[Array, "B T V"], MMRecState, Intermediates]:
        """Reads rows from their beginning.

        Args:
          tokens: ids in [0, vocab_size).
          state: handed back as it came, or the zero state: attention remembers nothing.
          segment_ids: a token attends to earlier tokens of the row with its own id.
          deterministic: of no effect, there is no dropout.

        Returns:
          Logits in float32, the state, and no intermediates.
        """
        del deterministic
        logits = AttentionLM(self.attention, name="attention")(tokens, segment_ids)
        if state is None:
            state = zero_state(self.config, tokens.shape[0])
        return logits, state, {}
