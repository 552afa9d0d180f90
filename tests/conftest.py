"""The strict session every test runs in; nothing here loosens a default of the library.

Eight simulated CPU devices, so that sharding is tested without an accelerator; a shape that only
fits by adding leading axes is an error; the same random numbers in every run.
"""

import gc
import os
import sys
import tempfile
from collections.abc import Iterator

from mmrec_jax.xla_flags import with_required

# Read once, when jax starts its backend. Programs here are compiled far more often than they run:
# without optimisation, without the newer code generator for fused loops and in one part instead of
# one for each core, that takes a ninth of the time, and the numbers are of the same float32.
for _flag, _value in (
    ("--xla_force_host_platform_device_count", 8),
    ("--xla_backend_optimization_level", 0),
    ("--xla_cpu_use_fusion_emitters", "false"),
    ("--xla_cpu_parallel_codegen_split_count", 1),
):
    if _flag not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_flag}={_value}".strip()
os.environ["XLA_FLAGS"] = with_required(os.environ["XLA_FLAGS"])
os.environ.setdefault("JAX_PLATFORMS", "cpu")

# The same small models are compiled again and again, in this process and in those it starts: most
# in a third of a second, and a program is read back in a fifth of the time.
_CACHE = tempfile.TemporaryDirectory(prefix="mmrec_jax_tests_")
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _CACHE.name
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")

import hypothesis  # noqa: E402
import jax  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
# Programs are millions of small objects that live on: Python would go through them again and again.
gc.set_threshold(100_000, 50, 100)
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(scope="session", autouse=True)
def plain_runs() -> Iterator[None]:
    """Short runs without the picture at their end and the measurement at their beginning.

    Those take a third of what a run does whose programs are compiled already.

    `loop_test.py` and `report_test.py` have the picture, `monitor_test.py` has the measurement.
    """
    with pytest.MonkeyPatch.context() as patch:
        if "mmrec_jax.train.loop" in sys.modules:
            patch.setattr("mmrec_jax.train.report.draw_loss", lambda workdir: None)
            patch.setattr("mmrec_jax.train.loop.matmul_flops_per_second", lambda dtype: 1e9)
        yield


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers that are the same in every run."""
    return np.random.default_rng(0)


@pytest.fixture
def x64() -> Iterator[None]:
    """Double precision inside the test; float32 stays the default everywhere else."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def compiled() -> Iterator[list[str]]:
    """The compilations since the test began."""
    events: list[str] = []

    def listen(event: str, duration: float, **unused: object) -> None:
        if event.endswith("backend_compile_duration"):
            events.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield events
    jax.monitoring.unregister_event_duration_listener(listen)


def pytest_make_parametrize_id(val, argname):
    """Bytes go by their name: those of an archive hold the time, and workers have to agree."""
    return argname if isinstance(val, bytes) else None
