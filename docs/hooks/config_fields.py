"""Writes a page for every part of a config, from the dataclasses that define it."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from mmrec_jax.adapt.config import AdaptConfig
from mmrec_jax.config import Config
from mmrec_jax.data.kinds.registry import DATA_KINDS
from mmrec_jax.models.registry import FAMILIES
from mmrec_jax.objectives.registry import OBJECTIVES
from mmrec_jax.registry import Registry
from mmrec_jax.settings import Settings, type_hints, type_words
from mmrec_jax.stages import StageConfig

# What would be markup in a cell of a table.
_ESCAPED = {"|": "\\|", "<": "&lt;", "{": "&#123;", "*": "\\*", "_": "\\_", "\n": " "}
_SET = """Set a field in a config file, or on the command line as `--config.GROUP.FIELD=VALUE`;
`mmrec config --config=tiny` prints all of them with the values of a run.
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages to those that are written by hand."""
    pages = {
        "run": ("A run", [*_parts(Config()), *_group(StageConfig, "config.stages[...]")]),
        "models": ("Models", _registered(FAMILIES, "model", "family")),
        "data": ("Data", _registered(DATA_KINDS, "data", "source")),
        "objectives": ("Objectives", _objectives()),
        "adaptation": ("An adaptation", _parts(AdaptConfig())),
    }
    for name, (title, lines) in pages.items():
        content = "\n".join([f"# {title}", "", _SET, *lines])
        files.append(File.generated(config, f"config/{name}.md", content=content))
    return files


def _parts(config: Settings) -> Iterator[str]:
    """The fields of a config itself, and then its groups that have no page of their own."""
    yield from _group(type(config), "config")
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, Settings) and "registry" not in field.metadata:
            yield from _group(type(value), f"config.{field.name}", values=value)


def _registered(registry: Registry[type[Any]], group: str, tag: str) -> Iterator[str]:
    for name in registry:
        yield from _group(registry[name], f"config.{group}", f"{tag} {name}")


def _objectives() -> Iterator[str]:
    for name in OBJECTIVES:
        yield from _group(OBJECTIVES[name], f"config.objectives.{name}")


def _group(
    group: type[Settings], path: str, which: str = "", values: Settings | None = None
) -> Iterator[str]:
    """A heading, what the class says of itself, and a table of its fields.

    The defaults are the class's, or those that a config's own default of it has, `values`.
    """
    heading = f"{path}: {which}" if which else path
    yield f"\n## `{heading}`\n\n{_paragraphs(group.__doc__ or '')}\n"
    rows = [*_rows(group, values)]
    if rows:
        yield "| Field, default | Meaning |\n|---|---|"
        yield from rows


def _rows(group: type[Settings], values: Settings | None) -> Iterator[str]:
    hints = type_hints(group)
    for field in dataclasses.fields(group):
        default = field.default
        if default is dataclasses.MISSING or isinstance(default, Settings | Mapping):
            continue
        default = getattr(values, field.name, default)
        check = field.metadata.get("check")
        kind = type_words(hints[field.name]) + (f", {check.expected}" if check else "")
        comment = _cell(field.metadata.get("comment", ""))
        shown = _cell(repr(default).replace("'", '"'))
        yield f"| `{field.name}`<br>{shown} | {comment}<br>*{_cell(kind)}* |"


def _paragraphs(docstring: str) -> str:
    return "\n".join(line.strip() for line in docstring.strip().splitlines())


def _cell(text: str) -> str:
    return "".join(_ESCAPED.get(letter, letter) for letter in text)
