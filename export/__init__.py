"""From a trained run to a bundle: the deployed graph, ONNX, golden frames, the torch reference."""

from kd_deploy.runtime.telemetry import disable_onnxruntime_telemetry

disable_onnxruntime_telemetry()
