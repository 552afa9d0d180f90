"""Every command and snippet of the README, and of the configs' docstrings, is typed.

Here in this process, from the top down, as they need each other: `mmrec` in full, training lines as
far as their data, and for a few steps those that later lines want the run of. From a fresh install,
each line in a shell: `pytest -m soak tests/docs_test.py`.
"""

import ast
import contextlib
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import pytest
import zstandard

from mmrec_jax import cli
from mmrec_jax.adapt import dry_run, pipeline
from mmrec_jax.checkpoints.load import open_model
from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.data.treebank import treebank_documents
from mmrec_jax.plan import program, target
from mmrec_jax.train import interrupt, loop
from mmrec_jax.train.setup import load_data
from tests.pretrained.small_folder import write_folder
from tests.small_run import ROOT, flags
from tests.tokenizers.small_base import write_base

_README = (ROOT / "README.md").read_text("utf-8")
_BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", _README, re.M | re.S)
_LINES = [line for language, block in _BLOCKS if not language for line in block.splitlines()]
_SNIPPETS = [block for language, block in _BLOCKS if language == "python"]
_DOCUMENTED = [
    (path.stem, line)
    for path in sorted((ROOT / "configs").glob("*.py"))
    for line in (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "")
    .replace("\\\n", " ")
    .splitlines()
    if re.match(r"(python|mmrec) ", line)
]
# Of the runs that are trained here: a few steps of a model that compiles in seconds.
_CHEAP = flags(
    train__steps=2,
    train__eval_every=2,
    train__eval_batches=1,
    train__batch_size=4,
    train__sample_tokens=2,
    train__devices=1,
    train__dashboard=False,
    model__num_layers=1,
    model__model_dim=16,
    model__num_memories=1,
    model__gate="none",
    model__vocab_size=400,
    data__seq_len=128,
)
_TRAINED = ("configs/tiny.py", "configs/finetune.py --config.init_from=runs/tiny")


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
    for path, said in (("said.txt", texts[1:4]), ("meant.txt", texts[:3])):
        (folder / path).write_text("\n".join(map(" ".join, map(str.split, said))), "utf-8")
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts[:300]).encode()
    (folder / "corpus" / "one.jsonl.zst").write_bytes(zstandard.compress(lines))
    write_base(folder)
    write_folder(folder / "Qwen" / "Qwen3-0.6B")  # read in place of the one on the Hub


def _train(arguments, monkeypatch):
    """`python train.py`: for a few steps where a later line needs the run, or up to its data."""
    if any(" ".join(arguments) == f"--config={trained}" for trained in _TRAINED):
        arguments = [*arguments, *_CHEAP]
    else:
        monkeypatch.setattr(loop, "run", _open_data)
    monkeypatch.setattr(interrupt, "process_that_trains", contextlib.nullcontext)
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path("train.py")["main"]()
    assert not ended.value.code


def _open_data(config, workdir, **_):
    assert not Workdir(workdir).config.exists(), "refused: another run is in this folder"
    origin = config.init_from and open_model(config.init_from).tokenizer
    # One folder for all, where a tokenizer is trained once.
    data = load_data(config, Workdir(Path("runs/data")), origin or None)
    assert data.describe()


def _find_target(name, count):
    """As many devices of this machine."""
    count = count or (1 if name.startswith("cuda") else 8)
    return target.Target(tuple(jax.devices()[:count]), 1)


def _smaller(line):
    """As many new tokens as the base and the text of `write_files` are good for."""
    return line.replace("--vocab-size 40000 --superwords 10000", "--vocab-size 330 --superwords 5")


def _type(line, monkeypatch):
    command, *arguments = shlex.split(line.rpartition("&& ")[2], comments=True)
    if command == "python":
        assert arguments.pop(0) == "train.py"
        _train(arguments, monkeypatch)
    else:
        assert command == "mmrec"
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
        if arguments[0] == "adapt":  # as far as what it would do
            monkeypatch.setattr(pipeline, "adapt", _plan_stages)
            monkeypatch.setattr(dry_run, "dry_run", _plan_stages)
            monkeypatch.setattr(interrupt, "exit_on_signal", lambda: None)  # of this process
        cli.main(arguments)


def _plan_stages(config, root, *, until, start, **_):
    assert [*pipeline.stages(config)]
    return []


@pytest.mark.parametrize("line", _LINES)
def test_each_line_of_the_readme(line, folder, monkeypatch):
    monkeypatch.chdir(folder)
    if line.endswith("pytest"):  # the line of .ci/run
        return
    line = _smaller(line)
    if line.startswith("mmrec eval recall"):
        line = f"{line.partition('#')[0]} --lengths 256 --samples 1 --sequences 8"
    _type(line, monkeypatch)


@pytest.mark.parametrize("code", _SNIPPETS)
def test_each_snippet_of_the_readme(code, folder, monkeypatch):
    monkeypatch.chdir(folder)
    names = {}
    exec(code, names)
    assert names["logits"].shape == (*names["tokens"].shape, names["tokenizer"].vocab_size)


@pytest.mark.parametrize(("config", "line"), _DOCUMENTED)
def test_each_line_of_the_configs(config, line, folder, monkeypatch):
    monkeypatch.chdir(folder)
    pairs = "".join(f'{{"prompt": "{i}?", "completion": "{i}."}}\n' for i in range(40))
    (folder / "pairs.jsonl").write_text(pairs, "utf-8")
    line = line.replace("FILE", "my_text.txt").replace("=RUN", "=runs/tiny")
    _type(line.replace(f"--workdir=runs/{config}", "--workdir=runs/tiny"), monkeypatch)


def test_there_is_something_to_type():
    assert len(_LINES) > 10
    assert len(_SNIPPETS) == 1
    assert {config for config, _ in _DOCUMENTED} == {
        path.stem for path in (ROOT / "configs").glob("*.py")
    }


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_the_readme_from_a_fresh_install(tmp_path):
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

    for line in _LINES:
        if line.endswith("pytest"):
            continue
        if "mmrec adapt" in line:
            line += " --config.base=runs/tiny --dry-run"
        if "train.py" in line:
            line = " ".join([line.partition(" #")[0], *_CHEAP])
        line = _smaller(line)
        shell(line if line.startswith("python3 ") else f". .venv/bin/activate && {line}")
    for code in _SNIPPETS:
        (tmp_path / "snippet.py").write_text(code, "utf-8")
        shell(". .venv/bin/activate && python snippet.py")
