"""The shape of the package: which room may import which, and who knows whose names."""

import ast
import re

import pytest

from tests.small_run import ROOT

_PACKAGE = ROOT / "mmrec_jax"
# Rooms from the bottom up. Each may import those of the rows above it; those of one row do not know
# each other. A room stands below the modules of it that have a row of their own further up.
_LADDER = [
    "errors typing xla_flags memory",
    "quantised",
    "tree",
    "registry atomic_file json_object argument_parser",
    "curves",
    "settings",
    "models",
    "data.kinds objectives.config",
    "objectives.registry stages adapter_config optim.config",
    "config",
    "config_migration tokenizers.conversation optim dora",
    "tokenizers.chat_template",
    "tokenizers.tokenizer tokenizers.library",
    "tokenizers.bpe_file",
    "tokenizers.byte tokenizers.char tokenizers.huggingface tokenizers.sentencepiece",
    "tokenizers.byte_bpe",
    "tokenizers.cache",
    "data",
    "config_tree turkish",
    "config_file objectives tokenizers train.interrupt train.rendezvous train.batch_split",
    "train.processes train.state train.estimator train.state_passing",
    "train.mesh train.step",
    "pretrained",
    "checkpoints",
    "inference",
    "serve",
    "evaluation",
    "train",
    "plan",
    "adapt",
    "commands",
    "cli",
]
_LEVELS = {room: level for level, row in enumerate(_LADDER) for room in row.split()}
# A config is read long before what it describes is built, and imports that only then.
_BUILDERS = {"data.kinds": "turkish", "objectives.config": "objectives"}
_FOLDERS = "mmrec_jax", "configs", "benchmarks", "tests"
_SOURCES = [path for folder in _FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
_MODULES = {
    ".".join(path.relative_to(_PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in _SOURCES
    if path.is_relative_to(_PACKAGE) and path != _PACKAGE / "__init__.py"
}


def _imports(path):
    """What a file imports beside types, and whether it does so when it is loaded."""
    tree = ast.parse(path.read_text("utf-8"))
    blocks = [node for node in tree.body if isinstance(node, ast.If)]
    types = [node for each in blocks if "TYPE" in ast.unparse(each.test) for node in each.body]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom) and node not in types:
            module = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            yield from ((module + alias.name, not node.col_offset) for alias in node.names)


def _own(path):
    for name, loading in _imports(path):
        first, _, module = name.partition(".")
        while first == "mmrec_jax" and module not in _MODULES:
            module = module.rpartition(".")[0]
        if first == "mmrec_jax":
            yield module, loading


def _room(module):
    """`train.mesh` -> `train.mesh`, `train.loop` -> `train`: what has a level."""
    while module not in _LEVELS:
        module = module.rpartition(".")[0]
    return module


@pytest.mark.parametrize("module", _MODULES)
def test_imports_go_down_the_ladder(module):
    room = _room(module)
    for imported, loading in _own(_MODULES[module]):
        built = not loading and room in _BUILDERS
        top = _LEVELS[_BUILDERS[room]] if built else _LEVELS[room] - 1
        assert _room(imported) == room or _LEVELS[_room(imported)] <= top, imported


def test_no_modules_import_each_other():
    waiting = {
        module: {name for name, loading in _own(path) if loading} - {module}
        for module, path in _MODULES.items()
    }
    while waiting:
        free = {name for name, needed in waiting.items() if not needed & waiting.keys()}
        assert free, f"these import each other: {sorted(waiting)}"
        waiting = {name: waiting[name] for name in waiting.keys() - free}


def test_workers_that_read_text_do_not_import_jax():
    """An interpreter with jax costs 300 MB and seconds, and so does grain, which imports it."""
    waiting, seen = {"data.prepare.executors", "data.prepare.steps"}, set()
    while waiting:
        seen.add(module := waiting.pop())
        waiting |= {name for name, loading in _own(_MODULES[module]) if loading} - seen
        named = {name.split(".")[0] for name, _ in _imports(_MODULES[module])}
        assert not named & {"jax", "flax", "grain"}, module
    assert "data.files.reading" in seen


@pytest.mark.parametrize("path", _SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_named_after_what_it_holds_and_holds_something(path):
    assert path.stem not in ("utils", "common", "helpers", "misc")
    assert "shared" not in {name.split(".")[0] for name, _ in _imports(path)}
    body = ast.parse(path.read_text("utf-8")).body
    kinds = {type(node) for node in body} - {ast.Import, ast.ImportFrom, ast.Expr}
    assert kinds or path.stem == "__init__", "it only forwards"


# Names, and the files that may have them. Those of version 0.1 are read where its files are.
_OLD = r"config_migration|checkpoints/(load|identity)"
_NAMES = {
    # typing.py says which fields the letters of dimensions are.
    r"MMRec[A-Z]|zero_state|\b[bcw]_(gamma|alpha|g)\b|dpg_": r"models/(mmrec/|reg)|^typing",
    # Of Turkish texts, not of the objective: scores, reports.
    r"(?i)uboo|harmony": f"objectives/|turkish/|{_OLD}|samples|s/report|commands/tok",
    r"(?i)neftune": r"models/noise|^config|config_migration",
    # The step and the loop see wrapped models; what assembles a run wraps, setup and report say so.
    r"(?i)dora|adapter|embedding_noise": r"^(?!train)|train/(assembly|setup|report)",
}


@pytest.mark.parametrize("names", _NAMES)
def test_names_stay_in_their_rooms(names):
    for path in _MODULES.values():
        where = str(path.relative_to(_PACKAGE))
        found = re.findall(names, path.read_text("utf-8"))
        assert not found or re.search(_NAMES[names], where), f"{where}: {found}"
