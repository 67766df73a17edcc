"""Shared libraries that let the real TensorRT bindings be imported where there is no TensorRT.

The bindings' extension module links three libraries and takes nine C functions from them; here each
returns null. So every class, method and enum of a version is there, and nothing can be built or run: this
shows that names exist, not that TensorRT works.
"""

import ctypes
import shutil
import subprocess
from pathlib import Path

SYMBOLS = {
    "nvinfer": (
        "createInferBuilder_INTERNAL",
        "createInferRuntime_INTERNAL",
        "createInferRefitter_INTERNAL",
        "getPluginRegistry",
        "getBuilderPluginRegistry",
    ),
    "nvinfer_plugin": ("initLibNvInferPlugins",),
    "nvonnxparser": (
        "createNvOnnxParser_INTERNAL",
        "createNvOnnxParserRefitter_INTERNAL",
        "getNvOnnxParserVersion",
    ),
}


def compiler() -> str | None:
    return shutil.which("gcc")


def compile_stubs(folder: Path, major: int) -> None:
    """Write lib<name>.so.<major> for the three names into `folder`; needs gcc."""
    for library, symbols in SYMBOLS.items():
        name = f"lib{library}.so.{major}"
        source = "".join(f"void *{symbol}(void) {{ return 0; }}\n" for symbol in symbols)
        command = [
            "gcc",
            "-shared",
            "-fPIC",
            f"-Wl,-soname,{name}",
            "-o",
            str(folder / name),
            "-x",
            "c",
            "-",
        ]
        subprocess.run(command, input=source, text=True, check=True)


def load_stubs(folder: Path, major: int) -> None:
    """Load them for every later library of this process; before `import tensorrt_bindings`."""
    for library in SYMBOLS:
        ctypes.CDLL(str(folder / f"lib{library}.so.{major}"), mode=ctypes.RTLD_GLOBAL)
