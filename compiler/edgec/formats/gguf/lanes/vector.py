"""WIDTH float32 numbers as one value in compiled code: `Lanes`, what a comparison of two gives, and their operations.

Each operation is the IEEE one of every lane, rounded by itself: LLVM is allowed neither to contract nor to reorder. What
the processor's vectors do not hold LLVM splits, so that the code is the same on every machine. One value of 32 lanes
gives the processor two independent chains where it has vectors of 512 bits.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import types
from numba.extending import intrinsic, models, overload, register_model
from numba.np import arrayobj

WIDTH = 32

_FLOAT, _INT, _BIT = ir.FloatType(), ir.IntType(32), ir.IntType(1)
_LONG, _LONGS = ir.IntType(64), ir.VectorType(ir.IntType(64), WIDTH)
_FLOATS, _INTS = ir.VectorType(_FLOAT, WIDTH), ir.VectorType(_INT, WIDTH)
_BYTES = ir.VectorType(ir.IntType(8), WIDTH)
_ALIGNMENT = 4


class Lanes(types.Type):  # type: ignore[misc]
    """WIDTH numbers."""

    def __init__(self) -> None:
        super().__init__("Lanes")


class Choice(types.Type):  # type: ignore[misc]
    """WIDTH answers to a comparison."""

    def __init__(self) -> None:
        super().__init__("Choice")


lanes, choice = Lanes(), Choice()


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, numba_type: Any) -> None:
        super().__init__(manager, numba_type, _FLOATS)


@register_model(Choice)
class _ChoiceModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, numba_type: Any) -> None:
        super().__init__(manager, numba_type, ir.VectorType(_BIT, WIDTH))


def _repeat(builder: Any, scalar: Any, vector_type: Any) -> Any:
    none = ir.Constant(vector_type, ir.Undefined)
    first = builder.insert_element(none, scalar, ir.Constant(_INT, 0))
    return builder.shuffle_vector(first, none, ir.Constant(_INTS, [0] * WIDTH))


def _widened(builder: Any, numba_type: Any, value: Any) -> Any:
    """The value, or a number as lanes."""
    return value if numba_type == lanes else _repeat(builder, value, _FLOATS)


def _are_lanes(x: Any, y: Any) -> bool:
    """Whether one of both is Lanes, and the other that or a float32."""
    return lanes in {x, y} and {x, y} <= {lanes, types.float32}


def _define(function: Callable[..., Any], result: Any, instruction: Callable[[Any, Any, Any], Any]) -> None:
    """Let `function` of two lanes, or one and a number, be `instruction`."""

    @intrinsic  # type: ignore[untyped-decorator]
    def emit(_context: Any, x: Any, y: Any) -> Any:
        def generate(_compiler: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            both = [_widened(builder, t, a) for t, a in zip(signature.args, arguments, strict=True)]
            return instruction(builder, *both)

        return result(x, y), generate

    @overload(function)  # type: ignore[untyped-decorator]
    def _operation(x, y):  # type: ignore[no-untyped-def]
        return (lambda x, y: emit(x, y)) if _are_lanes(x, y) else None


for _function, _name in (
    (operator.add, "fadd"), (operator.iadd, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):  # fmt: skip
    _define(_function, lanes, lambda builder, x, y, name=_name: getattr(builder, name)(x, y))
for _function, _name in (
    (operator.lt, "<"), (operator.gt, ">"), (operator.le, "<="), (operator.ge, ">="),
    (operator.eq, "=="),
):  # fmt: skip
    _define(_function, choice, lambda builder, x, y, name=_name: builder.fcmp_ordered(name, x, y))
# Not equal, also where one is no number.
_define(operator.ne, choice, lambda builder, x, y: builder.fcmp_unordered("!=", x, y))


@intrinsic  # type: ignore[untyped-decorator]
def _both(_context: Any, x: Any, y: Any) -> Any:
    return choice(x, y), lambda _compiler, builder, _signature, arguments: builder.and_(*arguments)


@overload(operator.and_)  # type: ignore[untyped-decorator]
def _and(x, y):  # type: ignore[no-untyped-def]
    return (lambda x, y: _both(x, y)) if x == choice and y == choice else None


@intrinsic  # type: ignore[untyped-decorator]
def any_of(_context: Any, answers: Any) -> Any:
    """Whether the answer of any lane is yes."""

    def generate(_compiler: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        bits = builder.bitcast(arguments[0], ir.IntType(WIDTH))
        return builder.icmp_unsigned("!=", bits, ir.Constant(ir.IntType(WIDTH), 0))

    return types.boolean(answers), generate


@intrinsic  # type: ignore[untyped-decorator]
def spread(_context: Any, number: Any) -> Any:
    """A number in every lane."""

    def generate(_compiler: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return _repeat(builder, arguments[0], _FLOATS)

    return lanes(types.float32), generate


@intrinsic  # type: ignore[untyped-decorator]
def spread_pair(_context: Any, first: Any, second: Any) -> Any:
    """A number in the first half of the lanes, another in the second half."""

    def generate(_compiler: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        both = [_repeat(builder, number, _FLOATS) for number in arguments]
        half = WIDTH // 2
        return builder.shuffle_vector(*both, ir.Constant(_INTS, [0] * half + [WIDTH] * half))

    return lanes(types.float32, types.float32), generate


@intrinsic  # type: ignore[untyped-decorator]
def to_integers(_context: Any, x: Any) -> Any:
    """The numbers, below 2^31, without what follows the point."""

    def generate(_compiler: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.sitofp(builder.fptosi(arguments[0], _INTS), _FLOATS)

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
        bits = builder.bitcast(arguments[0], _INTS)
        bits = builder.and_(bits, _repeat(builder, arguments[1], _INTS))
        return builder.bitcast(builder.or_(bits, _repeat(builder, arguments[2], _INTS)), _FLOATS)

    return lanes(x, types.int32, types.int32), generate


@intrinsic  # type: ignore[untyped-decorator]
def square_root(_context: Any, x: Any) -> Any:
    """The square root of every lane."""

    def generate(_compiler: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(_FLOATS, [_FLOATS])
        function = builder.module.declare_intrinsic(f"llvm.sqrt.v{WIDTH}f32", (), kind)
        return builder.call(function, arguments)

    return lanes(x), generate


def _address(compiler: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    """Of element `index` of a contiguous array (elements,), or row `index` of one (rows, WIDTH)."""
    if array_type.layout != "C":
        raise TypeError("lanes lie in contiguous arrays")
    if array_type.ndim == 2:
        index = builder.mul(index, ir.Constant(index.type, WIDTH))
    data = arrayobj.make_array(array_type)(compiler, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), _FLOATS.as_pointer())


@intrinsic  # type: ignore[untyped-decorator]
def load(_context: Any, array: Any, index: Any) -> Any:
    """Row `index` of a tile (rows, WIDTH), or WIDTH elements from `index` on of an array (elements,)."""

    def generate(compiler: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value = builder.load(_address(compiler, builder, signature.args[0], *arguments))
        value.align = _ALIGNMENT
        return value

    return lanes(array, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def store(_context: Any, array: Any, index: Any, value: Any) -> Any:
    """The reverse of `load`."""

    def generate(compiler: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = _address(compiler, builder, signature.args[0], *arguments[:2])
        builder.store(arguments[2], address).align = _ALIGNMENT
        return compiler.get_dummy_value()

    return types.void(array, types.intp, lanes), generate


@intrinsic  # type: ignore[untyped-decorator]
def store_bytes(_context: Any, array: Any, index: Any, value: Any) -> Any:
    """`store` of whole numbers in -128..255 to an array of uint8."""

    def generate(compiler: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = _address(compiler, builder, signature.args[0], *arguments[:2])
        small = builder.trunc(builder.fptosi(arguments[2], _INTS), _BYTES)
        builder.store(small, builder.bitcast(address, _BYTES.as_pointer())).align = 1
        return compiler.get_dummy_value()

    return types.void(array, types.intp, lanes), generate


@intrinsic  # type: ignore[untyped-decorator]
def look_up(_context: Any, table: Any, index: Any) -> Any:
    """table[index] of every lane, `index` being whole numbers."""

    def generate(compiler: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = arrayobj.make_array(signature.args[0])(compiler, builder, arguments[0]).data
        pointers, all_lanes = ir.VectorType(data.type, WIDTH), ir.VectorType(_BIT, WIDTH)
        kind = ir.FunctionType(_FLOATS, [pointers, _INT, all_lanes, _FLOATS])
        function = builder.module.declare_intrinsic(f"llvm.masked.gather.v{WIDTH}f32.v{WIDTH}p0", (), kind)
        # llvmlite has no getelementptr of vectors: addresses are added as numbers.
        offsets = builder.mul(builder.fptosi(arguments[1], _INTS), _repeat(builder, ir.Constant(_INT, 4), _INTS))
        base = _repeat(builder, builder.ptrtoint(data, _LONG), _LONGS)
        addresses = builder.inttoptr(builder.add(base, builder.sext(offsets, _LONGS)), pointers)
        every, nothing = ir.Constant(all_lanes, [1] * WIDTH), ir.Constant(_FLOATS, ir.Undefined)
        return builder.call(function, [addresses, ir.Constant(_INT, _ALIGNMENT), every, nothing])

    return lanes(table, lanes), generate


def _next_row(builder: Any, row: Any, rows: Any) -> Any:
    after = builder.add(row, ir.Constant(row.type, 1))
    return builder.select(builder.icmp_signed("==", after, rows), ir.Constant(row.type, 0), after)


def _interleave(builder: Any, x: Any, y: Any, at: int, size: int) -> Any:
    order = [at + i // 2 + size * (i % 2) for i in range(size)]
    return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(_INT, size), order))


# Columns that `load_columns` transposes: as many as rows at a time.
COLUMNS = 16


@intrinsic  # type: ignore[untyped-decorator]
def load_columns(_context: Any, source: Any, row: Any, column: Any, tile: Any, at: Any) -> Any:
    """Transpose COLUMNS columns of WIDTH rows of `source` into rows `at` and following of `tile` (rows, WIDTH).

    After the last row comes the first one.
    """

    def generate(compiler: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = arrayobj.make_array(signature.args[0])(compiler, builder, arguments[0])
        rows, columns = (builder.extract_value(array.shape, i) for i in range(2))
        row, column = arguments[1:3]
        target = _address(compiler, builder, signature.args[3], arguments[3], arguments[4])
        part_type = ir.VectorType(_FLOAT, COLUMNS)
        target = builder.bitcast(target, part_type.as_pointer())
        for part in range(WIDTH // COLUMNS):
            vectors = []
            for _ in range(COLUMNS):
                begin = builder.gep(array.data, [builder.add(builder.mul(row, columns), column)])
                vectors.append(builder.load(builder.bitcast(begin, part_type.as_pointer())))
                vectors[-1].align = _ALIGNMENT
                row = _next_row(builder, row, rows)
            half = COLUMNS // 2
            # Every round moves one bit of the row's number into the column's.
            for _ in range(COLUMNS.bit_length() - 1):
                pairs = [(vectors[i], vectors[i + half]) for i in range(half)]
                vectors = [_interleave(builder, *pair, at, COLUMNS) for pair in pairs for at in (0, half)]
            for i, vector in enumerate(vectors):
                place = ir.Constant(_INT, i * (WIDTH // COLUMNS) + part)
                builder.store(vector, builder.gep(target, [place])).align = _ALIGNMENT
        return compiler.get_dummy_value()

    return types.void(source, types.intp, types.intp, tile, types.intp), generate
