"""Configs as they are stored, now and by older versions."""

import json
import tarfile

import pytest

from mmrec_jax.config import (
    Config,
    MeshConfig,
    NoiseConfig,
    TrainConfig,
)
from mmrec_jax.config_tree import from_dict, to_dict
from mmrec_jax.data.kinds.instructions import InstructionsConfig
from mmrec_jax.data.kinds.tasks import MqarConfig, ParityConfig
from mmrec_jax.data.kinds.text import (
    PreparedConfig,
    TextConfig,
    TreebankConfig,
)
from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.objectives.config import Objectives
from mmrec_jax.objectives.uboo import UBOOConfig
from mmrec_jax.objectives.vowel_harmony import VowelHarmonyConfig
from tests.refused import refused
from tests.small_run import ROOT


def test_a_config_survives_json():
    config = Config(
        model=MMRecConfig(model_dim=64, mem_dim=8, memory_slots=4),
        objectives=Objectives(uboo=UBOOConfig(weight=((0, 0.0), (5, 0.1)))),
        data=ParityConfig(eval_lengths=(3, 4, 5)),
        mesh=MeshConfig(data=1, fsdp=-1),
        train=TrainConfig(epochs=1.5, target_loss=2.0),
    )
    plain = to_dict(config)
    assert json.loads(json.dumps(plain)) == plain
    assert from_dict(plain) == config
    assert (plain["model"]["family"], plain["data"]["source"]) == ("mmrec", "parity")


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"optim": {"rho": 1}}, ["config.optim.rho"]),
        ({"shape": {}}, ["config.shape"]),
        ({"model": 5}, ["config.model is 5"]),
        ({"model": {"family": "lstm"}}, ["config.model.family", "lstm"]),
        ({"model": {"family": []}}, ["config.model.family is []"]),
        ({"objectives": {"other": {}}}, ["config.objectives", "other"]),
        ({"objectives": ["uboo"]}, ["config.objectives is"]),
        ({"plugins": 5}, ["config.plugins is 5"]),
        ({"version": 1, "data": {"source": []}}, ["config.data.source is []"]),
        ({"version": 1, "data": {"source": "books"}}, ["config.data.source is 'books'"]),
        (
            {"version": 1, "data": {"source": "treebank", "packing_bins": 8}},
            ["config.data.packing_bins"],
        ),
        ({"version": 1000}, ["1000"]),
    ],
)
def test_what_cannot_be_a_stored_config_is_named(change, parts):
    refused(lambda: from_dict(to_dict(Config()) | change), *parts)


def test_sampling_by_weights_of_documents_which_is_gone_is_left_out():
    guided = {"every": 0, "windows": 64, "reset_every": 256, "cap": 5.0}
    assert from_dict(to_dict(Config()) | {"guided": guided}) == Config()
    plain = to_dict(Config())
    assert from_dict(plain | {"adapters": plain["adapters"] | {"path": "apply"}}) == Config()


def test_a_field_that_a_stored_config_lacks_is_as_it_was_before_it_existed():
    plain = to_dict(Config())
    del plain["mesh"], plain["noise"]["alpha"]
    assert from_dict(plain) == Config()


@pytest.fixture(scope="module")
def old_runs():
    """The configs of run folders that version 0.1 wrote, by the name of the run."""
    with tarfile.open(ROOT / "tests" / "checkpoints" / "runs_of_0.1.tar.xz") as archive:
        files = [name for name in archive.getnames() if name.endswith("/config.json")]
        return {name.split("/")[-2]: json.load(archive.extractfile(name)) for name in files}


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ({"data": {"source": "treebank", "train": "", "clean": False}}, TreebankConfig()),
        (
            {
                "data": {"source": "instructions", "train": "a"},
                "instructions": {"overlong": "error"},
            },
            InstructionsConfig(train="a", overlong="error"),
        ),
        (
            {
                "data": {"source": "mqar", "train": "", "seq_len": 64},
                "task": {"pairs": 4, "hops": 2, "eval_lengths": [9]},
            },
            MqarConfig(seq_len=64, pairs=4, eval_lengths=(9,)),
        ),
        (
            {
                "data": {
                    "source": "jsonl",
                    "train": "a",
                    "field": "body",
                    "tfds_dir": "",
                    "clean": True,
                }
            },
            TextConfig(train="a", field="body"),
        ),
        (
            {"data": {"source": "stream", "train": "a,b", "weights": "3,1", "shuffle_mb": 8}},
            TextConfig(train="a,b", weights=(3.0, 1.0)),
        ),
        (
            {"version": 2, "data": {"source": "stream", "train": "a", "weights": "", "ram_mb": 1}},
            TextConfig(train="a"),
        ),
        (
            {"version": 2, "data": {"source": "prepared", "train": "a", "weights": "3,1; 5: 1,1"}},
            PreparedConfig(train="a", weights=((1, (3.0, 1.0)), (5, (1.0, 1.0)))),
        ),
    ],
)
def test_data_of_older_versions_becomes_its_kind(groups, expected):
    assert from_dict(groups).data == expected


def test_configs_of_version_1_are_upgraded(old_runs):
    assert {"plain", "objectives", "adapters", "exported"} <= old_runs.keys()
    configs = {name: from_dict(content["config"]) for name, content in old_runs.items()}
    for config in configs.values():
        assert from_dict(json.loads(json.dumps(to_dict(config)))) == config
    assert configs["objectives"].objectives == Objectives(
        uboo=UBOOConfig(orthogonal=True), vowel_harmony=VowelHarmonyConfig(weight=0.3)
    )
    assert configs["adapters"].noise == NoiseConfig(alpha=5.0)
    for name in ("plain", "adapters", "exported"):
        assert configs[name].objectives == Objectives()
    assert configs["plain"].mesh == MeshConfig()
    assert configs["plain"].data == TextConfig(train="words.txt", seq_len=32)
    assert configs["plain"].model.vocab_size == old_runs["plain"]["config"]["model"]["vocab_size"]
