import csv
import importlib.util

import pytest

from mmrec_jax.plan import target
from mmrec_jax.plan.target import find_target
from tests.refused import refused


def test_names_that_mean_nothing_are_refused(tmp_path, monkeypatch):
    for name in ("", "v5e", "v5e:", "v9:2x2", "cuda", "cuda:", "2x4", "v5e:2x4x"):
        refused(lambda name=name: find_target(name), "--target", "v5e:2x4", "rtx4070")
    refused(lambda: find_target("cuda:rtx1"), "cuda:rtx1", "No such file", "rtx4070")
    (tmp_path / "card.txt").write_text("gpu_device_info {}", "utf-8")
    refused(lambda: find_target(f"cuda:{tmp_path}/card.txt"), "no device_memory_size")
    refused(lambda: find_target("v5e:2x4", 0), "--devices")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    refused(lambda: find_target("v5e:2x4"), "pip install 'mmrec_jax[plan-tpu]'")
    refused(lambda: find_target("cuda:l4"), "pip install 'mmrec_jax[plan-cuda]'")


def test_cards_are_described_in_full():
    with target._CARDS.open() as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    assert {"rtx4070", "rtx4090", "t4", "l4", "a100-40gb", "a100-80gb", "h100", "h200"} == {
        row["name"] for row in rows
    }
    for row in rows:
        text = target._cards()[row["name"]]
        assert f"device_memory_size: {row['memory']}" in text
        assert f'"{row["description"]}"' in text
        assert text.count("{") == text.count("}")


@pytest.mark.parametrize(("name", "count"), [("v5e:2x4", None), ("v5p:2x2x2", 4), ("v6e:2x2", 1)])
def test_slices_of_a_tpu(name, count):
    pytest.importorskip("libtpu", reason="needs the extra plan-tpu")
    found = find_target(name, count)
    assert found.platform == "tpu"
    assert len(found.devices) == (count or 8)
    refused(lambda: find_target(name, 9), "--devices is 9")
    refused(lambda: find_target("v5e:3x3"), "--target v5e:3x3")


@pytest.mark.parametrize("name", sorted(target._cards()))
def test_cards(name):
    pytest.importorskip("jax_plugins.xla_cuda12", reason="needs the extra plan-cuda")
    found = find_target(f"cuda:{name}", 2)
    assert (found.platform, len(found.devices)) == ("gpu", 2)
    assert f"device_memory_size: {found.memory}\n" in target._cards()[name]
