"""Plain configs of older versions, as this version writes them.

Fields that were added since are not here: their `setting(absent=...)` says what they were, and
`config_tree.py` fills them in.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from mmrec_jax.data.kinds.registry import DATA_KINDS
from mmrec_jax.errors import UserError

VERSION = 3

# Kinds of data that were kinds of their own for how their files were read.
_TEXT_SOURCES = ("jsonl", "stream")
# What said how a kind of data is read, and is not asked for any more.
_GONE_FROM_DATA = (
    *("tfds_dir", "shuffle_mb", "tokenizer_mb", "stream_workers", "ram_mb"),
    *("clean", "language", "min_chars", "max_chars"),
)


def upgrade(plain: Mapping[str, Any]) -> dict[str, Any]:
    """The values under the names of this version, without the version itself.

    Raises:
      UserError: a newer version of this package wrote them.
    """
    plain = {name: dict(v) if isinstance(v, Mapping) else v for name, v in plain.items()}
    version = plain.pop("version", 1)
    if not isinstance(version, int):
        raise UserError(f"version is {version!r}; it must be a number")
    if version > VERSION:
        raise UserError(
            f"the config has version {version}; this mmrec_jax reads versions up to {VERSION}: "
            "install a newer one"
        )
    plain.pop("guided", None)  # a sampling that is gone: `train/setup.py` refuses to go on with it
    if isinstance(adapters := plain.get("adapters"), dict):
        adapters.pop("path", None)  # which of two ways to compute the same
    plain = _from_1(plain) if version == 1 else plain
    if version < VERSION and isinstance(plain.get("data"), dict):
        plain["data"] = _data_from_2(plain["data"])
    return plain


def _from_1(plain: dict[str, Any]) -> dict[str, Any]:
    """Version 1 had one model, all kinds of data in one, and other groups."""
    for name in ("model", "train", "turkish", "data", "instructions", "task"):
        if not isinstance(plain.get(name, {}), dict):
            raise UserError(f"config.{name} is {plain[name]!r}; it must be a group of fields")
    model, train, turkish = (plain.get(name, {}) for name in ("model", "train", "turkish"))
    objectives: dict[str, dict[str, Any]] = {"cross_entropy": {}}
    uboo = {
        new: model.pop(old)
        for new, old in (
            ("weight", "lambda_p"),
            ("isolate", "uboo_isolate"),
            ("orthogonal", "uboo_orthogonal"),
        )
        if old in model
    }
    if model.pop("use_uboo", False):
        objectives["uboo"] = uboo
    weight = turkish.pop("vowel_harmony", None)
    if weight is not None:
        objectives["vowel_harmony"] = {"weight": weight}
    noise = {
        name: train.pop(f"neftune_{name}")
        for name in ("alpha", "schedule", "table")
        if f"neftune_{name}" in train
    }
    data = _data_from_1({n: plain.pop(n, {}) for n in ("data", "instructions", "task")})
    return {**plain, "data": data, "objectives": objectives, "noise": noise}


def _data_from_1(groups: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Fields that the kind of data does not have were without effect, and are left out."""
    fields = {name: value for group in groups.values() for name, value in group.items()}
    source = fields.pop("source", "treebank")
    source = "text" if source in _TEXT_SOURCES else source
    known = {name: {f.name for f in dataclasses.fields(DATA_KINDS[name])} for name in DATA_KINDS}
    own = known.get(source, set()) if isinstance(source, str) else set()
    foreign = set().union(*known.values()) - own
    kept = {name: value for name, value in fields.items() if name not in foreign}
    return {"source": source, **kept}


def _data_from_2(data: dict[str, Any]) -> dict[str, Any]:
    """Text that is read as it is needed was a kind of its own, and mixtures were one text."""
    kept = {name: value for name, value in data.items() if name not in _GONE_FROM_DATA}
    if data.get("source") in _TEXT_SOURCES:
        kept["source"] = "text"
    if isinstance(weights := data.get("weights"), str):
        kept["weights"] = _weights_from_2(weights)
    return kept


def _weights_from_2(text: str) -> Any:
    """`"3,1; 500: 1,1"` was 3 and 1, and from step 500 on 1 and 1."""
    stages = [part.rpartition(":") for part in text.split(";") if part.strip()]
    try:
        typed = [(int(step or 1), list(map(float, each.split(",")))) for step, _, each in stages]
    except ValueError:
        return text  # which is refused with the field's name
    return typed if len(typed) > 1 else [weight for _, weights in typed for weight in weights]
