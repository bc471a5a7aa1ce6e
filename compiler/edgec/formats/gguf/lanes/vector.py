"""WIDTH float32 numbers as one value in compiled code: `Lanes`, what a comparison of two gives, and their operations.

Rule: each operation is the IEEE one of every lane, rounded by itself; LLVM may neither contract nor reorder. It splits
what the processor's vectors do not hold, so the code is the same on every machine. With vectors of 512 bits 32 lanes
are two independent chains of additions.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import types
from numba.extending import intrinsic, models, overload, register_model

WIDTH = 32

# LLVM's types of one number and of WIDTH.
FLOAT, INT, BIT = ir.FloatType(), ir.IntType(32), ir.IntType(1)
FLOATS, INTS = ir.VectorType(FLOAT, WIDTH), ir.VectorType(INT, WIDTH)


class Lanes(types.Type):
    """WIDTH numbers."""

    def __init__(self) -> None:
        super().__init__("Lanes")


class Choice(types.Type):
    """WIDTH answers to a comparison."""

    def __init__(self) -> None:
        super().__init__("Choice")


lanes, choice = Lanes(), Choice()


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, numba_type: Any) -> None:
        super().__init__(manager, numba_type, FLOATS)


@register_model(Choice)
class _ChoiceModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, numba_type: Any) -> None:
        super().__init__(manager, numba_type, ir.VectorType(BIT, WIDTH))


def repeat(builder: Any, scalar: Any, vector_type: Any) -> Any:
    """A value of `vector_type` with WIDTH times `scalar`, in code that is being generated."""
    none = ir.Constant(vector_type, ir.Undefined)
    first = builder.insert_element(none, scalar, ir.Constant(INT, 0))
    return builder.shuffle_vector(first, none, ir.Constant(INTS, [0] * WIDTH))


def _widened(builder: Any, numba_type: Any, value: Any) -> Any:
    """The value, or a number as lanes."""
    return value if numba_type == lanes else repeat(builder, value, FLOATS)


def _are_lanes(x: Any, y: Any) -> bool:
    """Whether one of both is Lanes, and the other that or a float32."""
    return lanes in {x, y} and {x, y} <= {lanes, types.float32}


def _define(function: Callable[..., Any], result: Any, instruction: str, *options: str) -> None:
    """Let `function` of two lanes, or one and a number, be the builder's method `instruction`."""

    @intrinsic  # type: ignore[untyped-decorator]
    def emit(_context: Any, x: Any, y: Any) -> Any:
        def generate(_compiler: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            both = [_widened(builder, t, a) for t, a in zip(signature.args, arguments, strict=True)]
            return getattr(builder, instruction)(*options, *both)

        return result(x, y), generate

    @overload(function)
    def _operation(x, y):  # type: ignore[no-untyped-def]
        def operate(x, y):  # type: ignore[no-untyped-def]
            return emit(x, y)

        return operate if _are_lanes(x, y) else None


for _function, _name in (
    (operator.add, "fadd"), (operator.iadd, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):  # fmt: skip
    _define(_function, lanes, _name)
for _function, _name in (
    (operator.lt, "<"), (operator.gt, ">"), (operator.le, "<="), (operator.ge, ">="), (operator.eq, "=="),
):  # fmt: skip
    _define(_function, choice, "fcmp_ordered", _name)
# Not equal, also where one is no number.
_define(operator.ne, choice, "fcmp_unordered", "!=")


@intrinsic  # type: ignore[untyped-decorator]
def _both(_context: Any, x: Any, y: Any) -> Any:
    return choice(x, y), lambda _compiler, builder, _signature, arguments: builder.and_(*arguments)


@intrinsic  # type: ignore[untyped-decorator]
def _either(_context: Any, x: Any, y: Any) -> Any:
    return choice(x, y), lambda _compiler, builder, _signature, arguments: builder.or_(*arguments)


@overload(operator.or_)
def _or(x, y):  # type: ignore[no-untyped-def]
    def operate(x, y):  # type: ignore[no-untyped-def]
        return _either(x, y)

    return operate if x == choice and y == choice else None


@overload(operator.and_)
def _and(x, y):  # type: ignore[no-untyped-def]
    def operate(x, y):  # type: ignore[no-untyped-def]
        return _both(x, y)

    return operate if x == choice and y == choice else None


@intrinsic  # type: ignore[untyped-decorator]
def any_of(_context: Any, answers: Any) -> Any:
    """Whether the answer of any lane is yes."""

    def generate(_compiler: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        bits = builder.bitcast(arguments[0], ir.IntType(WIDTH))
        return builder.icmp_unsigned("!=", bits, ir.Constant(ir.IntType(WIDTH), 0))

    return types.boolean(answers), generate


@intrinsic  # type: ignore[untyped-decorator]
def all_of(_context: Any, answers: Any) -> Any:
    """Whether the answers of all lanes are yes."""

    def generate(_compiler: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        bits = builder.bitcast(arguments[0], ir.IntType(WIDTH))
        return builder.icmp_unsigned("==", bits, ir.Constant(ir.IntType(WIDTH), -1))

    return types.boolean(answers), generate


@intrinsic  # type: ignore[untyped-decorator]
def bits_of_noes(_context: Any, answers: Any) -> Any:
    """A bit for every lane, the first lane's lowest: set where the answer is no."""

    def generate(_compiler: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.zext(builder.not_(builder.bitcast(arguments[0], ir.IntType(WIDTH))), ir.IntType(64))

    return types.uint64(answers), generate


@intrinsic  # type: ignore[untyped-decorator]
def spread(_context: Any, number: Any) -> Any:
    """A number in every lane."""

    def generate(_compiler: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return repeat(builder, arguments[0], FLOATS)

    return lanes(types.float32), generate


@intrinsic  # type: ignore[untyped-decorator]
def spread_pair(_context: Any, first: Any, second: Any) -> Any:
    """A number in the first half of the lanes, another in the second half."""

    def generate(_compiler: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        both = [repeat(builder, number, FLOATS) for number in arguments]
        half = WIDTH // 2
        return builder.shuffle_vector(*both, ir.Constant(INTS, [0] * half + [WIDTH] * half))

    return lanes(types.float32, types.float32), generate


@intrinsic  # type: ignore[untyped-decorator]
def to_integers(_context: Any, x: Any) -> Any:
    """The numbers, below 2^31, without what follows the point."""

    def generate(_compiler: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.sitofp(builder.fptosi(arguments[0], INTS), FLOATS)

    return lanes(x), generate


@intrinsic  # type: ignore[untyped-decorator]
def choose(_context: Any, answers: Any, yes: Any, no: Any) -> Any:
    """`yes` in the lanes where the answer is yes, else `no`."""

    def generate(_compiler: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        both = [_widened(builder, t, a) for t, a in zip(signature.args[1:], arguments[1:], strict=True)]
        return builder.select(arguments[0], *both)

    return lanes(answers, yes, no), generate


@intrinsic  # type: ignore[untyped-decorator]
def masked(_context: Any, x: Any, keep: Any, put: Any) -> Any:
    """The numbers whose bits are (bits & keep) | put; both int32."""

    def generate(_compiler: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        bits = builder.bitcast(arguments[0], INTS)
        bits = builder.and_(bits, repeat(builder, arguments[1], INTS))
        return builder.bitcast(builder.or_(bits, repeat(builder, arguments[2], INTS)), FLOATS)

    return lanes(x, types.int32, types.int32), generate


@intrinsic  # type: ignore[untyped-decorator]
def square_root(_context: Any, x: Any) -> Any:
    """The square root of every lane."""

    def generate(_compiler: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(FLOATS, [FLOATS])
        function = builder.module.declare_intrinsic(f"llvm.sqrt.v{WIDTH}f32", (), kind)
        return builder.call(function, arguments)

    return lanes(x), generate
