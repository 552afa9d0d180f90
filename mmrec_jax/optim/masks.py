"""Which parameters weight decay applies to."""

from typing import Any

from mmrec_jax.tree import map_named

# By the last part of a leaf's name. Matrices decay; everything that is a scale, a bias, a
# half-life or a gate does not: shrinking those to zero changes what they mean. Of an adapter
# (`mmrec_jax/dora`), a and b are matrices and m are magnitudes.
_DECAYED = frozenset({"kernel", "embedding", "a", "b", "rows"})
_KEPT = frozenset({"scale", "bias", "b_gamma", "b_alpha", "w_g", "c_g", "m"})


def decay_mask(params: Any) -> Any:
    """A tree like `params`, True where decoupled weight decay applies.

    Raises:
      ValueError: a parameter is in neither list, so that none is forgotten in silence.
    """

    def decays(name: str, leaf: Any) -> bool:
        del leaf
        kind = name.rsplit("/", 1)[-1]
        if kind not in _DECAYED | _KEPT:
            raise ValueError(f"parameter {name} has no rule for weight decay; add one here")
        return kind in _DECAYED

    return map_named(decays, params)
