"""kd-deploy: from a big segmentation network to a small one that is proven on the device."""

from kd_deploy.runtime.telemetry import disable_onnxruntime_telemetry

disable_onnxruntime_telemetry()
