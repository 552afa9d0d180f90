"""A family and an objective that nothing in the package knows: what a run can do, they can do.

`tests/models/gru.py` and `tests/objectives/z_loss.py` hold them; a config names them as plugins.
"""

import numpy as np
import pytest

import mmrec_jax
from mmrec_jax.checkpoints.load import read_adapters
from mmrec_jax.cli import main
from mmrec_jax.config import Config
from mmrec_jax.config_file import read_config
from mmrec_jax.train.loop import run
from mmrec_jax.train.writer import read_metrics
from mmrec_jax.tree import named_leaves
from tests.small_run import ROOT, assert_same_run, flags, session_text

_CONFIG = str(ROOT / "tests/models/gru.py")
_QUICK = {"train__dashboard": False, "train__sample_tokens": 4, "train__keep_last": 9}
_OBJECTIVE = {
    "plugins": "tests.models.gru,tests.objectives.z_loss",
    "objectives__z_loss__weight": 0.1,
}


def _config(**overrides: object) -> Config:
    text = {"data__source": "text", "data__train": session_text()}
    return read_config(_CONFIG, flags(**{**_QUICK, **text, **overrides}))


def _losses(folder) -> list[float]:
    return [x["loss"] for x in read_metrics(folder / "metrics.jsonl") if x["split"] == "train"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A run to its end, sampled and evaluated on the way."""
    folder = tmp_path_factory.mktemp("plugins") / "base"
    assert run(_config(train__devices=1, **_OBJECTIVE), folder) == 0
    return folder


def test_it_learns_and_its_objective_is_measured(base):
    losses = _losses(base)
    assert losses[-1] < losses[0]
    lines = read_metrics(base / "metrics.jsonl")
    assert all("z_loss" in line for line in lines if line["split"] in ("train", "validation"))


@pytest.mark.soak
def test_continued_it_ends_bit_for_bit_the_same(base, tmp_path):
    config = _config(train__devices=1, **_OBJECTIVE)
    assert run(_config(train__devices=1, train__steps=4, **_OBJECTIVE), tmp_path) == 0
    assert run(config, tmp_path) == 0
    assert_same_run(config, base, tmp_path)


def test_a_mesh_of_three_axes_trains_as_one_device(base, tmp_path):
    shape = {"mesh__data": 2, "mesh__fsdp": 2, "mesh__tensor": 2}
    config = _config(**shape, train__sample_tokens=0, train__eval_every=8, **_OBJECTIVE)
    assert run(config, tmp_path / "mesh") == 0
    np.testing.assert_allclose(_losses(tmp_path / "mesh"), _losses(base), rtol=2e-5)
    model, params, _ = mmrec_jax.load(tmp_path / "mesh")
    assert model.config.family == "gru"
    assert params["embed"]["embedding"].shape == (258, 16)


def test_it_is_adapted_with_noise_and_sophia_and_exported(base, tmp_path, capsys):
    fine, out = tmp_path / "fine", tmp_path / "out"
    config = _config(
        init_from=base,
        adapters__kind="dora",
        adapters__rank=2,
        noise__alpha=5.0,
        optim__name="sophia_g",
        optim__hessian_every=2,
        train__devices=2,
        train__steps=4,
    )
    assert run(config, fine) == 0
    adapters = named_leaves(read_adapters(fine, "last").adapters)
    assert set(adapters) == {f"inputs/kernel/{part}" for part in "abm"}
    assert np.any(adapters["inputs/kernel/b"])
    main(["export", f"--workdir={fine}", f"--out={out}"])
    main(["eval", "loss", f"--workdir={out}", f"--data={session_text()}"])
    assert "bits_per_byte" in capsys.readouterr().out
    models = [mmrec_jax.load(folder) for folder in (fine, out)]
    texts = [mmrec_jax.generate(*each, "bir", max_tokens=8, seed=3) for each in models]
    assert texts[0] == texts[1]
    tokens = np.array([[1, 2, 3]])
    logits = [mmrec_jax.logits(model, params, tokens) for model, params, _ in models]
    np.testing.assert_array_equal(*logits)
    assert logits[0].shape == (1, 3, 258)
