"""The shape of the library itself: who may import whom, and how long a file may be."""

import ast
from pathlib import Path

import pytest

from tests.small_run import ROOT

_PACKAGE = ROOT / "mmrec_jax"
_LEVELS = {
    **dict.fromkeys(
        (
            "adapter_config",
            "errors",
            "json_object",
            "array_typing",
            "atomic_file",
            "config",
            "config_check",
            "config_tree",
            "config_file",
            "model_config",
            "task_config",
            "instruction_config",
            "optim_config",
            "turkish_config",
            "sizes",
            "tree_paths",
            "workdir",
        ),
        0,
    ),
    **dict.fromkeys(("data", "dora", "nn", "optim"), 1),
    **dict.fromkeys(("sampling", "text_stream", "text_state", "prefill", "generation", "chat"), 2),
    **dict.fromkeys(("model_identity", "state_file", "saved_state", "bench", "dashboard"), 2),
    "exported": 2,
    "turkish": 2,
    "tokenizers": 3,
    "train": 3,
    "probes": 4,
    **dict.fromkeys(("loading", "commands", "cli"), 5),
}
_SEPARATE = {"data", "dora", "nn", "optim"}  # meet only above
_MODULES = sorted(_PACKAGE.rglob("*.py"))
_SOURCES = sorted(
    path
    for folder in ("mmrec_jax", "configs", "benchmarks", "tests")
    for path in (ROOT / folder).rglob("*.py")
)


def _part(module: str) -> str:
    """`mmrec_jax.nn.scan` -> `nn`: the unit that has a level."""
    return [*module.split("."), ""][1]


def _imports(path: Path) -> set[str]:
    """Modules of this package that a file imports, wherever in the file it does."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] == "mmrec_jax"}


def _own_part(path: Path) -> str:
    return path.relative_to(_PACKAGE).parts[0].removesuffix(".py")


def test_every_part_has_a_level():
    assert {_own_part(path) for path in _MODULES} - {"__init__"} == set(_LEVELS)


def test_imports_go_down_the_ladder():
    wrong = []
    for path in _MODULES:
        own = _own_part(path)
        if own == "__init__":
            continue  # hands out names of the top
        for imported in sorted(_imports(path)):
            part = _part(imported)
            siblings = own != part and {own, part} <= _SEPARATE
            if _LEVELS[part] > _LEVELS[own] or siblings:
                wrong.append(f"{path.relative_to(ROOT)} imports {imported}")
    assert not wrong


def _tracks(path: Path) -> dict[str, set[str]]:
    """Which modules of its own folder each module of a folder imports."""
    prefix = ".".join(path.relative_to(ROOT).parts) + "."
    return {
        module.stem: {
            name.removeprefix(prefix).split(".")[0]
            for name in _imports(module)
            if name.startswith(prefix)
        }
        for module in path.glob("*.py")
    }


_FOLDERS = (
    "data",
    "data/formats",
    "data/prepared",
    "data/quality",
    "data/stream",
    "dora",
    "nn",
    "optim",
    "bench",
    "dashboard",
    "tokenizers",
    "turkish",
    "train",
    "probes",
)


@pytest.mark.parametrize("folder", _FOLDERS)
def test_no_folder_imports_in_a_circle(folder):
    waiting = _tracks(_PACKAGE / folder)
    while waiting:
        free = {name for name, needed in waiting.items() if not needed & waiting.keys()}
        assert free, f"these import each other: {sorted(waiting)}"
        waiting = {name: needed for name, needed in waiting.items() if name not in free}


def test_no_file_is_long():
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in _SOURCES}
    assert not {str(path): length for path, length in lengths.items() if length > 300}
    in_package = sorted(lengths[path] for path in _MODULES)
    assert in_package[len(in_package) // 2] <= 150


def test_workers_that_read_text_do_not_import_jax():
    """An interpreter with jax costs 300 MB and seconds, and so does grain, which imports it."""
    waiting, seen = {"mmrec_jax.data.stream.worker"}, set()
    while waiting:
        module = waiting.pop()
        seen.add(module)
        path = ROOT / f"{module.replace('.', '/')}.py"
        names = _imports(path)
        modules = {name if _is_module(name) else name.rpartition(".")[0] for name in names}
        waiting |= {name for name in modules if _is_module(name)} - seen
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            imported += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in imported} & {"jax", "flax", "grain"}, path
    assert "mmrec_jax.data.formats.record_file" in seen


def _is_module(name: str) -> bool:
    return (ROOT / f"{name.replace('.', '/')}.py").exists()


def test_every_file_is_named_after_what_it_holds():
    assert not {path.stem for path in _SOURCES} & {"utils", "common", "helpers", "misc"}


def test_nothing_outside_the_repository_is_imported():
    for path in _SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert "shared" not in {name.split(".")[0] for name in names}, path
            assert not (isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.path"), path
