"""ATen's elementwise operators."""

from __future__ import annotations

from .call import HANDLERS, Call, Handler, Ref, handles

# ATen name -> kind, where they differ in name; a function that roofcast does not tell apart goes to the one that takes
# the same work (log2 is a logarithm, exp2 an exponential).
UNARY: dict[str, str] = {
    **{name: name for name in (
        "relu", "relu6", "leaky_relu", "abs", "neg", "sign", "square", "floor", "ceil", "round", "logical_not",
        "threshold", "hardsigmoid", "hardswish", "hardtanh", "exp", "log", "sqrt", "rsqrt", "reciprocal", "sin", "cos",
        "tan", "erf", "tanh", "atan", "asin", "acos", "sinh", "cosh", "asinh", "acosh", "atanh", "log1p", "expm1",
        "sigmoid", "silu", "softplus", "mish", "elu", "selu", "celu", "hardshrink", "softshrink", "logit",
        "log_sigmoid", "softsign", "tanhshrink",
    )},
    "absolute": "abs", "negative": "neg", "sgn": "sign", "trunc": "floor", "fix": "floor", "frac": "sub",
    "log2": "log", "log10": "log", "exp2": "exp", "erfc": "erf", "erfinv": "erf", "special_erf": "erf",
    "special_expit": "sigmoid", "special_exp2": "exp", "special_log1p": "log1p", "special_expm1": "expm1",
    "arctan": "atan", "arcsin": "asin", "arccos": "acos", "arctanh": "atanh", "arcsinh": "asinh", "arccosh": "acosh",
    "lgamma": "log1p", "digamma": "log1p", "bitwise_not": "logical_not", "signbit": "sign", "sinc": "sin",
    "isnan": "is_nan", "isinf": "is_nan", "isfinite": "is_nan", "isposinf": "is_nan", "isneginf": "is_nan",
    "nan_to_num": "clip", "deg2rad": "mul", "rad2deg": "mul", "conj_physical": "neg", "rrelu": "leaky_relu",
    "angle": "atan", "hardtanh_backward": "hardtanh", "bernoulli": "threshold",
}  # fmt: skip
BINARY: dict[str, str] = {
    "add": "add", "sub": "sub", "subtract": "sub", "rsub": "sub", "mul": "mul", "multiply": "mul", "div": "div",
    "divide": "div", "true_divide": "div", "floor_divide": "floor_divide", "maximum": "maximum", "minimum": "minimum",
    "fmax": "maximum", "fmin": "minimum", "remainder": "mod", "fmod": "mod", "atan2": "atan2", "arctan2": "atan2",
    "eq": "equal", "ne": "not_equal", "not_equal": "not_equal", "gt": "greater", "greater": "greater",
    "ge": "greater_equal", "greater_equal": "greater_equal", "lt": "less", "less": "less", "le": "less_equal",
    "less_equal": "less_equal", "logical_and": "logical_and", "logical_or": "logical_or", "hypot": "hypot",
    "logical_xor": "logical_xor", "bitwise_and": "bitwise_and", "bitwise_or": "bitwise_or",
    "bitwise_xor": "bitwise_xor", "__and__": "bitwise_and", "__or__": "bitwise_or", "__xor__": "bitwise_xor",
    "bitwise_left_shift": "shift", "bitwise_right_shift": "shift", "__lshift__": "shift", "__rshift__": "shift",
    "isclose": "less", "xlogy": "mul", "copysign": "sign", "complex": "add", "polar": "sin", "logaddexp": "softplus",
}  # fmt: skip
TERNARY: dict[str, tuple[str, tuple[str, ...]]] = {
    "addcmul": ("addcmul", ("self", "tensor1", "tensor2")),
    "addcdiv": ("addcdiv", ("self", "tensor1", "tensor2")),
    "lerp": ("lerp", ("self", "end", "weight")),
}
POWERS = {2: "square", 3: "cube", 0.5: "sqrt", -0.5: "rsqrt", -1: "reciprocal"}


def with_scalar(call: Call, kind: str, *values: object) -> str:
    """Op ``kind`` over those of ``values`` that are tensors; a number among them becomes the attribute ``scalar``."""
    tensors = [value for value in values if isinstance(value, Ref)]
    scalar = next((value for value in values if isinstance(value, int | float)), None)
    return call.emit(kind, *tensors, scalar=None if scalar is None else float(scalar))


def _unary(kind: str) -> Handler:
    return lambda call: call.emit(kind, call.x)


def _binary(kind: str) -> Handler:
    return lambda call: with_scalar(call, kind, call.get("self", "real", "abs"), call.get("other", "imag", "angle"))


def _ternary(kind: str, names: tuple[str, ...]) -> Handler:
    return lambda call: with_scalar(call, kind, *(call[name] for name in names))


HANDLERS.update({name: _unary(kind) for name, kind in UNARY.items()})
HANDLERS.update({name: _binary(kind) for name, kind in BINARY.items()})
HANDLERS.update({name: _ternary(kind, names) for name, (kind, names) in TERNARY.items()})


@handles("gelu")
def gelu(call: Call) -> str:
    return call.emit("gelu_tanh" if call.get("approximate") == "tanh" else "gelu", call.x)


@handles("pow", "float_power")
def power(call: Call) -> str:
    exponent = call["exponent"]
    if isinstance(exponent, int | float) and exponent in POWERS:
        return call.emit(POWERS[exponent], call.x)
    return with_scalar(call, "pow", call["self"], exponent)


@handles("prelu", "_prelu_kernel")
def prelu(call: Call) -> str:
    slope, x = call["weight"], call.x
    spread = (call.builder.shape(slope)[0], *(1,) * (len(x.shape) - 2)) if len(slope.shape) == 1 else slope.shape
    return call.emit("prelu", x, call.reshape(slope, spread))


@handles("clamp", "clip", "clamp_min", "clamp_max")
def clamp(call: Call) -> str:
    x = str(call.x)
    bounds = [(kind, call.get(name)) for name, kind in (("min", "maximum"), ("max", "minimum"))]
    if not any(isinstance(bound, Ref) for _, bound in bounds):
        return call.emit("clip", x)
    for kind, bound in bounds:
        if bound is not None:
            x = with_scalar(call, kind, Ref(x), bound)
    return x


@handles("where")
def where(call: Call) -> str:
    return with_scalar(call, "where", call["condition"], call["self"], call["other"])


@handles("masked_fill")
def masked_fill(call: Call) -> str:
    return with_scalar(call, "where", call["mask"], call["self"], call["value"])


@handles("glu")
def glu(call: Call) -> str:
    rank = len(call.x.shape)
    if call["dim"] % rank == rank - 1:
        return call.emit("glu", call.x)
    parts = call.emit_all("split", call.x, suffix="halves", axis=call["dim"], sizes=(call.shape[call["dim"]],) * 2)
    return call.emit("glu", *parts)


@handles("cumulative_trapezoid", "heaviside", "nextafter", "ldexp")
def other_binary(call: Call) -> str:
    return call.emit("mul", *(value for value in call.args.values() if isinstance(value, Ref)))


@handles("tril", "triu")
def triangle(call: Call) -> str:
    return call.emit("trilu", call.x, upper=call.key == "triu", diagonal=call["diagonal"])


@handles("to", "_to_copy", "type_as", "float", "half", "bfloat16", "double", "int", "long", "bool",
         "_autocast_to_full_precision", "_autocast_to_reduced_precision", "prims.convert_element_type")  # fmt: skip
def cast(call: Call) -> str:
    x = call.x
    if x.value.dtype == call.results[0].dtype:  # a move between devices, or nothing at all
        return x
    return call.emit("cast", x, dtype=call.dtype)
