"""What is asked of a build, and what TensorRT's builder is told of it. API-checked, not run."""

from __future__ import annotations

from dataclasses import dataclass

from kd_deploy.runtime.engines.key import BuildOptions
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.nvidia import trt


@dataclass(frozen=True)
class Request:
    """What to build.

    Attributes:
        onnx: the model.
        engine: where the engine goes.
        precision: of the model, as the bundle names it.
        size: height and width of a frame.
        options: the user's choices; its workspace and level are the first to try.
    """

    onnx: str
    engine: str
    precision: str
    size: tuple[int, int]
    options: BuildOptions

    @property
    def kind(self) -> str:
        """The number format alone: int8-cpu is int8."""
        return self.precision.partition("-")[0]


def set_batch(
    builder: trt.Builder, config: trt.IBuilderConfig, network: trt.INetworkDefinition, request: Request
) -> tuple[tuple[int, int, int], bool]:
    """Give a dynamic input its optimization profile.

    Returns:
        Smallest, usual and largest batch of the engine, and whether a run must give the frames' shape.
    """
    frame = network.get_input(0)
    batch, (height, width) = frame.shape[0], request.size
    fixed = batch != -1
    chosen = request.options.batch or ((batch, batch, batch) if fixed else (1, 1, 1))
    if fixed and chosen != (batch, batch, batch):
        raise UserError(
            f"{request.onnx}: its batch is fixed at {batch}; leave --batch out, or export the bundle with "
            "--dynamic batch"
        )
    dynamic = -1 in tuple(frame.shape)  # height and width may be free where the batch is not
    if dynamic:
        profile = builder.create_optimization_profile()
        smallest, usual, largest = ((count, height, width, 3) for count in chosen)
        profile.set_shape(frame.name, smallest, usual, largest)
        if config.add_optimization_profile(profile) < 0:
            raise UserError(f"{request.onnx}: TensorRT refuses the batch {chosen} at {height}x{width}")
    return chosen, dynamic


def configure(builder: trt.Builder, config: trt.IBuilderConfig, request: Request, workspace: int) -> None:
    """Tell the builder the user's choices; `workspace` in MiB."""
    options = request.options
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace << 20)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # the inspector has nothing to say otherwise
    if request.kind == "fp32":
        config.clear_flag(trt.BuilderFlag.TF32)  # on by default, and not what fp32 promises
    if options.level is not None:
        config.builder_optimization_level = options.level
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.hardware_compatible:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    if options.dla is not None:
        _use_dla(builder, config, request, options.dla)


def _use_dla(builder: trt.Builder, config: trt.IBuilderConfig, request: Request, core: int) -> None:
    if not 0 <= core < builder.num_DLA_cores:
        raise UserError(
            f"dla: TensorRT {trt.__version__} sees {builder.num_DLA_cores} such cores here, not number {core}; leave "
            "--dla out (Orin's are known to TensorRT 10.0 to 10.7 and from 11.4.1 on)"
        )
    if request.kind not in ("fp16", "int8"):
        raise UserError(
            f"dla: it computes in fp16 and int8, not in {request.precision}; choose --precision fp16"
        )
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = core
    config.set_flag(trt.BuilderFlag.GPU_FALLBACK)


def weak_flags(kind: str) -> list[trt.BuilderFlag]:
    """The flags with which TensorRT 10 chooses the precision of a weakly typed network; 11 has none of them."""
    flags = []
    if kind == "int8" and hasattr(trt.BuilderFlag, "INT8"):
        flags.append(trt.BuilderFlag.INT8)
    if kind in ("fp16", "int8") and hasattr(trt.BuilderFlag, "FP16"):
        flags.append(trt.BuilderFlag.FP16)
    if kind == "bf16" and hasattr(trt.BuilderFlag, "BF16"):
        flags.append(trt.BuilderFlag.BF16)
    return flags
