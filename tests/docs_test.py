"""Every command and snippet of the README, the pages of docs/ and the configs' docstrings.

All of them are parsed: the options, the fields and the files they name are there. Those of the
README and of the configs are typed as well, here in this process, from the top down, as they need
each other: `mmrec` in full, training lines as far as their data, and for a few steps those that
later lines want the run of. `pytest -m soak tests/docs_test.py` types those of the pages too, and
all of them in a shell from a fresh install. A block whose title says what it needs, hardware or a
network, is parsed alone.
"""

import ast
import contextlib
import dataclasses
import functools
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import jax
import pytest

from mmrec_jax import cli
from mmrec_jax.adapt import dry_run, pipeline
from mmrec_jax.checkpoints.load import open_model
from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.config_file import parse_with_overrides, read_any_config
from mmrec_jax.data.files.compression import zstd
from mmrec_jax.data.treebank import treebank_documents
from mmrec_jax.plan import program, target
from mmrec_jax.train import interrupt, loop
from mmrec_jax.train.setup import load_data
from tests.pretrained.small_folder import write_folder
from tests.small_run import ROOT, flags
from tests.tokenizers.small_base import write_base


@dataclasses.dataclass(frozen=True)
class Block:
    """A block of code of a page: what it is written in, what it needs, and what it says."""

    page: str
    language: str
    needs: str
    text: str

    @property
    def lines(self) -> list[str]:
        """Its commands, if it is of commands."""
        if self.language not in ("", "bash"):
            return []
        lines = self.text.replace("\\\n", " ").splitlines()
        return [line for line in lines if line.strip()]


def _blocks(path):
    fence = r'^```(\w*)(?: title="([^"]*)")?\n(.*?)^```$'
    found = re.findall(fence, path.read_text("utf-8"), re.M | re.S)
    return [Block(path.stem, *parts) for parts in found]


# In the order in which a reader finds them: later pages use the runs of earlier ones.
_ORDER = re.findall(r": ([\w-]+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.M)
_WRITTEN = [ROOT / "docs" / name for name in _ORDER if (ROOT / "docs" / name).is_file()]
_README = _blocks(ROOT / "README.md")
_PAGES = [block for path in _WRITTEN for block in _blocks(path)]
_LINES = [line for block in _README if not block.needs for line in block.lines]
_ALL = [(each.page, line) for each in [*_README, *_PAGES] for line in each.lines]
_TYPED = [line for block in _PAGES if not block.needs for line in block.lines]
_SNIPPETS = [each for each in [*_README, *_PAGES] if each.language == "python" and not each.needs]
_DOCUMENTED = [
    (path.stem, line)
    for path in sorted((ROOT / "configs").glob("*.py"))
    for line in (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "")
    .replace("\\\n", " ")
    .splitlines()
    if re.match(r"(python|mmrec) ", line)
]
_NAMES = {path.stem for path in (ROOT / "configs").glob("*.py")}
_EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
# Of the runs that are trained here: a few steps of a model that compiles in seconds.
_CHEAP = flags(
    train__steps=2,
    train__epochs=None,
    train__eval_every=2,
    train__eval_batches=1,
    train__batch_size=4,
    train__sample_tokens=0,
    train__devices=1,
    train__dashboard=False,
    model__num_layers=1,
    model__model_dim=16,
    model__num_memories=1,
    model__gate="none",
    data__seq_len=128,
)
_TRAINED = (
    "tiny",
    "tiny --config.optim.name=muon --config.optim.lr=0.02",
    "finetune --config.init_from=runs/tiny",
)
_INSTALLED = ("pip", "python3", ".", "curl")  # of a shell, not of this process


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A copy of what a reader has, with the files that the README takes for the reader's own."""
    folder = tmp_path_factory.mktemp("reader")
    for name in ("configs", "train.py", "tests"):
        (folder / name).symlink_to(ROOT / name)
    write_files(folder)
    return folder


def write_files(folder):
    texts = [document.text for document in treebank_documents()]
    for name in ("books", "corpus", "tr"):
        (folder / name).mkdir()
    for path in ("my_text.txt", "books/one.txt", "tr/one.txt"):
        (folder / path).write_text("\n\n".join(texts[:150]), "utf-8")
    (folder / "book.txt").write_text(" ".join(texts[:60]), "utf-8")
    pairs = "".join(f'{{"prompt": "{i}?", "completion": "{i}."}}\n' for i in range(40))
    (folder / "pairs.jsonl").write_text(pairs, "utf-8")
    for path, said in (("said.txt", texts[1:4]), ("meant.txt", texts[:3])):
        (folder / path).write_text("\n".join(map(" ".join, map(str.split, said))), "utf-8")
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts[:300]).encode()
    (folder / "corpus" / "one.jsonl.zst").write_bytes(zstd.compress(lines))
    write_base(folder)
    write_folder(folder / "Qwen" / "Qwen3-0.6B")  # read in place of the one on the Hub


def _train(command, arguments, monkeypatch):
    """Trains for a few steps where a later line needs the run, or else up to its data."""
    named = [each for each in arguments if not each.startswith("--workdir=")]
    name = " ".join(named).replace("--config=configs/", "").replace(".py", "")
    if name in _TRAINED:
        arguments = [*arguments, *_CHEAP]
    else:
        monkeypatch.setattr(loop, "run", _open_data)
    monkeypatch.setattr(interrupt, "process_that_trains", contextlib.nullcontext)
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
    main = functools.partial(cli.main, ["train", *arguments])
    if command == "train.py":
        main = runpy.run_path(command)["main"]
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code


def _open_data(config, workdir, **_):
    assert not Workdir(workdir).config.exists(), "refused: another run is in this folder"
    origin = config.init_from and open_model(config.init_from).tokenizer
    # One folder for all, where a tokenizer is trained once.
    data = load_data(config, Workdir(Path("runs/tiny")), origin or None)
    assert data.describe()


def _find_target(name, count):
    """As many devices of this machine."""
    count = count or (1 if name.startswith("cuda") else 8)
    return target.Target(tuple(jax.devices()[:count]), 1)


def _smaller(line):
    """As many new tokens as the base and the text of `write_files` are good for."""
    return line.replace("--vocab-size 40000 --superwords 10000", "--vocab-size 330 --superwords 5")


def _type(line, monkeypatch, whole=False):
    command, *arguments = shlex.split(line.rpartition("&& ")[2], comments=True)
    if command in _INSTALLED:
        return
    if command == "python":
        assert arguments.pop(0) == "train.py"
        _train("train.py", arguments, monkeypatch)
        return
    assert command == "mmrec"
    if arguments[0] == "train":
        _train("mmrec", arguments[1:], monkeypatch)
        return
    if arguments == ["--version"]:
        with pytest.raises(SystemExit, match=r"^0$"):
            cli.main(arguments)
        return
    if arguments[:2] == ["data", "prepare"]:  # its memory is counted, and this process is large
        code = "import sys; from mmrec_jax.cli import main; main(sys.argv[1:])"
        subprocess.run([sys.executable, "-c", code, *arguments], check=True, timeout=240)
        return
    if arguments[0] == "plan":  # compiled in minutes, where the compiler is installed
        fits = program.Program(1, 1, 0, {}, 0.0)
        monkeypatch.setattr(program, "compile_program", lambda lowered: fits)
        monkeypatch.setattr(target, "find_target", _find_target)
        with pytest.raises(SystemExit, match=r"^0$"):
            cli.main(arguments)
        return
    if arguments[0] == "adapt":
        monkeypatch.setattr(interrupt, "exit_on_signal", lambda: None)  # of this process
        if whole and arguments[1:] == ["--config=adapt", "--workdir=runs/adapt"]:
            arguments[1] = "--config=tests/adapt/small_adapt.py"  # a later line reads its export
        else:  # as far as what it would do
            monkeypatch.setattr(pipeline, "adapt", _plan_stages)
            monkeypatch.setattr(dry_run, "dry_run", _plan_stages)
    cli.main(arguments)


def _plan_stages(config, root, *, until, start, **_):
    assert [*pipeline.stages(config)]
    return []


@pytest.mark.parametrize(("page", "line"), _ALL)
def test_each_line_has_options_fields_and_files_that_there_are(page, line):
    for command in line.split(" && "):
        words = shlex.split(command, comments=True)
        for extra in re.findall(r"\[([\w,-]+)\]", command) if "install" in words else ():
            assert {*extra.split(",")} <= {*_EXTRAS}
        if words[0] == "python":
            words[:2] = ["mmrec", "train"]
        if "mmrec" not in words or "gcloud" in words:
            continue
        arguments = words[words.index("mmrec") + 1 :]
        if "--version" in arguments:
            continue
        options = parse_with_overrides(cli._parser(), arguments)
        if getattr(options, "config", None):
            with contextlib.chdir(ROOT):
                assert options.config in _NAMES or Path(options.config).is_file()
                read_any_config(options.config, options.overrides)


@pytest.mark.parametrize("line", _LINES)
def test_each_line_of_the_readme(line, folder, monkeypatch):
    _type_in(folder, line, monkeypatch)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("line", _TYPED)
def test_each_line_of_the_pages(line, folder, monkeypatch):
    _type_in(folder, line, monkeypatch, whole=True)


def _type_in(folder, line, monkeypatch, whole=False):
    monkeypatch.chdir(folder)
    if line.endswith("pytest"):  # the line of .ci/run
        return
    line = _smaller(line)
    if line.startswith("mmrec eval recall"):
        line = f"{line.partition('#')[0]} --lengths 256 --samples 1 --sequences 8"
    _type(line, monkeypatch, whole)


@pytest.mark.parametrize("block", _SNIPPETS, ids=lambda block: block.page)
def test_each_snippet(block, folder, monkeypatch):
    monkeypatch.chdir(folder)
    if "runs/tiny" in block.text and not Path("runs/tiny").exists():
        _train("mmrec", ["tiny"], monkeypatch)
    names = {}
    exec(block.text, names)
    if "logits" in names:
        assert names["logits"].shape == (*names["tokens"].shape, names["tokenizer"].vocab_size)


def test_each_message_of_the_troubleshooting_page_is_one_of_the_package():
    parts = [
        node.value
        for path in (ROOT / "mmrec_jax").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    page = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
    messages = re.findall(r"^\| `([^`]+)` \|", page, re.M)
    assert len(messages) > 20
    for message in messages:
        for said in filter(None, (part.strip(" .") for part in message.split("..."))):
            assert any(said in part for part in parts), said


@pytest.mark.parametrize(("config", "line"), _DOCUMENTED)
def test_each_line_of_the_configs(config, line, folder, monkeypatch):
    monkeypatch.chdir(folder)
    line = line.replace("FILE", "said.txt").replace("=RUN", "=runs/tiny")
    _type(line.replace(f"--workdir=runs/{config}", "--workdir=runs/tiny"), monkeypatch)


def test_there_is_something_to_type():
    assert {each.page for each in _README + _PAGES} >= {"README", "first-steps", "adapt", "devices"}
    assert len(_LINES) > 5
    assert len(_TYPED) > 30
    assert [each.page for each in _SNIPPETS] == ["README", "first-steps", "turkish"]
    assert len(_WRITTEN) == len([*(ROOT / "docs").glob("*.md")]), "a page that is not in the nav"
    assert {config for config, _ in _DOCUMENTED} == {
        path.stem for path in (ROOT / "configs").glob("*.py")
    }


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_everything_from_a_fresh_install(tmp_path):
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for name in tracked:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    write_files(tmp_path)
    clean = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}

    def shell(line):
        subprocess.run(["bash", "-ec", line], cwd=tmp_path, env=clean, check=True)

    lines = [line for each in [*_README, *_PAGES] if not each.needs for line in each.lines]
    for line in lines:
        if line.endswith("pytest") or ("-m venv" in line and (tmp_path / ".venv").exists()):
            continue
        if "mmrec adapt" in line:
            line = line.replace("--config=adapt ", "--config=tests/adapt/small_adapt.py ")
        if "train.py" in line or "mmrec train" in line:
            line = " ".join([line.partition(" #")[0], *_CHEAP])
        if "train progressive" in line:
            line += " '--config.stages=[]'"
        line = _smaller(line)
        shell(line if line.startswith("python3 ") else f". .venv/bin/activate && {line}")
    for block in _SNIPPETS:
        (tmp_path / "snippet.py").write_text(block.text, "utf-8")
        shell(". .venv/bin/activate && python snippet.py")
