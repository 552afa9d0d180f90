"""Adapters in the files of the `peft` library, where the layouts correspond.

A folder with `adapter_config.json` and `adapter_model.safetensors`, in which layer 0 of the kernel
`blocks/ffn/down/kernel` is the module `blocks.0.ffn.down`: `lora_A.weight` [rank, in] is A
transposed, `lora_B.weight` [out, rank] B transposed, `lora_magnitude_vector` [out] is m.
"""

import json
import os
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from mmrec_jax.atomic_file import replace_file
from mmrec_jax.dora.adapter import Adapter, Node, nested, nodes, require_fit
from mmrec_jax.dora.rules import STACKED
from mmrec_jax.errors import UserError
from mmrec_jax.json_object import read_json_object
from mmrec_jax.tree import named_leaves

CONFIG_FILE, TENSORS_FILE = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
_PARTS = {"a": "lora_A.weight", "b": "lora_B.weight", "m": "lora_magnitude_vector"}
# Fields that make another function of the tensors: what each may be.
_PLAIN: dict[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "init_lora_weights": (None, True, False, "gaussian", "eva", "orthogonal"),  # the base stays
    **dict.fromkeys(
        ("rank_pattern", "alpha_pattern", "modules_to_save", "lora_bias", "layer_replication"),
        (None, False, {}, []),
    ),
}


def write_peft(folder: str | os.PathLike[str], adapters: Any) -> None:
    """Writes adapters, all of one kind, rank and scale, into a folder that is made if needed.

    Raises:
      UserError: `peft` has no counterpart for them, or the files cannot be written.
    """
    found = nodes(adapters)
    tensors: dict[str, np.ndarray] = {}
    kinds = set()
    for name, node in found.items():
        if not isinstance(node, Adapter):
            raise UserError(f"{name}: peft has no adapter of rows")
        kinds.add((node.a.shape[-1], node.scale, node.m is not None))
        for index, module in enumerate(_modules(name, len(node.a))):
            for part, leaf in (("a", node.a), ("b", node.b), ("m", node.m)):
                if leaf is not None:
                    one = np.asarray(leaf[index] if name.startswith(STACKED) else leaf)
                    tensors[f"{module}.{_PARTS[part]}"] = np.ascontiguousarray(
                        one[0] if part == "m" else one.T
                    )
    if len(kinds) != 1:
        raise UserError("peft wants one kind, rank and scale for all kernels of an adapter")
    ((rank, scale, magnitudes),) = kinds
    config = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": scale * rank,
        "use_dora": magnitudes,
        "use_rslora": False,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "target_modules": sorted({name.split("/")[-2] for name in found}),
    }
    root = Path(folder)
    try:
        root.mkdir(parents=True, exist_ok=True)
        replace_file(root / TENSORS_FILE, save(tensors, {"format": "pt"}))
        replace_file(root / CONFIG_FILE, (json.dumps(config, indent=2) + "\n").encode())
    except OSError as error:
        raise UserError(f"{folder}: cannot write the adapters: {error.strerror}") from None


def read_peft(folder: str | os.PathLike[str], params: Any) -> dict[str, Any]:
    """Adapters that `peft` saved for a model with the kernels of `params`, as `dora.init` has them.

    Raises:
      UserError: a file is missing or damaged; the adapters are of another kind than LoRA and DoRA
        on an unchanged base, do not fit `params`, or are missing in some layers of a kernel.
    """
    root = Path(folder)
    try:
        tensors = load_file(root / TENSORS_FILE)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{root}: no adapter of peft can be read here ({error})") from None
    config = read_json_object(root / CONFIG_FILE, str(root / CONFIG_FILE))
    for field, allowed in _PLAIN.items():
        if config.get(field) not in allowed:
            raise UserError(f"{root}: {field} is {config.get(field)!r}: no counterpart here")
    for field in ("r", "lora_alpha"):
        if type(config.get(field)) not in (int, float) or not config[field] > 0:
            raise UserError(f"{root}: {field} is {config.get(field)!r}; it must be above 0")
    rank, magnitudes = config["r"], bool(config.get("use_dora"))
    scale = config["lora_alpha"] / (rank**0.5 if config.get("use_rslora") else rank)
    made: dict[str, Node] = {}
    for name, leaf in named_leaves(params).items():
        if name.split("/")[-1] != "kernel":
            continue
        modules = _modules(name, leaf.shape[0])
        there = [module for module in modules if f"{module}.{_PARTS['a']}" in tensors]
        if not there:
            continue
        if there != modules:
            raise UserError(f"{root}: only {', '.join(there)} of the layers of {name} are there")
        parts: dict[str, Any] = {"m": None}
        for part in _PARTS if magnitudes else "ab":
            names = [f"{module}.{_PARTS[part]}" for module in modules]
            if not set(names) <= tensors.keys():
                raise UserError(f"{root}: {name} lacks its {_PARTS[part]}")
            found = [np.atleast_2d(tensors.pop(each)) for each in names]
            found = found if part == "m" else [each.T for each in found]
            parts[part] = jnp.asarray(np.stack(found) if name.startswith(STACKED) else found[0])
        if parts["a"].shape[-1] != rank:
            raise UserError(f"{root}: r is {rank}, and {name} has {parts['a'].shape[-1]}")
        made[name] = Adapter(**parts, scale=scale)
    if tensors or not made:
        left = next(iter(sorted(tensors)), "nothing")
        raise UserError(
            f"{root}: {left} belongs to no kernel of this model (use_dora={magnitudes})"
        )
    adapters = nested(made)
    require_fit(params, adapters)
    return adapters


def _modules(name: str, layers: int) -> list[str]:
    """What peft calls the modules of a kernel: one, or one for each layer."""
    first, *rest = name.split("/")[:-1]
    if not name.startswith(STACKED):
        return [_PREFIX + ".".join([first, *rest])]
    return [_PREFIX + ".".join([first, str(layer), *rest]) for layer in range(layers)]
