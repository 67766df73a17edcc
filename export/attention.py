"""ONNX Runtime's own attention on CPUs: no scores of all queries at once are ever written to memory.

The operator is Microsoft's, so a graph with it is for ONNX Runtime. Its CPU kernel works through blocks of queries and
keys as FlashAttention does (Dao et al., NeurIPS 2022).
"""

from __future__ import annotations

from typing import Any

import torch
from onnx.defs import OpSchema
from onnxscript.values import Op, Opset
from torch import Tensor, library

from kd_deploy.export.mix_transformer import attend

DOMAIN = "com.microsoft"

_OPERATOR = "MultiHeadAttention"


@library.custom_op("kd_deploy::attend", mutates_args=())
def fused_attend(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """`attend` as one operator of the exported graph."""
    return attend(q, k, v, heads).contiguous()


@fused_attend.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    return torch.empty_like(q)


def _schema() -> OpSchema:
    tensors = [OpSchema.FormalParameter(name, "T") for name in ("query", "key", "value")]
    return OpSchema(
        _OPERATOR,
        DOMAIN,
        1,
        inputs=tensors,
        outputs=[OpSchema.FormalParameter("output", "T")],
        type_constraints=[("T", ["tensor(float)"], "")],
        attributes=[OpSchema.Attribute("num_heads", OpSchema.AttrType.INT)],
    )


def _fused(q: Any, k: Any, v: Any, heads: int) -> Any:
    return Op(Opset(DOMAIN, 1), _OPERATOR, _schema())(q, k, v, num_heads=heads)


TRANSLATIONS: dict[Any, Any] = {torch.ops.kd_deploy.attend.default: _fused}
"""What torch.onnx.export is told of our operator."""
