"""What every backend must do, tested once and asked of each."""

from __future__ import annotations

import numpy as np
import pytest

from kd_deploy.runtime.bundle import Bundle
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.model import open_model


def keeps_the_contract(
    bundle: Bundle, backend: str, precision: str = "fp32", agreement: float = 0.999
) -> None:
    """Open `bundle` with a backend and hold it to `Model`'s contract; the golden masks are right."""
    golden = list(bundle.golden())
    frames = np.stack([frame for _, frame, _ in golden])
    right = np.stack([mask for _, _, mask in golden])
    height, width = bundle.size
    with open_model(bundle, backend=backend, precision=precision) as model:
        masks = model.run(frames)
        assert masks.shape == (2, height, width)
        assert masks.dtype == np.uint8
        assert (masks == right).mean() > agreement
        assert (model.run(frames[1:])[0] == masks[1]).mean() > agreement  # another batch size
        assert (model.run(frames) == masks).mean() > agreement  # and back
        out = np.full_like(masks, 255)
        assert model.run(frames, out) is out
        assert (out == masks).mean() > agreement
        for unfit in (out[:1], out.astype(np.int32), np.empty((*out.shape[::-1],), np.uint8).T):
            with pytest.raises(
                UserError, match=rf"^out: expected contiguous, writeable uint8 \(2, {height}, "
            ):
                model.run(frames, unfit)
        locked = frames.copy()
        locked.flags.writeable = False  # as np.frombuffer gives
        assert (model.run(locked) == masks).mean() > agreement
        flipped = frames[:, :, ::-1]  # a view that is not contiguous
        assert (model.run(flipped) == model.run(flipped.copy())).all()
        what = model.describe()
        chosen = bundle.for_cpu(precision) if backend == "onnxruntime-cpu" else precision
        assert (what.backend, what.precision) == (backend, chosen)
        assert what.device
        assert what.versions
        wrong = (
            frames[:, : height // 2],
            frames.astype(np.float32),
            frames[0],
            frames[:0],
            frames[..., :1],
        )
        for frame in wrong:
            with pytest.raises(
                UserError, match=rf"^frames: expected uint8 \(N, {height}, {width}, 3\) in BGR, got "
            ):
                model.run(frame)
        model.close()
    model.close()  # the third time: `with` closed it too
    with pytest.raises(UserError, match=r"^model: is closed; open it again with open_model$"):
        model.run(frames)
