"""Uses of TensorRT that the check must let pass, and uses that it must stop, with the versions that each is wrong for.

Read by mypy, never run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorrt as trt
    from cuda.bindings import runtime as cudart


def right(logger: trt.ILogger, model: bytes) -> bytes:
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model):
        raise ValueError([parser.get_error(index).desc() for index in range(parser.num_errors)])
    profile = builder.create_optimization_profile()
    profile.set_shape(network.get_input(0).name, (1, 64, 64, 3), (1, 64, 64, 3), (4, 64, 64, 3))
    config = builder.create_builder_config()
    config.add_optimization_profile(profile)
    config.set_memory_pool_limit(pool=trt.MemoryPoolType.WORKSPACE, pool_size=1 << 30)
    config.builder_optimization_level = getattr(config, "max_num_tactics", 3)
    if hasattr(trt.BuilderFlag, "FP16"):  # gone in 11.0
        config.set_flag(trt.BuilderFlag.FP16)
    if hasattr(config, "tiling_optimization_level") and hasattr(
        trt, "TilingOptimizationLevel"
    ):  # new in 10.8
        config.tiling_optimization_level = trt.TilingOptimizationLevel.FAST
    status, properties = cudart.cudaGetDeviceProperties(0)
    if status != cudart.cudaError_t.cudaSuccess:
        raise ValueError(status.name, cudart.cudaGetErrorString(status)[1].decode())
    print(
        properties.name.decode(), tuple(network.get_input(0).shape), network.get_input(0).dtype == trt.uint8
    )
    return bytes(builder.build_serialized_network(network, config))


def wrong(config: trt.IBuilderConfig, anything: Any) -> None:
    print(trt.MadeUp)  # wrong: 10 11
    config.made_up()  # wrong: 10 11
    config.made_up = 1  # wrong: 10 11
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, made_up=1)  # wrong: 10 11
    config.get_flag(trt.BuilderFlag.TF32, 1)  # wrong: 10 11
    config.set_flag("TF32")  # wrong: 10 11
    config.set_flag(trt.BuilderFlag.FP16)  # wrong: 11
    print(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)  # wrong: 11
    print(config.int8_calibrator)  # wrong: 11
    print(trt.Builder(trt.Logger()).platform_has_fast_fp16)  # wrong: 11
    cudart.cudaMadeUp()  # wrong: 10 11
    cudart.cudaMalloc(1, 2)  # wrong: 10 11
    anything.set_flag(1)  # unresolved
    anything.level = 1  # unresolved
    getattr(trt.BuilderFlag, "F" + "P16")  # unresolved
    config.made_up()  # type: ignore[attr-defined]  # unresolved
