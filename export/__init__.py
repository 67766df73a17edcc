"""From a trained run to a bundle: the deployed graph, ONNX, golden frames, the torch reference."""
