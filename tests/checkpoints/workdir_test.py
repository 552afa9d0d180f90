import json
from pathlib import Path

import pytest

from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.config import Config, TrainConfig
from mmrec_jax.models.mmrec.config import MMRecConfig
from tests.refused import mistake, refused

_CONFIG = Config(model=MMRecConfig(model_dim=64), train=TrainConfig(epochs=1.5))


def test_the_config_is_read_back_as_written_and_what_it_lacks_as_it_was(tmp_path):
    place = Workdir(tmp_path)
    place.write_config(_CONFIG, 77)
    assert place.read_config() == (_CONFIG, 77)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    content = json.loads(place.config.read_text())
    for name in ("newton_passes", "head_norm_epsilon"):
        del content["config"]["model"][name]
    place.config.write_text(json.dumps(content))
    model = place.read_config()[0].model
    assert (model.newton_passes, model.head_norm_epsilon) == (None, 1e-6)
    assert model.head_norm_epsilon != MMRecConfig().head_norm_epsilon


def test_a_folder_without_a_run_says_how_to_train_one(tmp_path):
    refused(Workdir(tmp_path).read_config, "no run here", "mmrec train", f"--workdir={tmp_path}")


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", "\udcff", "[" * 200_000, '{"config": ' * 200_000),
        *('{"config": {}}', '{"config": 3, "vocab_size": 5}', '{"config": {}, "vocab_size": "5"}'),
        '{"config": {"model": []}, "vocab_size": 5}',
        '{"config": {"model": {"heads": 3}}, "vocab_size": 5}',
    ],
    ids=range(11),
)
def test_a_damaged_config_is_named(tmp_path, content):
    place = Workdir(tmp_path)
    place.config.write_bytes(content.encode("utf-8", "surrogateescape"))
    refused(
        place.read_config, f"{place.config}: ", "config.model.heads" if "heads" in content else ""
    )


@pytest.mark.parametrize("path", ["gs://bucket/run", "gs:/bucket/run", "s3://bucket/run"])
def test_a_folder_that_is_in_no_file_system_is_refused(path, capsys):
    refused(lambda: Workdir(Path(path)), "mount the bucket")
    assert "mount the bucket" in mistake(capsys, "generate", "--prompt=a", f"--workdir={path}")


def test_clear_removes_what_a_run_wrote_and_nothing_else(tmp_path):
    place = Workdir(tmp_path)
    place.clear()
    written = ("tokenizer", "checkpoints", "samples", "tensorboard", "profile", "eval")
    for folder in (*written, "tokenizer_cache", "mine"):
        (tmp_path / folder / "deep").mkdir(parents=True)
        (tmp_path / folder / "deep" / "file").write_text("x")
    for name in ("config.json", "metrics.jsonl", "loss.png", "notes.txt"):
        (tmp_path / name).write_text("x")
    place.clear()
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["mine", "notes.txt", "tokenizer_cache"]
