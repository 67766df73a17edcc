"""Run a bundle on the device: numpy, OpenCV and one backend, never torch."""
