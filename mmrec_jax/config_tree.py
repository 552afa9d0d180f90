"""A `Config` as plain values, and back: for files and checkpoints; and overrides of its fields.

A group that is one of several carries the name of its kind among its values (`"family": "mmrec"`).
"""

import dataclasses
import difflib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast, get_args, get_origin

from mmrec_jax.config import LENGTHS, Config, import_plugins
from mmrec_jax.config_migration import VERSION, upgrade
from mmrec_jax.errors import UserError
from mmrec_jax.settings import Settings, parse, type_hints, type_words

Root = TypeVar("Root", bound=Settings)


def to_dict(node: Settings) -> dict[str, Any]:
    """A group, or the whole config (which says its `version`), as values fit for JSON."""
    plain: dict[str, Any] = {"version": VERSION} if isinstance(node, Config) else {}
    if node.tag:
        plain[node.tag] = getattr(node, node.tag)
    for field in dataclasses.fields(node):  # type: ignore[arg-type]
        plain[field.name] = _plain(getattr(node, field.name))
    return plain


def from_dict(plain: Mapping[str, Any]) -> Config:
    """The config that this version or an older one stored; what it lacks is as it was then.

    Raises:
      UserError: a field is unknown, has the wrong type, or a value outside its range.
    """
    plain = upgrade(plain)
    plugins = plain.get("plugins", ())
    if not isinstance(plugins, list | tuple):
        raise UserError(f"config.plugins is {plugins!r}; it must be a list")
    import_plugins(plugins)
    return _build(Config, plain, "config")


def override(config: Root, assignments: Sequence[tuple[str, str | None]]) -> Root:
    """The config with other values.

    An assignment is a field (`optim.lr`) and its value as text, or None, which switches a bool on.
    The value of a tag (`model.family`) chooses another kind of group, which keeps of the fields
    that both have the values that are no defaults; any field of an objective switches it on, `None`
    off. One unit of length replaces another.

    Raises:
      UserError: a field is unknown, or a value is not of its type or outside its range.
    """
    root, tree = type(config), to_dict(config)
    named = [(name.split("."), text) for name, text in assignments]
    # What decides which fields there are goes first.
    for names, text in sorted(named, key=lambda assignment: _order(root, assignment[0])):
        _set(root, tree, names, text, "config")
        if names == ["plugins"]:
            import_plugins(tree["plugins"])
    lengths = {names[1] for names, _ in named if names[0] == "train"} & {*LENGTHS}
    if len(lengths) == 1:
        tree["train"] |= dict.fromkeys({*LENGTHS} - lengths)
    if root is Config:
        return cast(Root, from_dict(tree))
    return cast(Root, _build(root, tree, "config"))


def leaves(node: Settings, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Each value in a config: `group.field`, the value, and its field (None for a tag)."""
    if node.tag:
        yield prefix + node.tag, getattr(node, node.tag), None
    for field in dataclasses.fields(node):  # type: ignore[arg-type]
        value, name = getattr(node, field.name), prefix + field.name
        inside = {name: value} if isinstance(value, Settings) else {}
        if isinstance(value, Mapping):
            inside = {f"{name}.{one}": settings for one, settings in value.items()}
        for path, settings in inside.items():
            yield from leaves(settings, f"{path}.")
        if not isinstance(value, Settings | Mapping):
            yield name, value, field


def kinds(field: dataclasses.Field[Any]) -> Any:
    """The registry of a field that holds one or several of registered groups, None of another."""
    return field.metadata.get("registry")


def _order(root: type[Settings], names: Sequence[str]) -> int:
    field = _fields(root).get(names[0])
    if names == ["plugins"]:
        return 0
    return 1 if field and "kind" in field.metadata and names[1:] == [_tag(field)] else 2


def _fields(group: type[Settings]) -> dict[str, dataclasses.Field[Any]]:
    return {field.name: field for field in dataclasses.fields(group)}  # type: ignore[arg-type]


def _tag(field: dataclasses.Field[Any]) -> str:
    """The name of what tells the kinds of a field apart."""
    return kinds(field)[field.metadata["kind"]].tag


def _plain(value: Any) -> Any:
    if isinstance(value, Settings):
        return to_dict(value)
    if isinstance(value, Mapping):
        return {name: to_dict(one) for name, one in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _build(group: type[Any], plain: Any, where: str) -> Any:
    _require_group(plain, where)
    fields, values = _fields(group), {}
    for name in plain:
        if name not in fields:
            raise _unknown(group, name, where)
    for name, field in fields.items():
        if name not in plain:
            if "absent" in field.metadata:
                values[name] = field.metadata["absent"]
            continue
        value, inside = plain[name], f"{where}.{name}"
        if "kind" in field.metadata:
            values[name] = _build_kind(field, value, inside)
        elif kinds(field):
            _require_group(value, inside)
            chosen = {
                n: _build(_kind(field, n, inside), v, f"{inside}.{n}") for n, v in value.items()
            }
            values[name] = type_hints(group)[name](**{"cross_entropy": None, **chosen})
        elif _is_group(type_hints(group)[name]):
            values[name] = _build(type_hints(group)[name], value, inside)
        elif (items := _items(type_hints(group)[name])) and isinstance(value, list | tuple):
            built = (_build(items, each, f"{inside}[{i}]") for i, each in enumerate(value))
            values[name] = tuple(built)
        else:
            values[name] = value
    return group(**values)


def _require_group(plain: Any, where: str) -> None:
    if not isinstance(plain, Mapping):
        raise UserError(f"{where} is {plain!r}; it must be a group of fields")


def _build_kind(field: dataclasses.Field[Any], plain: Any, where: str) -> Any:
    _require_group(plain, where)
    plain = dict(plain)
    tag = _tag(field)
    group = _kind(field, plain.pop(tag, field.metadata["kind"]), f"{where}.{tag}")
    return _build(group, plain, where)


def _kind(field: dataclasses.Field[Any], name: Any, where: str) -> type[Settings]:
    if not isinstance(name, str) or name not in kinds(field):
        raise UserError(f"{where} is {name!r}; it must be one of {', '.join(kinds(field))}")
    return kinds(field)[name]


def _defaults(group: type[Settings]) -> dict[str, Any]:
    fields = [
        field for field in _fields(group).values() if field.default is not dataclasses.MISSING
    ]
    return {field.name: _plain(field.default) for field in fields}


def _is_group(hint: Any) -> bool:
    return inspect.isclass(hint) and issubclass(hint, Settings)


def _items(hint: Any) -> type[Settings] | None:
    """The group of which a field holds several in order."""
    group = get_args(hint)[0] if get_origin(hint) is tuple else None
    return group if _is_group(group) else None


def _set(
    group: type[Settings], tree: dict[str, Any], names: Sequence[str], text: str | None, where: str
) -> None:
    """Sets the field `names`, given from `group` on, in the plain values of the group."""
    name, *rest = names
    field = _fields(group).get(name)
    if field is None:
        raise _unknown(group, name, where)
    hint, inside = type_hints(group)[name], f"{where}.{name}"
    if "kind" in field.metadata:
        tag = _tag(field)
        if rest == [tag]:
            chosen = _kind(field, text, f"{inside}.{tag}")
            before, known = _defaults(kinds(field)[tree[name][tag]]), _fields(chosen)
            kept = {n: x for n, x in tree[name].items() if n in known and x != before.get(n)}
            tree[name] = {tag: text, **_defaults(chosen), **kept}
        elif rest:
            _set(kinds(field)[tree[name][tag]], tree[name], rest, text, inside)
        else:
            raise UserError(f"{inside} is a group; set one of its fields, such as {inside}.{tag}")
    elif kinds(field) and rest:
        chosen = _kind(field, rest[0], inside)
        if len(rest) > 1:
            tree[name].setdefault(rest[0], _defaults(chosen))
            _set(chosen, tree[name][rest[0]], rest[1:], text, f"{inside}.{rest[0]}")
        elif (text or "").lower() == "none":
            tree[name].pop(rest[0], None)
        else:
            raise UserError(f"{inside}.{rest[0]} is a group; set one of its fields, or None")
    elif _is_group(hint) and rest:
        _set(hint, tree[name], rest, text, inside)
    elif kinds(field) or _is_group(hint):
        raise UserError(f"{inside} is a group; set one of its fields, such as {inside}.FIELD=VALUE")
    elif rest:
        raise UserError(f"{inside}.{'.'.join(rest)} is not a field: {inside} is one already")
    elif text is None and hint is not bool:
        raise UserError(f"{inside} has no value; write --{inside}=VALUE")
    else:
        try:
            # Groups are written as dicts of their fields.
            plain = tuple[Any, ...] if _items(hint) else hint
            tree[name] = parse(plain, "true" if text is None else text)
        except ValueError:
            raise UserError(f"{inside} is {text!r}; it must be {type_words(hint)}") from None


def _unknown(group: type[Settings], name: str, where: str) -> UserError:
    """The refusal of a field, with the one that may be meant."""
    fields = _fields(group)
    here = {f"{where}.{known}": field for known, field in fields.items()}
    anywhere = {f"config.{path}": field for path, _, field in leaves(Config()) if field}
    meant = _alike(name, here) or _alike(name, anywhere)
    hint = f"did you mean {meant}? " if meant else ""
    kind = ""
    if group.tag:
        kind = f" of {group.tag} {getattr(group, group.tag)}"
        others = [each for each in _kinds_of(group) if name in _fields(_kinds_of(group)[each])]
        hint = f"it is one of {group.tag} {', '.join(others)}. " if others else hint
    return UserError(
        f"{where}.{name} is not a field{kind}; {hint}the fields are {', '.join(sorted(fields))}"
    )


def _kinds_of(group: type[Settings]) -> Any:
    """The registry of the groups that have the tag of this one."""
    unions = [field for field in _fields(Config).values() if "kind" in field.metadata]
    return next(kinds(field) for field in unions if _tag(field) == group.tag)


def _alike(name: str, fields: Mapping[str, dataclasses.Field[Any]]) -> str:
    """The field that has a name like this, or a comment with its words; empty if there is none."""
    close = difflib.get_close_matches(name, [field.name for field in fields.values()], n=1)
    for path, field in fields.items():
        if field.name in close or (len(name) > 3 and name in field.name):
            return path
    told = {path: field.metadata.get("comment", "").split() for path, field in fields.items()}
    found = [path for path in told if set(name.lower().split("_")) <= {*told[path]}]
    return min(found, key=lambda path: len(told[path]), default="")
