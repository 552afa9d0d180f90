"""What a module that `config.plugins` names registers is used like what comes with the package."""

import dataclasses
import json
import sys

from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.config import Config
from mmrec_jax.config_file import with_overrides
from mmrec_jax.data.document import Document
from mmrec_jax.data.kinds.registry import DATA_KINDS
from mmrec_jax.data.kinds.text import PackedConfig
from mmrec_jax.data.text_dataset import TextDataset
from mmrec_jax.settings import at_least, setting
from mmrec_jax.train.loop import run
from tests.refused import refused
from tests.small_run import linear_config


@DATA_KINDS.register("counting")
@dataclasses.dataclass(frozen=True)
class CountingConfig(PackedConfig):
    """Numbers in their order."""

    source = "counting"

    numbers: int = setting(400, "how many", at_least(100))

    def validation_documents(self, config):
        return [Document("last", " ".join(map(str, range(self.numbers, self.numbers + 9))))]

    def open(self, config, cache, tokenizer=None):
        train = {"": [Document("first", " ".join(map(str, range(self.numbers))))]}
        held_out = self.validation_documents(config)
        return TextDataset.from_documents(config, train, held_out, cache, tokenizer)


_PLUGIN = {"plugins": __name__, "data__source": "counting", "data__numbers": 500}


def test_a_run_trains_on_a_kind_of_data_from_outside(tmp_path):
    small = {"train__steps": 2, "train__eval_every": 2, "train__sample_tokens": 0}
    config = linear_config("", **_PLUGIN, **small)
    assert config.data == CountingConfig(seq_len=32, numbers=500)
    assert run(config, tmp_path / "run") == 0
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert {json.loads(line)["split"] for line in lines} >= {"train", "validation"}

    assert Workdir(tmp_path / "run").read_config()[0] == config


def _forget(monkeypatch):
    """As if this module had not been imported."""
    monkeypatch.delitem(sys.modules, __name__)
    monkeypatch.delitem(DATA_KINDS._values, "counting")


def test_a_plugin_is_stored_and_imported_before_its_kinds_are_looked_up(tmp_path, monkeypatch):
    """Of a command line and of a run's folder."""
    given = "--config.data.source=counting"
    refused(lambda: with_overrides(Config(), [given, "--config.plugins=nothing"]), "config.plugins")
    _forget(monkeypatch)
    refused(lambda: with_overrides(Config(), [given]), "counting")
    config = with_overrides(Config(), [given, f"--config.plugins={__name__}"])
    Workdir(tmp_path).write_config(config, 9)
    _forget(monkeypatch)
    assert Workdir(tmp_path).read_config()[0].data.numbers == 400
