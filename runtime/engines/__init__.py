"""TensorRT engines: made here or refused, kept under a key that says what they are, checked before use.

`make.build_engine` is the entry. All of it is API-checked against the real bindings of TensorRT 10.3, 10.16 and
11.4, and run over a fake; it has not run on a GPU yet.
"""
