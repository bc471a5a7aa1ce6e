"""Triton's own definition of config.pbtxt, as a message class.

Rule: the definition is tritonclient's, read as data. Its generated module is not executed: it would import gRPC, and it
runs with the protobuf of its own generation only.
"""

from __future__ import annotations

import ast
from functools import cache
from importlib import resources
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from edgec.errors import ToolError

_MESSAGE = "inference.ModelConfig"


@cache
def model_config_class() -> Any:
    """The class of `inference.ModelConfig`. Raises ToolError when tritonclient is broken."""
    module = resources.files("tritonclient") / "grpc" / "model_config_pb2.py"
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "AddSerializedFile"
        ):
            pool = descriptor_pool.DescriptorPool()
            pool.Add(descriptor_pb2.FileDescriptorProto.FromString(ast.literal_eval(node.args[0])))
            return message_factory.GetMessageClass(pool.FindMessageTypeByName(_MESSAGE))
    raise ToolError.of(
        "tritonclient holds no definition of Triton's model configuration",
        place=str(module),
        hint="install edgec's own requirements again: python -m pip install --force-reinstall tritonclient",
    )
