"""Saved states across processes, and every file that must not be continued."""

import dataclasses
import shutil
import sys

import jax
import numpy as np
import pytest

import mmrec_jax
from mmrec_jax.cli import main
from mmrec_jax.data.char_tokenizer import CharTokenizer
from mmrec_jax.errors import UserError
from mmrec_jax.inference.saved_state import STATE_FORMAT
from mmrec_jax.models.mmrec.model import MMRecLM
from tests.small_run import execute, trained

# Each argument is a command line of its own; their outputs are told apart by a line.
_MMREC = """
import sys
from mmrec_jax.cli import main
for line in sys.argv[1:]:
    main(["generate", "--seed=5", "--ignore-end", *line.split("|")])
    print("=====", flush=True)
"""


def _generate(*lines, devices):
    common = f"|--workdir={trained()}"
    result = execute(
        [sys.executable, "-c", _MMREC, *(line + common for line in lines)], devices=devices
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.split("\n=====\n")[:-1], result.stderr


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Files and texts of one process: a whole text, its first half, the half with a reply."""
    folder = tmp_path_factory.mktemp("states")
    texts, said = _generate(
        f"--prompt=göl |--max-tokens=20|--save-state={folder}/whole",
        f"--prompt=göl |--max-tokens=10|--save-state={folder}/half",
        f"--load-state={folder}/half|--prompt= köprü |--max-tokens=5|--save-state={folder}/reply",
        devices=1,
    )
    return folder, texts, said


@pytest.fixture(scope="module")
def loaded():
    return mmrec_jax.load(trained())


def test_another_process_on_other_devices_continues_bit_for_bit(saved, tmp_path):
    """Whole files are compared: memories, logits, tokens seen, draws, tail, fingerprints."""
    folder, texts, _ = saved
    shutil.copy(folder / "half", tmp_path / "on")
    continued, _ = _generate(
        f"--load-state={tmp_path}/on|--max-tokens=10|--save-state={tmp_path}/on",
        f"--load-state={folder}/half|--prompt= köprü |--max-tokens=5|--save-state={tmp_path}/reply",
        devices=8,
    )
    assert texts[1] + continued[0] == texts[0]
    assert (tmp_path / "on").read_bytes() == (folder / "whole").read_bytes()
    assert continued[1] == texts[2]
    assert (tmp_path / "reply").read_bytes() == (folder / "reply").read_bytes()
    assert (folder / "reply").read_bytes() != (folder / "half").read_bytes()


def test_the_size_is_told(saved):
    folder, _, said = saved
    read = 1 + len("göl ".encode()) + 20
    size = (folder / "whole").stat().st_size
    assert (
        f"[{folder}/whole: {size:,} bytes, the state after {read} tokens; "
        "continue with --load-state]\n"
    ) in said


def test_a_round_trip_changes_no_bit(saved, loaded, tmp_path):
    state = mmrec_jax.load_state(saved[0] / "half", *loaded)
    mmrec_jax.save_state(tmp_path / "again", state, *loaded, step=40)
    assert (tmp_path / "again").read_bytes() == (saved[0] / "half").read_bytes()
    assert (state.tokens_read, state.draws) == (16, 10)
    _, facts = STATE_FORMAT.read(tmp_path / "again")
    assert facts["step"] == 40


@pytest.fixture
def changed(saved, tmp_path):
    """A real file with something changed and everything signed anew."""

    def change(edit):
        tensors, facts = STATE_FORMAT.read(saved[0] / "half")
        edit(tensors, facts)
        STATE_FORMAT.write(tmp_path / "changed", tensors, facts)
        return tmp_path / "changed"

    return change


def _refused(path, loaded):
    with pytest.raises(UserError) as error:
        mmrec_jax.load_state(path, *loaded)
    said = str(error.value)
    assert said.startswith(f"{path}: ")
    assert "\n" not in said
    return said


@pytest.mark.parametrize(
    ("name", "place", "value", "expected"),
    [
        ("h", (0, 0, 3), np.nan, "the short-term memory h of layer 0 holds NaN"),
        ("m", (1, 0, 1, 2, 3), np.nan, "the long-term memory M of layer 1 holds NaN"),
        ("m", (1, 0, 1, 2, 3), -np.inf, "the long-term memory M of layer 1 holds infinity"),
        ("logits", (0, 7), np.inf, "the logits hold infinity"),
    ],
)
def test_a_poisoned_state(changed, loaded, tmp_path, saved, name, place, value, expected):
    def poison(tensors, facts):
        tensors[name][place] = value

    assert expected in _refused(changed(poison), loaded)

    state = mmrec_jax.load_state(saved[0] / "half", *loaded)
    tensors, _ = STATE_FORMAT.read(changed(poison))
    if name == "logits":
        state = dataclasses.replace(state, logits=tensors[name])
    else:
        memory = state.memory.replace(**{name: tensors[name]})
        state = dataclasses.replace(state, memory=memory)
    with pytest.raises(UserError, match=rf"the state is not saved: {expected}"):
        mmrec_jax.save_state(tmp_path / "poisoned", state, *loaded)
    assert not (tmp_path / "poisoned").exists()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("m", np.zeros((2, 1, 2, 16, 8), np.float32), "m is float32 [2, 1, 2, 16, 8] in the file"),
        ("h", np.zeros((2, 3, 32), np.float32), "this model's is float32 [2, 1, 32]"),
        ("h", np.zeros((2, 1, 32), np.float16), "h is float16 [2, 1, 32] in the file"),
        ("seen", np.zeros((1, 9), bool), "seen is bool [1, 9] in the file"),
        ("tail", np.zeros((2, 2), np.int32), "tail is int32 [2, 2] in the file"),
    ],
)
def test_wrong_shapes(changed, loaded, name, value, expected):
    path = changed(lambda tensors, facts: tensors.update({name: value}))
    assert expected in _refused(path, loaded)


@pytest.mark.parametrize("name", ["model", "tokenizer", "draws", "pending"])
@pytest.mark.parametrize("value", [None, [], 1.5])
def test_a_fact_of_another_type(changed, loaded, name, value):
    assert name in _refused(changed(lambda tensors, facts: facts.update({name: value})), loaded)


def test_a_missing_part(changed, loaded):
    path = changed(lambda tensors, facts: tensors.pop("tail"))
    assert "the state lacks tail" in _refused(path, loaded)


def test_other_parameters_of_the_same_shape(saved, loaded):
    model, params, tokenizer = loaded
    other = jax.tree.map(np.array, params)
    other["blocks"]["b_gamma"][1, 5] += 1e-3
    said = _refused(saved[0] / "half", (model, other, tokenizer))
    assert "belongs to another model (it was saved at training step 40)" in said
    assert "of the same shape with other parameters: 1 of " in said
    assert "the first is blocks/b_gamma" in said


def test_a_model_of_another_shape(saved, loaded):
    model, params, tokenizer = loaded
    other = MMRecLM(dataclasses.replace(model.config, memory="decay"))
    said = _refused(saved[0] / "half", (other, params, tokenizer))
    assert "config.model.memory is 'delta' in the file and 'decay' here" in said


def test_another_tokenizer(saved, loaded):
    other = (*loaded[:2], CharTokenizer("abc"))
    assert "belongs to another tokenizer" in _refused(saved[0] / "half", other)


def test_the_command_refuses_before_anything_is_compiled(saved, tmp_path, capsys):
    cut = tmp_path / "cut"
    cut.write_bytes((saved[0] / "half").read_bytes()[:-100])
    compiled = []

    def listen(event, duration, **unused):
        compiled.extend([event] if event.endswith("backend_compile_duration") else [])

    jax.monitoring.register_event_duration_secs_listener(listen)
    with pytest.raises(SystemExit) as exit_:
        main(["generate", f"--workdir={trained()}", f"--load-state={cut}"])
    jax.monitoring.unregister_event_duration_listener(listen)
    assert exit_.value.code == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"error: {cut}: the saved state is damaged or cut off")
    assert said.err.count("\n") == 1
    assert not said.out
    assert not compiled
