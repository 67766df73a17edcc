"""OpenVINO: what it runs of a bundle, on as many threads as asked for."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest

from kd_deploy.runtime.bundle import Bundle
from kd_deploy.runtime.environment import cores
from kd_deploy.runtime.errors import MissingComponentError, UserError
from kd_deploy.runtime.model import Model, open_model, precisions

openvino = pytest.importorskip("openvino", reason="openvino is not installed")

BF16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def test_bfloat16_is_made_of_float32_where_the_processor_has_it(deployed: Any) -> None:
    bundle = Bundle.open(deployed.bundle)
    assert precisions("openvino", bundle) == ["fp32", *["bf16"] * BF16]
    if not BF16:
        with pytest.raises(UserError, match="has no bfloat16 arithmetic; choose fp32 or int8"):
            open_model(bundle, backend="openvino", precision="bf16")
        return
    with open_model(bundle, backend="openvino", precision="bf16", threads=1) as model:
        assert model.describe().precision == "bf16"
        for _, frame, mask in bundle.golden():
            assert (model.run(frame[None])[0] == mask).mean() > 0.95


def test_what_is_made_for_onnxruntime_is_refused(deeplab: Any) -> None:
    with pytest.raises(
        UserError, match=r"^--precision fp32-cpu: openvino runs fp32, bf16, int8; choose one of"
    ):
        open_model(deeplab.bundle, backend="openvino", precision="fp32-cpu")
    with pytest.raises(UserError, match="holds no int8 model"):
        open_model(deeplab.bundle, backend="openvino", precision="int8")


def test_without_the_library(deeplab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingComponentError, match=r"^openvino: .*pip install -e '.\[openvino\]'"):
        open_model(deeplab.bundle, backend="openvino")


@pytest.mark.skipif(sys.platform != "linux" or cores() < 2, reason="needs Linux and two cores")
def test_models_of_one_thread_do_not_share_one_core(tiny: Bundle) -> None:
    """OpenVINO binds a thread while it runs and frees it after, so it is asked meanwhile."""
    frames, done = np.zeros((64, *tiny.size, 3), np.uint8), threading.Event()

    def work(model: Model) -> None:
        while not done.is_set():
            model.run(frames)

    with (
        open_model(tiny, backend="openvino", threads=1) as one,
        open_model(tiny, backend="openvino", threads=1) as other,
    ):
        workers = [threading.Thread(target=work, args=(model,)) for model in (one, other)]
        for worker in workers:
            worker.start()
        seen = set()
        for _ in range(100):
            time.sleep(0.002)
            seen |= {frozenset(os.sched_getaffinity(worker.native_id or 0)) for worker in workers}
        done.set()
        for worker in workers:
            worker.join()
    assert seen == {frozenset(os.sched_getaffinity(0))}


def test_a_damaged_file(own_bundle: Any) -> None:
    bundle = Bundle.open(own_bundle)
    (own_bundle / "model.fp32.onnx").write_bytes(b"no model")
    with pytest.raises(UserError, match=r"model.fp32.onnx: OpenVINO cannot load it") as caught:
        open_model(bundle, backend="openvino")
    assert "\n" not in str(caught.value)
