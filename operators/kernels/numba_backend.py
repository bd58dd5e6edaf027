"""Kernels made machine code by numba, and the few instructions that they need and numba has no function for.

Only `compiling` imports this module, when a kernel is first called: numba takes half a second to load.
"""

# mypy: ignore-errors
from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core.registry import cpu_target
from numba.core.typing import signature
from numba.extending import lower_builtin, models, register_model, type_callable, typeof_impl

from gristmill.operators.kernels.compiling import Kernel, code_folder
from gristmill.operators.kernels.primitives import (
    bytes_with,
    load_float32,
    load_word,
    multiply_fold,
    prefetch,
    trailing_zeros,
)

numba.config.CACHE_DIR = str(code_folder())

#: The GIL is released, and there is no fast-math: results must not depend on the CPU.
_OPTIONS = {"nogil": True, "boundscheck": False, "error_model": "numpy", "no_cfunc_wrapper": True}


def entry(function: Callable[..., Any]) -> Any:
    """Return the compiled function, for Python to call; compiled once per machine."""
    return numba.njit(cache=True, **_OPTIONS)(function)


def machine() -> str:
    """Return a digest of what machine code depends on besides its source: processor, numba and Python."""
    parts = (sys.version, numba.__version__, cpu_target.target_context.codegen().magic_tuple())
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()


class _Part(types.Dispatcher):
    """A kernel in the code of another: compiled for the types of its arguments, never for a constant's value."""

    def get_call_type(self, context, args, kws):
        return super().get_call_type(context, tuple(types.unliteral(a) for a in args), kws)


register_model(_Part)(models.OpaqueModel)


def _part(function, counting):
    dispatcher = numba.njit(no_cpython_wrapper=True, _nrt=counting, **_OPTIONS)(function)
    return dispatcher, _Part(dispatcher)  # types do not keep alive what they stand for


@typeof_impl.register(Kernel)
def _(kernel, _):
    return kernel.part(_part)[1]


@type_callable(multiply_fold)
def _(context):
    return lambda a, b: signature(types.uint64, types.uint64, types.uint64)


@lower_builtin(multiply_fold, types.uint64, types.uint64)
def _(context, builder, signature, args):
    wide, word = ir.IntType(128), ir.IntType(64)
    product = builder.mul(builder.zext(args[0], wide), builder.zext(args[1], wide))
    high = builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), word)
    return builder.xor(builder.trunc(product, word), high)


def _is_load(function, result, loaded):
    """Make a function of an array and an index the load of what begins at that byte, wherever it lies."""

    @type_callable(function)
    def type_of(context):
        return lambda array, index: signature(result, array, types.int64)

    @lower_builtin(function, types.Array, types.int64)
    def lower(context, builder, signature, args):
        address = builder.bitcast(_address(context, builder, signature, args), loaded.as_pointer())
        value = builder.load(address)
        value.align = 1
        return value


_is_load(load_word, types.uint64, ir.IntType(64))
_is_load(load_float32, types.float32, ir.FloatType())


@type_callable(prefetch)
def _(context):
    return lambda array, index: signature(types.void, array, types.int64)


@lower_builtin(prefetch, types.Array, types.int64)
def _(context, builder, signature, args):
    byte, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag])
    function = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
    to_read, every_level, data = flag(0), flag(3), flag(1)
    builder.call(function, [_address(context, builder, signature, args), to_read, every_level, data])
    return context.get_dummy_value()


@type_callable(bytes_with)
def _(context):
    return lambda array, index, bits: signature(types.uint64, array, types.int64, types.uint8)


@lower_builtin(bytes_with, types.Array, types.int64, types.uint8)
def _(context, builder, signature, args):
    vector, lanes = ir.VectorType(ir.IntType(8), 64), ir.VectorType(ir.IntType(32), 64)
    loaded = builder.load(builder.bitcast(_address(context, builder, signature, args), vector.as_pointer()))
    loaded.align = 1
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), args[2], ir.IntType(32)(0))
    bits = builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), ir.Constant(lanes, None))
    found = builder.icmp_unsigned("!=", builder.and_(loaded, bits), ir.Constant(vector, None))
    return builder.bitcast(found, ir.IntType(64))


@type_callable(trailing_zeros)
def _(context):
    return lambda a: signature(types.int64, types.uint64)


@lower_builtin(trailing_zeros, types.uint64)
def _(context, builder, signature, args):
    return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))


def _address(context, builder, signature, args):
    """Return the address of a byte of an array's data."""
    data = context.make_array(signature.args[0])(context, builder, args[0]).data
    return builder.gep(builder.bitcast(data, ir.IntType(8).as_pointer()), [args[1]])
