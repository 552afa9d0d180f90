import types

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from mmrec_jax.config import TrainConfig
from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.train.prepare import prepare
from mmrec_jax.train.time_pieces import fit_time_chunk
from tests.small_run import linear_config, write_text


@pytest.mark.parametrize(("rows", "chunk"), [(1, 512), (2, 512), (8, 128), (16, 64), (100, 64)])
def test_a_cpu_device_reads_about_as_many_tokens_at_once_whatever_its_rows(rows, chunk):
    mesh = Mesh(np.array(jax.devices()[:2]), ("data",))
    train = TrainConfig(steps=1, batch_size=2 * rows)
    assert fit_time_chunk(MMRecConfig(), train, mesh).time_chunk == chunk


def test_a_given_length_and_other_devices_are_left_alone():
    given, train = MMRecConfig(time_chunk=7), TrainConfig(steps=1, batch_size=8)
    assert fit_time_chunk(given, train, Mesh(np.array(jax.devices()[:1]), ("data",))) == given
    gpu = types.SimpleNamespace(devices=np.array([types.SimpleNamespace(platform="gpu")]), size=1)
    assert fit_time_chunk(MMRecConfig(), train, gpu) == MMRecConfig()


def test_a_run_counts_the_rows_of_a_micro_batch_on_one_device(tmp_path):
    text = write_text(tmp_path / "words.txt")
    config = linear_config(text, train__devices=2, train__batch_size=64, train__accumulate=4)
    prepared = prepare(config, tmp_path / "run", fresh=False)
    assert prepared.model.config.time_chunk == 1024 // 8
    assert prepared.config.model.time_chunk is None  # a run may go on with other devices
