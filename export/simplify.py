"""onnxsim over a written graph: an option, since the exporter's graphs leave it little to do."""

from __future__ import annotations

from pathlib import Path

import onnx

from kd_deploy.runtime.errors import GateFailedError, MissingComponentError


def simplify(file: Path) -> tuple[int, int]:
    """Rewrite `file` with constants folded and idle nodes gone; returns the number of nodes before and after.

    Raises:
        MissingComponentError: onnxsim is not installed.
        GateFailedError: its own check on random frames finds another function.
    """
    try:
        import onnxsim
    except ImportError as error:
        raise MissingComponentError(
            f"onnxsim: cannot be imported ({error}); pip install onnxsim, or leave --simplify out"
        ) from error
    model = onnx.load(file)
    simplified, same = onnxsim.simplify(model, check_n=1)
    if not same:
        raise GateFailedError(f"{file.name}: onnxsim changed what it computes; leave --simplify out")
    if not simplified.metadata_props:
        simplified.metadata_props.extend(model.metadata_props)
    onnx.checker.check_model(simplified, full_check=True)
    onnx.save(simplified, file)
    return len(model.graph.node), len(simplified.graph.node)
