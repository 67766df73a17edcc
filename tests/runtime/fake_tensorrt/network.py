"""From an ONNX file to a network."""

from __future__ import annotations

from typing import Any

from tests.runtime.fake_tensorrt.logger import ILogger
from tests.runtime.fake_tensorrt.world import Strict, world


class ITensor(Strict):
    name: str = ""
    shape: Any = ()
    dtype: Any = None

    def __init__(self, _name: str, _dtype: Any, _shape: Any = ()) -> None:
        self.name, self.dtype, self.shape = _name, _dtype, _shape


class ILayer(Strict):
    name: str = ""
    type: Any = None

    def __init__(self, _name: str, _type: Any, _inputs: list[ITensor], _outputs: list[ITensor]) -> None:
        self.name, self.type, self._inputs, self._outputs = _name, _type, _inputs, _outputs

    def get_input(self, index: int) -> ITensor:
        return self._inputs[index]

    def get_output(self, index: int) -> ITensor:
        return self._outputs[index]


class INetworkDefinition(Strict):
    def __init__(self, _flags: int) -> None:
        self._flags = _flags
        self._model: Any = None
        self._layers: list[ILayer] = []

    @property
    def num_layers(self) -> int:
        return len(self._layers)

    def get_layer(self, index: int) -> ILayer:
        return self._layers[index]

    def get_input(self, index: int) -> ITensor:
        value = self._model.graph.input[index]
        dims = value.type.tensor_type.shape.dim
        return ITensor(value.name, world.enums["DataType"].UINT8, tuple(d.dim_value or -1 for d in dims))


class ParserError:
    def __init__(self, _name: str, _operator: str, _desc: str) -> None:
        self._said = _name, _operator, _desc

    def node_name(self) -> str:
        return self._said[0]

    def node_operator(self) -> str:
        return self._said[1]

    def desc(self) -> str:
        return self._said[2]

    def node(self) -> int:
        return 7


class OnnxParser(Strict):
    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self._network, self._logger = network, logger
        self._errors = [ParserError(*error) for error in world.now.parse_errors]

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]

    def parse_from_file(self, model: str) -> bool:
        import onnx

        try:
            self._network._model = parsed = onnx.load(model)
        except Exception:
            self._logger.log(ILogger.Severity.ERROR, "ModelImporter: failed to parse\nthe file")
            return False
        types = {onnx.TensorProto.FLOAT: "FLOAT", onnx.TensorProto.FLOAT16: "HALF"}
        weights = {tensor.name: types.get(tensor.data_type) for tensor in parsed.graph.initializer}
        for node in parsed.graph.node:
            if node.op_type == "Conv":
                data = ITensor(node.input[0], world.enums["DataType"][weights[node.input[1]]])
                output = ITensor(node.output[0], data.dtype)
                self._network._layers.append(
                    ILayer(node.name, world.enums["LayerType"].CONVOLUTION, [data], [output])
                )
        return not self._errors
