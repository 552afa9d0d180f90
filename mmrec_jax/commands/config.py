"""`mmrec config`: every field of a run, its type, its value and what it means."""

import argparse
import dataclasses
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

_INDENT = " " * 6


def add_parser(commands: Any) -> None:
    """Adds the subcommand to those of `mmrec`."""
    parser = commands.add_parser(
        "config",
        help="every field that a run has: its type, value and meaning",
        description="Prints the fields of a run; those of a file with --config, and with "
        "--config.group.field=value what these change.",
    )
    parser.add_argument("--config", help="a file, or a name such as tiny; defaults when left out")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Prints the groups, and after a group that is one of several the others."""
    from mmrec_jax.config import Config
    from mmrec_jax.config_file import read_any_config, with_overrides
    from mmrec_jax.settings import Settings

    if options.config:
        config = read_any_config(options.config, options.overrides)
    else:
        config = with_overrides(Config(), options.overrides)
    lines = [*_fields(config, "config")]
    for field in dataclasses.fields(config):
        value, path = getattr(config, field.name), f"config.{field.name}"
        registry = field.metadata.get("registry", ())
        if isinstance(value, Mapping):
            for name in registry:
                note = "" if name in value else "off"
                lines += _group(value.get(name, registry[name]), f"{path}.{name}", note)
        elif isinstance(value, Settings):
            chosen = getattr(value, value.tag) if value.tag else ""
            lines += _group(value, path, f"{value.tag}={chosen}" if chosen else "")
            for name in registry:
                if name != chosen:
                    lines += _group(registry[name], path, f"not chosen: {value.tag}={name}")
    print("\n".join(lines))


def _group(group: Any, path: str, note: str) -> Iterator[str]:
    """The fields of a group, or of a class of groups with their defaults."""
    yield ""
    yield f"{path}{f' ({note})' if note else ''}: {(group.__doc__ or '').splitlines()[0]}"
    yield from _fields(group, path)


def _fields(group: Any, path: str) -> Iterator[str]:
    from mmrec_jax.settings import Settings, type_hints

    hints = type_hints(group if isinstance(group, type) else type(group))
    for field in dataclasses.fields(group):
        value, hint = getattr(group, field.name, None), hints[field.name]
        if isinstance(value, Settings | Mapping):
            continue
        kind = hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
        changed = "" if value == field.default else f", {field.default!r} by default"
        yield f"  --{path}.{field.name}={value!r}  [{kind}{changed}]"
        comment = field.metadata.get("comment", "")
        yield from textwrap.wrap(comment, 100, initial_indent=_INDENT, subsequent_indent=_INDENT)
