"""Adapters in the files of the `peft` library, where the layouts correspond.

A folder with `adapter_config.json` and `adapter_model.safetensors`, in which layer 0 of the kernel
`blocks/ffn/down/kernel` is the module `blocks.0.ffn.down`, or what a table of names calls it:
`lora_A.weight` [rank, in] is A transposed, `lora_B.weight` [out, rank] B transposed,
`lora_magnitude_vector` [out] is m. With such a table, what is trained whole is in
`modules_to_save`, and rows and those of new tokens are in `trainable_token_indices`: they take a
model whose embedding has as many rows (`resize_token_embeddings`).
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from mmrec_jax.atomic_file import replace_file
from mmrec_jax.dora.adapter import Adapter, Node, Rows, Whole, nodes, require_fit
from mmrec_jax.dora.rules import STACKED
from mmrec_jax.errors import UserError
from mmrec_jax.json_object import read_json_object
from mmrec_jax.tree import named_leaves, nested

# Of a tensor's name: our path, the layer if it is one of several, and whether theirs is transposed.
Names = Mapping[str, tuple[str, int | None, bool]]

CONFIG_FILE, TENSORS_FILE = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
_ROWS = "token_adapter.trainable_tokens_delta"  # not differences: the rows
_NEW, _OLD = "/new_embedding", "/embedding"
_PARTS = {"a": "lora_A.weight", "b": "lora_B.weight", "m": "lora_magnitude_vector"}
# Fields that make another function of the tensors: what each may be.
_PLAIN: dict[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "init_lora_weights": (None, True, False, "gaussian", "eva", "orthogonal"),  # the base stays
    **dict.fromkeys(
        ("rank_pattern", "alpha_pattern", "lora_bias", "layer_replication"),
        (None, False, {}, []),
    ),
}


def write_peft(
    folder: str | os.PathLike[str],
    adapters: Any,
    names: Names | None = None,
    old_rows: int = 0,
) -> None:
    """Writes adapters, all of one kind, rank and scale, into a folder that is made if needed.

    `names` are those of the model's tensors; None: as ours. New tokens have ids from `old_rows` on.

    Raises:
      UserError: `peft` has no counterpart for them, or the files cannot be written.
    """
    found = nodes(adapters)
    adapted = {name: node for name, node in found.items() if isinstance(node, Adapter)}
    kinds = {(node.a.shape[-1], node.scale, node.m is not None) for node in adapted.values()}
    if len(kinds) != 1:
        raise UserError("peft wants one kind, rank and scale for all kernels of an adapter")
    ((rank, scale, magnitudes),) = kinds
    tensors: dict[str, np.ndarray] = {}
    whole: set[str] = set()
    rows: dict[str, dict[int, np.ndarray]] = {}  # of modules: by id
    for name, node in found.items():
        path = name.replace(_NEW, _OLD)
        modules = _modules(path, names, len(node.a) if isinstance(node, Adapter) else 1)
        if not modules:
            raise UserError(f"{name}: peft has no counterpart for what is trained of it")
        for module, layer, transposed in modules:
            if isinstance(node, Adapter):
                for part, leaf in (("a", node.a), ("b", node.b), ("m", node.m)):
                    if leaf is not None:
                        one = np.asarray(leaf if layer is None else leaf[layer])
                        tensors[f"{module}.{_PARTS[part]}"] = one[0] if part == "m" else one.T
            elif isinstance(node, Rows):
                values = zip(node.indices.tolist(), np.asarray(node.rows), strict=True)
                rows.setdefault(module, {}).update(values)
            elif path != name:
                rows.setdefault(module, {}).update(enumerate(np.asarray(node.value), old_rows))
            else:
                one = np.asarray(node.value if layer is None else node.value[layer])
                tensors[f"{module}.weight"] = one.T if transposed else one
                whole.add(module.removeprefix(_PREFIX))
    tensors |= {
        f"{module}.{_ROWS}": np.stack([found[i] for i in sorted(found)])
        for module, found in rows.items()
    }
    ids = {module.removeprefix(_PREFIX): sorted(found) for module, found in rows.items()}
    targets = {m.split(".")[-1] for name in adapted for m, *_ in _modules(name, names, 1)}
    config = {
        "peft_type": "LORA",
        "task_type": None if names is None else "CAUSAL_LM",
        "r": rank,
        "lora_alpha": scale * rank,
        "use_dora": magnitudes,
        "use_rslora": False,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "target_modules": sorted(targets),
        "modules_to_save": sorted(whole) or None,
        "trainable_token_indices": ids or None,
    }
    root = Path(folder)
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    try:
        root.mkdir(parents=True, exist_ok=True)
        replace_file(root / TENSORS_FILE, save(tensors, {"format": "pt"}))
        replace_file(root / CONFIG_FILE, (json.dumps(config, indent=2) + "\n").encode())
    except OSError as error:
        raise UserError(f"{folder}: cannot write the adapters: {error.strerror}") from None


def read_peft(
    folder: str | os.PathLike[str], params: Any, names: Names | None = None
) -> dict[str, Any]:
    """Adapters that `peft` saved for a model with the kernels of `params`, as `dora.init` has them.

    `names` are those of the model's tensors; None: as ours.

    Raises:
      UserError: a file is missing or damaged; the adapters are of another kind than LoRA and DoRA
        on an unchanged base, do not fit `params`, or are missing in some layers of a kernel.
    """
    root = Path(folder)
    try:
        tensors = load_file(root / TENSORS_FILE)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{root}: no adapter of peft can be read here ({error})") from None
    config = read_json_object(root / CONFIG_FILE)
    for field, allowed in _PLAIN.items():
        if config.get(field) not in allowed:
            raise UserError(f"{root}: {field} is {config.get(field)!r}: no counterpart here")
    for field in ("r", "lora_alpha"):
        if type(config.get(field)) not in (int, float) or not config[field] > 0:
            raise UserError(f"{root}: {field} is {config.get(field)!r}; it must be above 0")
    rank, magnitudes = config["r"], bool(config.get("use_dora"))
    scale = config["lora_alpha"] / (rank**0.5 if config.get("use_rslora") else rank)
    made: dict[str, Node] = {}
    leaves = named_leaves(params)
    for name, leaf in leaves.items():
        modules = _modules(name, names, leaf.shape[0])

        def taken(part: str, name: str = name, modules: Any = modules) -> list[np.ndarray]:
            parts = [f"{module}.{part}" for module, *_ in modules]
            there = [each for each in parts if each in tensors]
            if there and there != parts:
                layers = ", ".join(each.removesuffix(f".{part}") for each in there)
                raise UserError(f"{root}: only {layers} of the layers of {name} are there")
            return [tensors.pop(each) for each in there]

        def stacked(parts: list[np.ndarray], turned: bool, modules: Any = modules) -> Any:
            parts = [each.T if turned else each for each in parts]
            return jnp.asarray(parts[0] if modules[0][1] is None else np.stack(parts))

        if a := taken(_PARTS["a"]):
            found = {"a": a, "b": taken(_PARTS["b"]), "m": taken(_PARTS["m"]) if magnitudes else []}
            for part, each in found.items():
                if not each and (magnitudes or part != "m"):
                    raise UserError(f"{root}: {name} lacks its {_PARTS[part]}")
            node = Adapter(
                a=stacked(a, True),
                b=stacked(found["b"], True),
                m=stacked([np.atleast_2d(x) for x in found["m"]], False) if magnitudes else None,
                scale=scale,
            )
            if node.a.shape[-1] != rank:
                raise UserError(f"{root}: r is {rank}, and {name} has {node.a.shape[-1]}")
            made[name] = node
        elif weights := taken("weight"):
            made[name] = Whole(stacked(weights, modules[0][2]))
        elif rows := taken(_ROWS):
            ids = _token_ids(root, config, modules[0][0].removeprefix(_PREFIX), len(rows[0]))
            beside = name.replace(_OLD, _NEW)
            count = len(leaves[beside]) if beside in leaves else 0
            made |= _rows(root, name, leaf.shape[0], count, dict(zip(ids, rows[0], strict=True)))
    if tensors or not made:
        left = next(iter(sorted(tensors)), "nothing")
        raise UserError(
            f"{root}: {left} belongs to no kernel of this model (use_dora={magnitudes})"
        )
    adapters = nested(made)
    require_fit(params, adapters)
    return adapters


def _token_ids(root: Path, config: Mapping[str, Any], module: str, count: int) -> list[int]:
    given = config.get("trainable_token_indices")
    if isinstance(given, dict):
        given = next((ids for name, ids in given.items() if module.endswith(name)), None)
    if not isinstance(given, list) or len(given) != count:
        raise UserError(f"{root}: trainable_token_indices says nothing of the {count} of {module}")
    return given


def _rows(
    root: Path, name: str, old: int, new: int, rows: Mapping[int, np.ndarray]
) -> Iterator[tuple[str, Node]]:
    """Rows by id as nodes: those of the table with some, and the table of new tokens if there is.

    Ids from `old` on are of the latter, which has `new` rows.
    """
    ids = sorted(rows)
    behind = [i for i in ids if i >= old]
    if behind and behind != list(range(old, old + new)):
        raise UserError(
            f"{root}: trainable_token_indices has {behind[0]}, and {name} has {old} rows"
            + (f" with {new} new ones, all of which must be there" if new else "")
        )
    if behind:
        yield name.replace(_OLD, _NEW), Whole(jnp.asarray(np.stack([rows[i] for i in behind])))
    if kept := ids[: len(ids) - len(behind)]:
        ranges = tuple((i, i) for i in kept)
        yield name, Rows(jnp.asarray(np.stack([rows[i] for i in kept])), ranges)


def _modules(name: str, names: Names | None, layers: int) -> list[tuple[str, int | None, bool]]:
    """What peft calls the modules of a parameter, one or one for each layer, and how it has them.

    Beside each its layer, and whether its weight is transposed; none where peft knows no such.
    """
    if names is not None:
        return [
            (_PREFIX + theirs.removesuffix(".weight"), layer, transposed)
            for theirs, (path, layer, transposed) in names.items()
            if path == name and theirs.endswith(".weight")
        ]
    first, *rest = name.split("/")[:-1] or [""]
    if not name.endswith("/kernel"):
        return []
    if not name.startswith(STACKED):
        return [(_PREFIX + ".".join([first, *rest]), None, True)]
    dotted = [".".join([first, str(layer), *rest]) for layer in range(layers)]
    return [(_PREFIX + each, layer, True) for layer, each in enumerate(dotted)]
