"""What makes two models the same function: their config's meaning and every parameter's bits."""

import dataclasses
import hashlib
import itertools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from mmrec_jax.config_tree import to_dict
from mmrec_jax.models.family_config import FamilyConfig
from mmrec_jax.models.registry import FAMILIES
from mmrec_jax.quantised import Quantised
from mmrec_jax.settings import role
from mmrec_jax.train.mesh import process_local
from mmrec_jax.tree import named_leaves

_PART_BYTES = 1 << 26


def identity(config: FamilyConfig, params: Any) -> dict[str, Any]:
    """The model in a few hundred bytes, fit for JSON: equal for equal functions.

    Returns:
      `config`: the fields that change the function; `parameters`: name to
      `[dtype, shape, sha256 (hex) of the values]`.
    """
    parameters = {
        name: [_dtype(leaf), list(leaf.shape), _sha256(leaf)]
        for name, leaf in sorted(named_leaves(params).items())
    }
    other = {field.name for field in dataclasses.fields(config) if role(field) != "function"}
    fields = {name: value for name, value in to_dict(config).items() if name not in other}
    fields |= config.resolved()
    return {"config": fields, "parameters": parameters}


def difference(saved: dict[str, Any], now: dict[str, Any]) -> str:
    """What differs first between two identities, in words; empty for the same model."""
    after = now["config"]
    before = _as_it_was(FAMILIES[after["family"]]) | saved["config"]
    # Of another family every other field differs too.
    for name in sorted(before.keys() | after.keys(), key=lambda name: (name != "family", name)):
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


def _as_it_was(family: type[FamilyConfig]) -> dict[str, Any]:
    """What models were before a field existed, which older files lack; they had one family."""
    fields = (field for field in dataclasses.fields(family) if role(field) == "function")
    return {"family": "mmrec", **{field.name: field.metadata["absent"] for field in fields}}


def _shown(kind: list[Any]) -> str:
    return " ".join(map(str, kind))


def _dtype(leaf: Any) -> str:
    return f"{leaf.kind} of {leaf.dtype}" if isinstance(leaf, Quantised) else str(leaf.dtype)


def _sha256(leaf: Any) -> str:
    digest = hashlib.sha256()
    for part in itertools.chain.from_iterable(map(_parts, jax.tree.leaves(leaf))):
        digest.update(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _parts(leaf: Any) -> Iterator[Any]:
    """The array in parts along axis 0, of which the host holds one at a time."""
    length = leaf.shape[0] if leaf.ndim else 1
    rows = max(1, _PART_BYTES * length // max(leaf.nbytes, 1))
    for first in range(0, length, rows):
        part = leaf if rows >= length else leaf[first : first + rows]
        split = isinstance(part, jax.Array) and not part.is_fully_addressable
        yield process_local(part) if split else part
