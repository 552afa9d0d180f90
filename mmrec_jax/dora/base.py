"""What a run keeps of the parameters that it does not train."""

import functools
import re
from collections.abc import Callable

from mmrec_jax.adapter_config import AdapterConfig
from mmrec_jax.errors import UserError
from mmrec_jax.models.vocabulary import NEW_ROWS
from mmrec_jax.quantised import Quantised, dequantise, quantise
from mmrec_jax.typing import Array

Kept = Array | Quantised


@functools.lru_cache(maxsize=8)  # what calls the same function is compiled once
def base_converter(config: AdapterConfig) -> Callable[[str, Kept], Kept]:
    """What is kept of the parameter at a path, of one layer of it or of rows of a table. Traceable.

    Quantised are kernels, which a layer dequantises (`dora.intercept`), and tables of rows. What is
    trained as it is stays as it is stored, unless the base is quantised already.
    """

    def convert(name: str, leaf: Kept) -> Kept:
        if re.search(NEW_ROWS, name) or (config.train and re.search(config.train, name)):
            return dequantise(leaf)
        kernel, table = (re.search(rf"(^|/){last}$", name) for last in ("kernel", "embedding"))
        wanted = config.base_dtype
        if wanted in ("int8", "nf4") and not kernel:
            wanted = ""
        if table and config.embedding_dtype:
            wanted = config.embedding_dtype
        if not wanted or (isinstance(leaf, Quantised) and leaf.kind == wanted):
            return leaf
        if isinstance(leaf, Quantised):
            field = "embedding_dtype" if table else "base_dtype"
            raise UserError(
                f'config.adapters.{field} is "{wanted}", but {name} of config.init_from is '
                f"{leaf.kind} already; leave it out, or begin with what was quantised"
            )
        if wanted in ("int8", "nf4"):
            return quantise(leaf, wanted, -1 if table else -2)
        return leaf.astype(wanted)

    return convert
