"""The shape of a decoder as Qwen3, Qwen2 and Llama have it; needs no JAX."""

import dataclasses
from typing import TYPE_CHECKING, Literal

from mmrec_jax.models.family_config import ExtendableConfig
from mmrec_jax.settings import above, at_least, setting

if TYPE_CHECKING:
    from mmrec_jax.models.transformer.model import Transformer


@dataclasses.dataclass(frozen=True)
class TransformerConfig(ExtendableConfig):
    """A decoder with grouped-query attention, rotary positions, RMSNorm and SwiGLU.

    Three switches make it Qwen3 (`qk_norm`), Qwen2 (`attention_bias` "qkv") or Llama (neither), and
    `tie_embeddings` either kind of head. Pretrained ones: `hugging_face.py`.
    """

    family = "transformer"
    memory_fields = (("remat", "full"),)

    model_dim: int = setting(128, "D, the width", at_least(1))
    num_layers: int = setting(4, "L, blocks", at_least(1))
    num_heads: int = setting(4, "H, query heads", at_least(1))
    num_kv_heads: int = setting(
        2, "key and value heads: query head h uses head h // (H / this)", at_least(1)
    )
    head_dim: int = setting(
        32, "channels of a head, whatever D / H is; an even number", at_least(2)
    )
    ffn_dim: int = setting(384, "F, hidden width of the feed-forward layer", at_least(1))
    rope_theta: float = setting(10_000.0, "base of the rotary positions", above(0))
    rope_scaling: tuple[float, float, float, int] | None = setting(
        None,
        "Llama 3.1's: factor, low_freq_factor, high_freq_factor, original_max_position_embeddings",
    )
    norm_epsilon: float = setting(1e-6, "of every RMSNorm", above(0))
    qk_norm: bool = setting(False, "RMSNorm of each head's query and key")
    attention_bias: Literal["none", "qkv", "qkvo"] = setting(
        "none", "which of the attention's projections have a bias"
    )
    tie_embeddings: bool = setting(True, "one matrix for the tokens read and those predicted")
    max_length: int = setting(
        2048, "tokens of a text that it was trained for; nothing is cut", at_least(1), role="start"
    )
    dtype: Literal["float32", "bfloat16"] = setting(
        "float32", "of activations, matrix products and the cache", role="run"
    )
    param_dtype: Literal["float32", "bfloat16"] = setting(
        "float32", "of the parameters that are trained", role="run"
    )
    remat: Literal["none", "dots", "full"] = setting(
        "full",
        "what the backward pass recomputes instead of keeping it: dots, all but products with "
        "parameters; full, each block from its input; scores are recomputed always",
        free=True,
        role="run",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.head_dim % 2 == 0, "head_dim", "even: rotary positions pair channels")
        divides = self.num_heads % self.num_kv_heads == 0
        self.require(divides, "num_kv_heads", f"a divisor of model.num_heads = {self.num_heads}")
        positive = self.rope_scaling is None or min(self.rope_scaling) > 0
        self.require(positive, "rope_scaling", "None or four numbers above 0")

    @property
    def biased(self) -> str:
        """Letters of the projections that have a bias."""
        return "" if self.attention_bias == "none" else self.attention_bias

    def build(self) -> "Transformer":
        """The model."""
        from mmrec_jax.models.transformer.model import Transformer

        return Transformer(self)
