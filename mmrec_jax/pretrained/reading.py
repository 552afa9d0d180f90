"""From the tensors of a file to stacked parameters on their devices.

A stacked parameter `[L, in, out]` is made on its devices and filled layer by layer, each update
taking over the buffer of the one before: the host holds a part of one tensor, a device its share of
the parameters and of one layer.

A folder of `mmrec quantise` is as one of Hugging Face, but for its tensors, which are those of our
tree: `blocks/q/kernel/codes` and `blocks/q/kernel/scales` of all layers for a quantised matrix,
`final_norm/scale` for what is not quantised.
"""

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding

from mmrec_jax.errors import UserError
from mmrec_jax.models.api import Params
from mmrec_jax.models.transformer.config import TransformerConfig
from mmrec_jax.models.transformer.hugging_face import Tensor, tensors
from mmrec_jax.pretrained.published import Published
from mmrec_jax.pretrained.shards import LazyTensor
from mmrec_jax.quantised import quantise
from mmrec_jax.train.mesh import shardings
from mmrec_jax.tree import map_named, path_name
from mmrec_jax.typing import Array

# What is kept of a parameter: of its path and one layer of it `[in, out]` (some rows of a table).
# Traceable; an array, or a tree of arrays whose last axes follow those of its argument.
Convert = Callable[[str, Array], Any]

_TABLE_BYTES = 1 << 26  # of a table's rows that are read at once
_HEAD, _EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"
_KINDS = {np.dtype(np.uint8): "nf4", np.dtype(np.int8): "int8"}  # of codes
_IGNORED = ".rotary_emb.inv_freq"  # in older files: computed from rope_theta


def read_params(
    published: Published,
    config: TransformerConfig,
    mesh: Mesh | None = None,
    convert: Convert | None = None,
) -> Params:
    """The parameters on the first device, or as the model says on `mesh`, in the file's dtype.

    Args:
      published: whose tensors are read.
      config: of the model that they are the parameters of.
      mesh: over several processes each reads every tensor.
      convert: what is kept instead of each layer's numbers; None: these. What `mmrec quantise`
        wrote comes as it is stored.

    Raises:
      UserError: a tensor is missing, of another shape, or not known; or a file was cut off.
    """
    model, table = config.build(), tensors(config)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    if is_quantised(published):
        shapes, convert = map_named(functools.partial(_as_stored, published), shapes), None
        table = {path: Tensor(path, layer=None, transposed=False) for path in _arrays(shapes)}
    abstract, specs = _arrays(shapes), _arrays(model.partition_specs(shapes))
    _require_tensors(published, table, abstract)
    layers: dict[str, list[tuple[Tensor, LazyTensor]]] = {}
    for name, tensor in table.items():
        layers.setdefault(tensor.path, []).append((tensor, published.tensors[name]))
    read = []
    for path, like in abstract.items():
        place = functools.partial(shardings, specs=specs[path], mesh=mesh)
        read.append(_read_parameter(path, layers[path], like.shape, place, convert))
    return jax.tree.unflatten(jax.tree.structure(shapes), read)


def _arrays(tree: Any) -> dict[str, Any]:
    """By path, the two of a quantised matrix apart."""
    return {path_name(path): x for path, x in jax.tree_util.tree_leaves_with_path(tree)}


def is_quantised(published: Published) -> bool:
    """Whether a pretrained model is one that `mmrec quantise` wrote."""
    return any(name.endswith("/codes") for name in published.tensors)


def _as_stored(published: Published, path: str, like: jax.ShapeDtypeStruct) -> Any:
    """Shapes of a parameter as `mmrec quantise` wrote it."""
    codes = published.tensors.get(f"{path}/codes")
    kind: Any = None if codes is None else _KINDS.get(codes.dtype)
    axis: Literal[-1, -2] = -1 if path.endswith("embedding") else -2
    return like if kind is None else jax.eval_shape(lambda x: quantise(x, kind, axis), like)


def _require_tensors(
    published: Published, table: Mapping[str, Tensor], abstract: Mapping[str, jax.ShapeDtypeStruct]
) -> None:
    """Refuses a model of which a tensor is missing, of another shape, or not known."""
    found = published.tensors
    if missing := sorted(table.keys() - found.keys()):
        raise UserError(f"{published.name}: {_listed(missing)} missing from its weights")
    for name, tensor in table.items():
        shape = abstract[tensor.path].shape[0 if tensor.layer is None else 1 :]
        expected = shape[::-1] if tensor.transposed else shape
        if found[name].shape != expected:
            raise UserError(
                f"{published.name}: {name} is {list(found[name].shape)}; by its config it is "
                f"{list(expected)}"
            )
    unknown = {name for name in found.keys() - table.keys() if not name.endswith(_IGNORED)}
    if _HEAD in unknown:  # beside a tied embedding
        unknown.discard(_HEAD)
        if not _equal(found[_HEAD], found[_EMBEDDING]):
            raise UserError(
                f"{published.name}: {_HEAD} differs from {_EMBEDDING}, but its config says "
                "tie_word_embeddings; set that to false there"
            )
    if unknown:
        raise UserError(
            f"{published.name}: {_listed(sorted(unknown))} not known: a model of another kind"
        )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 3:,} more tensors are" if len(names) > 3 else ""
    return ", ".join(names[:3]) + (more or (" are" if len(names) > 1 else " is"))


def _equal(one: LazyTensor, other: LazyTensor) -> bool:
    if (one.shape, one.dtype) != (other.shape, other.dtype):
        return False
    parts = _row_ranges(one)
    return all(one.read(*part).tobytes() == other.read(*part).tobytes() for part in parts)


def _row_ranges(stored: LazyTensor, *, whole: bool = False) -> Iterator[tuple[int, int]]:
    """As many rows at once as `_TABLE_BYTES` hold, or all."""
    rows, *rest = stored.shape
    size = max(1, _TABLE_BYTES // (math.prod(rest) * stored.dtype.itemsize))
    size = rows if whole else size
    yield from ((first, min(first + size, rows)) for first in range(0, rows, size))


def _read_parameter(
    path: str,
    parts: list[tuple[Tensor, LazyTensor]],
    shape: tuple[int, ...],
    place: Callable[[jax.ShapeDtypeStruct], Sharding],
    convert: Convert | None,
) -> Any:
    """One parameter from the tensors of its layers, or from parts of its only one."""
    dtype = np.result_type(*(stored.dtype for _, stored in parts))
    layers = shape[:1] if parts[0][0].layer is not None else ()
    keep = convert or _as_it_is
    one = jax.eval_shape(
        functools.partial(keep, path), jax.ShapeDtypeStruct(shape[len(layers) :], dtype)
    )
    whole = jax.tree.map(lambda x: jax.ShapeDtypeStruct((*layers, *x.shape), x.dtype), one)
    places = jax.tree.map(place, whole)
    buffers = jax.tree.map(lambda x, to: jnp.zeros(x.shape, x.dtype, device=to), whole, places)
    every = tuple(jax.tree.leaves(places))
    write = functools.partial(
        _write,
        path=path if convert else "",  # else the same for parameters of the same shape
        keep=keep,
        transposed=parts[0][0].transposed,
        shardings=every,
    )
    for tensor, stored in parts:
        for first, last in _row_ranges(stored, whole=tensor.layer is not None):
            rows = stored.read(first, last).astype(dtype, copy=False)
            to = _over_rows(every[0], rows.shape[0])
            placed = jax.make_array_from_callback(rows.shape, to, rows.__getitem__)
            at = first if tensor.layer is None else tensor.layer
            buffers = jax.block_until_ready(write(buffers, placed, np.int32(at)))
            del rows, placed  # before the next ones are read
    return buffers


def _as_it_is(path: str, x: Array) -> Array:
    return x


@functools.partial(
    jax.jit,
    static_argnames=("path", "keep", "transposed", "shardings"),
    donate_argnames="buffers",
)
def _write(
    buffers: Any,
    rows: Array,
    at: Array,
    *,
    path: str,
    keep: Convert,
    transposed: bool,
    shardings: tuple[Sharding, ...],
) -> Any:
    """The buffers with one layer, or rows of a table, at `at`; compiled once for all alike."""

    def update(buffer: Array, x: Array, sharding: Sharding) -> Array:
        x = x.reshape(-1, *buffer.shape[1:])  # a layer has no axis of layers
        whole = jax.lax.dynamic_update_slice_in_dim(buffer, x, at, axis=0)
        return jax.lax.with_sharding_constraint(whole, sharding)

    value = keep(path, rows.T if transposed else rows)
    to = jax.tree.unflatten(jax.tree.structure(buffers), shardings)
    return jax.tree.map(update, buffers, value, to)


def _over_rows(sharding: Sharding, rows: int) -> Sharding:
    """How a tensor goes to the devices: some of its rows to each, if they divide."""
    if not isinstance(sharding, NamedSharding):
        return sharding
    divides = rows % sharding.mesh.size == 0
    spec = PartitionSpec(sharding.mesh.axis_names) if divides else PartitionSpec()
    return NamedSharding(sharding.mesh, spec)
