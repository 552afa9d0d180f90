"""Saved states: of every family, across processes, and every file that must not be continued."""

import dataclasses
import shutil
import sys
from functools import cache

import jax
import numpy as np
import pytest

import mmrec_jax
from mmrec_jax.cli import main
from mmrec_jax.errors import UserError
from mmrec_jax.inference.saved_state import STATE_FORMAT
from mmrec_jax.tokenizers.byte import ByteTokenizer
from mmrec_jax.tokenizers.char import CharTokenizer
from tests.families import FAMILIES, small
from tests.refused import mistake
from tests.small_run import execute, trained

_TOKENIZER = ByteTokenizer()
_FAMILIES = [*FAMILIES, pytest.param("no memory", marks=pytest.mark.soak)]


@cache
def _model(family):
    model, params = small("mmrec", memory="none") if family == "no memory" else small(family)
    return model, params, _TOKENIZER


@cache
def _middle(family, tokens=70):
    """A text in the middle, which a model without a state needs more room for than at first."""
    states = []
    mmrec_jax.generate(
        *_model(family), "göl", max_tokens=tokens, stop_at_end=False, on_state=states.append
    )
    return states[0]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "text.state"


@pytest.fixture
def saved(path):
    mmrec_jax.save_state(path, _middle("mmrec"), *_model("mmrec"), step=40)
    return path


@pytest.mark.parametrize("family", _FAMILIES)
def test_a_round_trip_changes_no_bit(family, path, tmp_path):
    loaded, before = _model(family), _middle(family)
    mmrec_jax.save_state(path, before, *loaded)
    state = mmrec_jax.load_state(path, *loaded)
    assert (state.length, state.draws) == (before.length, 70) == (75, 70)
    mmrec_jax.save_state(tmp_path / "again", state, *loaded)
    assert (tmp_path / "again").read_bytes() == path.read_bytes()
    options = {"max_tokens": 9, "seed": 1}
    texts = [mmrec_jax.generate(*loaded, state=each, **options) for each in (before, state)]
    assert texts[0] == texts[1]


def test_a_file_of_the_first_version_has_the_names_that_it_had(saved):
    tensors, facts = STATE_FORMAT.read(saved)
    assert tensors.keys() == {"h", "m", "segment", "position", "logits", "seen", "tail"}
    assert (facts["step"], facts["tokens_read"]) == (40, 75)
    assert (tensors["segment"].tolist(), tensors["position"].tolist()) == ([1], [75])


def _refused(path, loaded):
    with pytest.raises(UserError) as error:
        mmrec_jax.load_state(path, *loaded)
    said = str(error.value)
    assert said.startswith(f"{path}: ")
    assert "\n" not in said
    return said


_TENSORS = [
    ("m", np.zeros((2, 1, 2, 4, 8), np.float32), "m is float32 [2, 1, 2, 4, 8]"),
    ("h", np.zeros((2, 3, 16), np.float32), "h is float32 [2, 3, 16]"),
    ("h", np.zeros((2, 1, 16), np.float16), "h is float16 [2, 1, 16]"),
    ("seen", np.zeros((1, 9), bool), "seen is bool [1, 9]"),
    ("tail", np.zeros((2, 2), np.int32), "tail is int32 [2, 2]"),
    ("tail", None, "tail"),
    ("h", np.full((2, 1, 16), np.nan, np.float32), "h holds NaN"),
    ("logits", np.full((1, 258), -np.inf, np.float32), "logits holds infinity"),
]


@pytest.mark.parametrize(("name", "value", "named"), _TENSORS)
def test_a_tensor_that_does_not_belong_there(saved, name, value, named):
    tensors, facts = STATE_FORMAT.read(saved)
    tensors = {key: x for key, x in tensors.items() if key != name}
    STATE_FORMAT.write(saved, tensors if value is None else tensors | {name: value}, facts)
    assert named in _refused(saved, _model("mmrec"))


@pytest.mark.parametrize("name", ["model", "tokenizer", "tokens_read", "draws", "pending"])
def test_a_fact_of_another_type(saved, name):
    tensors, facts = STATE_FORMAT.read(saved)
    for value in (None, [], 1.5):
        STATE_FORMAT.write(saved, tensors, facts | {name: value})
        assert name in _refused(saved, _model("mmrec"))


def test_a_poisoned_state_is_not_saved(tmp_path):
    state = _middle("mmrec")
    poisoned = np.array(state.state.m)
    poisoned[1, 0, 1, 2, 3] = -np.inf
    state = dataclasses.replace(state, state=state.state.replace(m=poisoned))
    with pytest.raises(UserError, match="m holds infinity"):
        mmrec_jax.save_state(tmp_path / "poisoned", state, *_model("mmrec"))
    assert not (tmp_path / "poisoned").exists()


def test_another_model_or_tokenizer(saved):
    model, params, tokenizer = _model("mmrec")
    other = jax.tree.map(np.array, params)
    other["blocks"]["b_gamma"][1, 5] += 1e-3
    said = _refused(saved, (model, other, tokenizer))
    assert "step 40" in said
    assert "blocks/b_gamma" in said
    shape = dataclasses.replace(model, config=dataclasses.replace(model.config, memory="decay"))
    assert "config.model.memory" in _refused(saved, (shape, params, tokenizer))
    assert "tokenizer" in _refused(saved, (model, params, CharTokenizer("abc")))


# Each argument is a command line of its own; their outputs are told apart by a line.
_MMREC = """
import sys
from mmrec_jax.cli import main
for line in sys.argv[1:]:
    main(line.split("|"))
    print("=====", flush=True)
"""


def test_another_process_on_other_devices_continues_bit_for_bit(tmp_path, capsys):
    """Whole files are compared: states, logits, tokens seen, draws, tail, fingerprints."""
    command, texts, said = f"generate|--seed=5|--ignore-end|--workdir={trained()}|", [], ""
    for line in (
        f"--prompt=göl |--max-tokens=20|--save-state={tmp_path}/whole",
        f"--prompt=göl |--max-tokens=10|--save-state={tmp_path}/half",
        f"--load-state={tmp_path}/half|--prompt= köprü |--max-tokens=5|--save-state={tmp_path}/one",
    ):
        main((command + line).split("|"))
        out, err = capsys.readouterr()
        texts, said = [*texts, out.removesuffix("\n")], said + err
    shutil.copy(tmp_path / "half", tmp_path / "on")
    lines = (
        f"--load-state={tmp_path}/on|--max-tokens=10|--save-state={tmp_path}/on",
        f"--load-state={tmp_path}/half|--prompt= köprü |--max-tokens=5|--save-state={tmp_path}/two",
    )
    assert len(jax.devices()) == 8
    result = execute([sys.executable, "-c", _MMREC, *(command + line for line in lines)])
    assert result.returncode == 0, result.stderr
    continued = result.stdout.split("\n=====\n")
    assert texts[1] + continued[0] == texts[0]
    assert continued[1] == texts[2]
    for one, other in (("whole", "on"), ("one", "two")):
        assert (tmp_path / one).read_bytes() == (tmp_path / other).read_bytes()
    assert f"{(tmp_path / 'whole').stat().st_size:,} bytes" in said
    assert f"{1 + len('göl '.encode()) + 20} tokens" in said


def test_the_command_refuses_before_anything_is_compiled(saved, capsys, compiled):
    saved.write_bytes(saved.read_bytes()[:-100])
    compiled.clear()
    said = mistake(capsys, "generate", f"--workdir={trained()}", f"--load-state={saved}")
    assert said.startswith(f"error: {saved}: ")
    assert not compiled
