import json

import pytest

from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.config import Config, TrainConfig
from mmrec_jax.errors import UserError
from mmrec_jax.models.mmrec.config import ModelConfig

_CONFIG = Config(model=ModelConfig(model_dim=64), train=TrainConfig(epochs=1.5))


def test_the_config_is_read_back_as_written(tmp_path):
    place = Workdir(tmp_path)
    place.write_config(_CONFIG, 77)
    assert place.read_config() == (_CONFIG, 77)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_a_field_newer_than_the_file_has_its_value_of_then(tmp_path):
    place = Workdir(tmp_path)
    place.write_config(_CONFIG, 77)
    content = json.loads(place.config.read_text())
    for name in ("newton_passes", "head_norm_epsilon"):
        del content["config"]["model"][name]
    place.config.write_text(json.dumps(content))
    model = place.read_config()[0].model
    assert (model.newton_passes, model.head_norm_epsilon) == (None, 1e-6)
    assert model.head_norm_epsilon != ModelConfig().head_norm_epsilon


def test_a_folder_without_a_run_says_how_to_train_one(tmp_path):
    with pytest.raises(UserError, match=rf"no run here .*python train.py .*--workdir={tmp_path}"):
        Workdir(tmp_path).read_config()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"config": {}}', "\udcff"])
def test_a_damaged_config_is_named(tmp_path, content):
    place = Workdir(tmp_path)
    place.config.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=r"config\.json: this file is damaged"):
        place.read_config()


def test_a_field_of_another_version_is_named(tmp_path):
    place = Workdir(tmp_path)
    place.config.write_text('{"config": {"model": {"heads": 3}}, "vocab_size": 5}')
    with pytest.raises(UserError, match=r"config\.model\.heads is not a field"):
        place.read_config()


def test_clear_removes_what_a_run_wrote_and_nothing_else(tmp_path):
    place = Workdir(tmp_path)
    written = ("tokenizer", "checkpoints", "samples", "tensorboard", "profile", "eval")
    for folder in (*written, "tokenizer_cache", "mine"):
        (tmp_path / folder / "deep").mkdir(parents=True)
        (tmp_path / folder / "deep" / "file").write_text("x")
    for name in ("config.json", "metrics.jsonl", "loss.png", "notes.txt"):
        (tmp_path / name).write_text("x")
    place.clear()
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["mine", "notes.txt", "tokenizer_cache"]


def test_clear_of_an_empty_folder_is_fine(tmp_path):
    Workdir(tmp_path).clear()
    assert not list(tmp_path.iterdir())
