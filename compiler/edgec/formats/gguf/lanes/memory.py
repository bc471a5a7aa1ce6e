"""Lanes in memory: loads, stores, table look-ups and transposing loads. All arrays are contiguous."""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import types
from numba.extending import intrinsic
from numba.np import arrayobj

from edgec.formats.gguf.lanes.vector import BIT, FLOAT, FLOATS, INT, INTS, WIDTH, lanes, repeat

_LONG, _LONGS = ir.IntType(64), ir.VectorType(ir.IntType(64), WIDTH)
_BYTES = ir.VectorType(ir.IntType(8), WIDTH)
_ALIGNMENT = 4


def _address(compiler: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    """Of element `index` of a contiguous array (elements,), or row `index` of one (rows, WIDTH)."""
    if array_type.layout != "C":
        raise TypeError("lanes lie in contiguous arrays")
    if array_type.ndim == 2:
        index = builder.mul(index, ir.Constant(index.type, WIDTH))
    data = arrayobj.make_array(array_type)(compiler, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), FLOATS.as_pointer())


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
        small = builder.trunc(builder.fptosi(arguments[2], INTS), _BYTES)
        builder.store(small, builder.bitcast(address, _BYTES.as_pointer())).align = 1
        return compiler.get_dummy_value()

    return types.void(array, types.intp, lanes), generate


@intrinsic  # type: ignore[untyped-decorator]
def look_up(_context: Any, table: Any, index: Any) -> Any:
    """table[index] of every lane, `index` being whole numbers."""

    def generate(compiler: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = arrayobj.make_array(signature.args[0])(compiler, builder, arguments[0]).data
        pointers, all_lanes = ir.VectorType(data.type, WIDTH), ir.VectorType(BIT, WIDTH)
        kind = ir.FunctionType(FLOATS, [pointers, INT, all_lanes, FLOATS])
        function = builder.module.declare_intrinsic(f"llvm.masked.gather.v{WIDTH}f32.v{WIDTH}p0", (), kind)
        # llvmlite has no getelementptr of vectors: addresses are added as numbers.
        offsets = builder.mul(builder.fptosi(arguments[1], INTS), repeat(builder, ir.Constant(INT, 4), INTS))
        base = repeat(builder, builder.ptrtoint(data, _LONG), _LONGS)
        addresses = builder.inttoptr(builder.add(base, builder.sext(offsets, _LONGS)), pointers)
        every, nothing = ir.Constant(all_lanes, [1] * WIDTH), ir.Constant(FLOATS, ir.Undefined)
        return builder.call(function, [addresses, ir.Constant(INT, _ALIGNMENT), every, nothing])

    return lanes(table, lanes), generate


def _next_row(builder: Any, row: Any, rows: Any) -> Any:
    after = builder.add(row, ir.Constant(row.type, 1))
    return builder.select(builder.icmp_signed("==", after, rows), ir.Constant(row.type, 0), after)


def _interleave(builder: Any, x: Any, y: Any, at: int, size: int) -> Any:
    order = [at + i // 2 + size * (i % 2) for i in range(size)]
    return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(INT, size), order))


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
        part_type = ir.VectorType(FLOAT, COLUMNS)
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
                place = ir.Constant(INT, i * (WIDTH // COLUMNS) + part)
                builder.store(vector, builder.gep(target, [place])).align = _ALIGNMENT
        return compiler.get_dummy_value()

    return types.void(source, types.intp, types.intp, tile, types.intp), generate
