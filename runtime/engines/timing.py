"""The timing cache: what TensorRT measured in earlier builds on this GPU. API-checked, not run."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from kd_deploy.runtime import cuda
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.files import atomic_file
from kd_deploy.runtime.nvidia import trt


def timing_cache_file() -> Path:
    """Where the timings of this TensorRT on this GPU are kept, in the user's cache folder."""
    home = Path.home() / ("AppData/Local" if os.name == "nt" else ".cache")
    folder = Path(os.environ.get("XDG_CACHE_HOME") or home)
    gpu = "".join(c if c.isalnum() else "-" for c in cuda.gpu().name.lower())
    return folder / "kd-deploy" / f"trt{trt.__version__}-{gpu}.timing"


def attach_timing_cache(config: trt.IBuilderConfig) -> None:
    """Let a build use the timings of earlier ones; a file that is damaged or of another driver is begun anew."""
    content = b""
    with suppress(OSError):
        content = timing_cache_file().read_bytes()
    for start in (content, b""):
        cache = config.create_timing_cache(start)
        if cache is not None and config.set_timing_cache(cache, False):
            return


def keep_timing_cache(config: trt.IBuilderConfig) -> None:
    """Write the timings back; a cache that cannot be kept costs time and no more."""
    cache = config.get_timing_cache()
    if cache is not None:
        with suppress(UserError), atomic_file(timing_cache_file()) as temporary:
            temporary.write_bytes(bytes(cache.serialize()))
