"""Adapters in the files of the `peft` library, where the layouts correspond.

A folder with `adapter_config.json` and `adapter_model.safetensors`, in which layer 0 of the kernel
`blocks/ffn/down/kernel` is the module `blocks.0.ffn.down`: `lora_A.weight` [rank, in] is A
transposed, `lora_B.weight` [out, rank] B transposed, `lora_magnitude_vector` [out] is m. Only the
layouts `io` and `lio` (`dora/kernel.py`) have a counterpart.
"""

import json
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from mmrec_jax.atomic_file import replace_file
from mmrec_jax.dora.adapter import Adapter, Node, nested, nodes, require_fit
from mmrec_jax.dora.kernel import layout_of
from mmrec_jax.errors import UserError
from mmrec_jax.tree import path_name

CONFIG_FILE, TENSORS_FILE = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."


def write_peft(folder: str | os.PathLike[str], adapters: Any) -> None:
    """Writes adapters as `peft` reads them, into a folder that is made if needed.

    Args:
      folder: where.
      adapters: all of one kind, rank and scale.

    Raises:
      UserError: `peft` has no counterpart for them, or the files cannot be written.
    """
    found = nodes(adapters)
    tensors: dict[str, np.ndarray] = {}
    kinds = set()
    for name, node in found.items():
        if not isinstance(node, Adapter) or node.layout not in ("io", "lio"):
            raise UserError(f"{name}: peft has no adapter of this layout")
        kinds.add((node.a.shape[-1], node.scale, node.m is not None))
        for module, part in _layers(name, node):
            tensors[f"{module}.lora_A.weight"] = np.ascontiguousarray(np.asarray(part.a).T)
            tensors[f"{module}.lora_B.weight"] = np.ascontiguousarray(np.asarray(part.b).T)
            if part.m is not None:
                tensors[f"{module}.lora_magnitude_vector"] = np.asarray(part.m)[0]
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

    Args:
      folder: where `save_pretrained` wrote them.
      params: the base, whose paths are the modules' names.

    Raises:
      UserError: a file is missing or damaged; the adapters are of another kind than LoRA and DoRA,
        do not fit `params`, or are missing in some layers of a kernel.
    """
    root = Path(folder)
    try:
        config = json.loads((root / CONFIG_FILE).read_text("utf-8"))
        tensors = load_file(root / TENSORS_FILE)
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"{root}: no adapter of peft can be read here ({error})") from None
    if config.get("peft_type") != "LORA":
        raise UserError(f"{root}: peft_type is {config.get('peft_type')!r}; only LORA is known")
    for field in ("rank_pattern", "alpha_pattern", "modules_to_save", "lora_bias"):
        if config.get(field):
            raise UserError(f"{root}: {field} is set, which has no counterpart here")
    divisor = config["r"] ** 0.5 if config.get("use_rslora") else config["r"]
    scale = config["lora_alpha"] / divisor
    made: dict[str, Node] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name = path_name(path)
        parts = name.split("/")
        if parts[-1] != "kernel" or len(leaf.shape) not in (2, 3):
            continue
        layout = layout_of(name, tuple(leaf.shape))
        modules = _modules(name, leaf.shape[0] if layout == "lio" else None)
        there = [module for module in modules if f"{module}.lora_A.weight" in tensors]
        if not there:
            continue
        if there != modules:
            raise UserError(f"{root}: only {', '.join(there)} of the layers of {name} are there")
        taken = [[tensors.pop(f"{m}.lora_{x}.weight").T for m in modules] for x in "AB"]
        lengths = [tensors.pop(f"{m}.lora_magnitude_vector", None) for m in modules]
        whole = [jnp.asarray(np.stack(x) if layout == "lio" else x[0]) for x in taken]
        m = None
        if config.get("use_dora"):
            if any(x is None for x in lengths):
                raise UserError(f"{root}: {name} lacks its lora_magnitude_vector")
            rows = [x[None] for x in lengths if x is not None]
            m = jnp.asarray(np.stack(rows) if layout == "lio" else rows[0])
        made[name] = Adapter(a=whole[0], b=whole[1], m=m, scale=scale, layout=layout)
    if tensors or not made:
        left = next(iter(sorted(tensors)), "nothing")
        raise UserError(f"{root}: {left} belongs to no kernel of this model")
    adapters = nested(made)
    require_fit(params, adapters)
    return adapters


def _modules(name: str, layers: int | None) -> list[str]:
    """What peft calls the modules of a kernel: one, or one a layer."""
    first, *rest = name.split("/")[:-1]
    if layers is None:
        return [_PREFIX + ".".join([first, *rest])]
    return [_PREFIX + ".".join([first, str(layer), *rest]) for layer in range(layers)]


def _layers(name: str, node: Adapter) -> list[tuple[str, Adapter]]:
    if node.layout == "io":
        return [(_modules(name, None)[0], node)]
    layers = node.a.shape[0]
    parts = [jax.tree.map(lambda x, i=i: x[i], node) for i in range(layers)]
    return list(zip(_modules(name, layers), parts, strict=True))
