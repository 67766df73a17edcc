"""Memory as the system gives it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kd_deploy.runtime.benchmark import memory as module
from kd_deploy.runtime.benchmark.memory import Memory, memory
from tests.runtime.gpu import FakeGpu


def test_the_systems_kilobytes_become_megabytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmPeak:\t  999 kB\nVmHWM:\t   3000 kB\nVmRSS:\t   2000 kB\n")
    monkeypatch.setattr(module, "_STATUS", status)
    assert memory() == Memory(rss_mb=2.048, peak_mb=3.072, gpu_mb=None)
    status.unlink()  # not Linux
    assert memory() == Memory(None, None, None)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_this_process_holds_what_it_allocates() -> None:
    before = memory()
    kept = bytearray(b"x") * 30_000_000
    after = memory()
    assert before.rss_mb is not None
    assert after.rss_mb is not None
    assert after.peak_mb is not None
    assert after.rss_mb - before.rss_mb > 20
    assert after.peak_mb >= after.rss_mb - 1
    del kept


def test_a_gpus_memory_is_asked_for_where_the_backend_uses_it(gpu: FakeGpu) -> None:
    gpu(cuda={"free": 3_000_000})  # of twice that
    assert memory("tensorrt").gpu_mb == 3.0
    assert memory("onnxruntime-cpu").gpu_mb is None
