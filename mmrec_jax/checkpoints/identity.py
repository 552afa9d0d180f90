"""What makes two models the same function: their config's meaning and every parameter's bits."""

import hashlib
from typing import Any

import jax
import numpy as np

from mmrec_jax.config_tree import complete_stored, to_dict
from mmrec_jax.models.mmrec.config import ModelConfig
from mmrec_jax.tree import path_name

# How a model is computed, and what only training has: every run decides these for itself.
OWN_FIELDS = (
    *("scan", "newton_passes", "chunk", "remat", "time_chunk", "dropout"),
    *("use_uboo", "lambda_p", "uboo_isolate", "uboo_orthogonal"),
)
# Fields that leave the function of given parameters alone: those, and where its parameters began.
# A field that is not listed counts.
_FREE = frozenset(
    {
        *OWN_FIELDS,
        *("context", "param_dtype"),
        *("gate_init_scale", "gamma_halflife_min", "gamma_halflife_max"),
        *("alpha_halflife_min", "alpha_halflife_max"),
    }
)
# Fields that may be left to be derived: what counts is the number they come to.
_RESOLVED = {
    "recurrent_dim": "E",
    "memory_slots": "S",
    "mem_dim": "K",
    "ffn_dim": "F",
    "dpg_rank": "R",
}


def identity(config: ModelConfig, params: Any) -> dict[str, Any]:
    """The model in a few hundred bytes, fit for JSON: equal for equal functions.

    Args:
      config: the model's config.
      params: its parameters; the training-only UBOO predictors are left out.

    Returns:
      `config`: the fields that change the function; `parameters`: name to
      `[dtype, shape, sha256 (hex) of the values]`.
    """
    fields = {name: value for name, value in to_dict(config).items() if name not in _FREE}
    fields |= {name: getattr(config, letter) for name, letter in _RESOLVED.items()}
    named = {path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    parameters = {
        name: [str(leaf.dtype), list(leaf.shape), _sha256(leaf)]
        for name, leaf in sorted(named.items())
        if "uboo" not in name.split("/")
    }
    return {"config": fields, "parameters": parameters}


def difference(saved: dict[str, Any], now: dict[str, Any]) -> str:
    """The first thing in which two models differ, in words; empty for the same model.

    Args:
      saved: the `identity` in a file.
      now: the `identity` of the model at hand.
    """
    before, after = (complete_stored(x["config"], ModelConfig) for x in (saved, now))
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name, "absent"), after.get(name, "absent")
        if old != new:
            return f"config.model.{name} is {old!r} in the file and {new!r} here"
    before, after = saved["parameters"], now["parameters"]
    for name in sorted(before.keys() | after.keys()):
        old, new = (found.get(name, ["absent"])[:2] for found in (before, after))
        if old != new:
            return f"parameter {name} is {_shown(old)} in the file and {_shown(new)} here"
    other = [name for name in sorted(before) if before[name] != after[name]]
    if not other:
        return ""
    return (
        "a model of the same shape with other parameters: "
        f"{len(other)} of {len(before)} have other values, the first is {other[0]}"
    )


def _shown(kind: list[Any]) -> str:
    return " ".join(map(str, kind))


def _sha256(leaf: Any) -> str:
    return hashlib.sha256(np.ascontiguousarray(leaf).tobytes()).hexdigest()
