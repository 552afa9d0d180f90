"""A folder of `mmrec quantise`: a pretrained model whose matrices are stored in few bits.

As one of Hugging Face, but for its tensors, which are those of our tree: `blocks/q/kernel/codes`
and `blocks/q/kernel/scales` of all layers for a quantised matrix, `final_norm/scale` for others.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from mmrec_jax.errors import UserError
from mmrec_jax.models.api import Params
from mmrec_jax.models.transformer.config import TransformerConfig
from mmrec_jax.models.transformer.hugging_face import Tensor
from mmrec_jax.pretrained.published import Published
from mmrec_jax.pretrained.reading import Place, read_parameter
from mmrec_jax.pretrained.shards import NewTensor
from mmrec_jax.quantised import Quantised
from mmrec_jax.tree import map_named
from mmrec_jax.typing import Array

# What config.json says, so that transformers refuses the folder and does not misread it.
LABEL = {"quantization_config": {"quant_method": "mmrec_jax"}}
_KINDS = {np.dtype(np.uint8): "nf4", np.dtype(np.int8): "int8"}


def is_quantised(published: Published) -> bool:
    """Whether a pretrained model is one that `mmrec quantise` wrote."""
    return any(name.endswith("/codes") for name in published.tensors)


def read_quantised(
    published: Published, config: TransformerConfig, place: Place
) -> tuple[Params, dict[str, list[Any]]]:
    """The parameters as they are stored, and what tells them from others: see `read_params`.

    Raises:
      UserError: a tensor is missing or of another shape; or a file was cut off.
    """
    digests = {}

    def array(path: str, name: str) -> tuple[Array, str]:
        if name not in published.tensors:
            raise UserError(f"{published.name}: {name} is missing from its weights")
        stored = published.tensors[name]
        whole = Tensor(path, layer=None, transposed=False)
        leaf, (_, _, digest) = read_parameter(path, [(whole, stored)], stored.shape, place, None)
        return leaf, digest

    def leaf(path: str, like: jax.ShapeDtypeStruct) -> Array | Quantised:
        if f"{path}/codes" in published.tensors:
            (codes, first), (scales, second) = (
                array(path, f"{path}/{part}") for part in ("codes", "scales")
            )
            kind: Any = _KINDS[np.dtype(codes.dtype)]
            found: Array | Quantised = Quantised(codes, scales, kind, like.dtype)
            digests[path] = [f"{kind} of {like.dtype}", list(like.shape), f"{first} {second}"]
        else:
            found, digest = array(path, path)
            digests[path] = [str(found.dtype), list(like.shape), digest]
        if tuple(found.shape) != like.shape:
            raise UserError(
                f"{published.name}: {path} is {list(found.shape)}; by its config it is "
                f"{list(like.shape)}"
            )
        return found

    params = map_named(leaf, jax.eval_shape(config.build().init, jax.random.key(0)))
    return params, digests


def quantised_tensors(leaves: Mapping[str, Array | Quantised]) -> dict[str, NewTensor]:
    """The tensors of such a folder; they come to the host some layers or rows at a time."""
    arrays: dict[str, Array] = {}
    for name, leaf in leaves.items():
        if isinstance(leaf, Quantised):
            arrays |= {f"{name}/codes": leaf.codes, f"{name}/scales": leaf.scales}
        else:
            arrays[name] = leaf
    return {name: _new_tensor(array) for name, array in arrays.items()}


def _new_tensor(array: Array) -> NewTensor:
    rows = 1 if array.ndim > 2 else 8192

    def parts() -> Iterator[NDArray[Any]]:
        for first in range(0, len(array), rows):
            yield np.asarray(array[first : first + rows])

    return NewTensor(array.shape, np.dtype(array.dtype), parts)
