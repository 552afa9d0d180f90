"""A run is found by what it is, and a log that a kill cut off is whole again."""

import dataclasses

from benchmarks.run_log import RunLog, changed_fields
from mmrec_jax.config import Config, OptimConfig
from mmrec_jax.data.kinds.text import TextConfig
from mmrec_jax.models.attention.config import AttentionConfig
from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.objectives.config import Objectives
from mmrec_jax.objectives.uboo import UBOOConfig
from mmrec_jax.stages import StageConfig

CONFIG = Config(optim=OptimConfig(lr=0.1), data=TextConfig(train="/a/b.txt, c/*.txt"))
RESULT = {"metrics": {"loss": 1.5}, "seconds": 3.0}


def test_only_changed_fields_are_kept_and_paths_lose_their_folders():
    assert changed_fields(Config()) == {}
    assert changed_fields(CONFIG) == {
        "optim.lr": 0.1,
        "data.source": "text",
        "data.train": "b.txt, *.txt",
    }


def test_a_run_with_stages_is_found_again(tmp_path):
    staged = dataclasses.replace(CONFIG, stages=(StageConfig(step=3, seq_len=64),))
    written = RunLog(tmp_path / "log.jsonl").append("mmrec", staged, RESULT)
    log = RunLog(tmp_path / "log.jsonl")
    assert log.find("mmrec", staged) == written
    assert log.find("mmrec", CONFIG) is None


def test_a_run_is_found_by_its_model_and_config_in_the_log_of_an_earlier_process(tmp_path):
    path = tmp_path / "log.jsonl"
    written = RunLog(path).append("mmrec", CONFIG, RESULT)
    whole = path.read_text("utf-8")
    path.write_text(whole + whole[:20], "utf-8")  # a line that a kill cut off is removed
    log = RunLog(path)
    assert path.read_text("utf-8") == whole
    assert log.find("mmrec", CONFIG) == written
    assert (written["lr"], written["seed"], written["metrics"]) == (0.1, 0, RESULT["metrics"])
    assert log.find("attention", CONFIG) is None
    for change in (
        {"model": MMRecConfig(gate="input")},
        {"model": AttentionConfig()},
        {"objectives": Objectives(uboo=UBOOConfig())},
        {"objectives": Objectives(cross_entropy=None, uboo=UBOOConfig(weight=0.2))},
    ):
        assert log.find("mmrec", dataclasses.replace(CONFIG, **change)) is None
