"""How much arithmetic a compiled program does, and what chips can do at most."""

import math
from typing import Any

import jax

from sagan.bench.timing import times
from sagan.parallel import jaxprs

# Dense bfloat16 matrix products, FLOP/s of one device as JAX counts devices; makers' data sheets.
PEAK_FLOPS = {
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA A100-PCIE-40GB": 312e12,
    "NVIDIA A100 80GB PCIe": 312e12,
    "NVIDIA A10G": 70e12,
    "NVIDIA L4": 121e12,
    "NVIDIA L40S": 362e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H200": 989e12,
    "NVIDIA GH200 480GB": 989e12,
    "NVIDIA B200": 2250e12,
    "TPU v3": 61.5e12,  # a core; a chip has two
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5e": 197e12,
    "TPU v5": 459e12,
    "TPU v5p": 459e12,
    "TPU v6 lite": 918e12,
    "TPU v6e": 918e12,
}


def share_of_peak(flops_per_second: float, kind: str) -> float | str:
    """Share of the chip's bfloat16 peak, whatever the program's own type."""
    peak = PEAK_FLOPS.get(kind)
    return flops_per_second / peak if peak else f"unknown: no peak known for {kind}"


def measured_matmul(dtype: str) -> float:
    """Measures what this device makes of a large square matrix product, FLOP/s in `dtype`."""
    size, products = (2048, 2) if jax.default_backend() == "cpu" else (8192, 8)
    x, w = jax.random.normal(jax.random.key(0), (2, size, size))
    factors = x.astype(dtype), (w / math.sqrt(size)).astype(dtype)  # products keep their size

    @jax.jit
    def chain(x: jax.Array, w: jax.Array) -> jax.Array:  # the device is not left waiting for more
        return jax.lax.fori_loop(0, products, lambda _, x: x @ w, x)

    seconds = times(lambda: chain(*factors).block_until_ready(), 5, "matrix products")
    return products * 2.0 * size**3 / min(seconds)


def of_compiled(compiled: Any, jaxpr: Any) -> float | None:
    """XLA's count for one device, with what is in loops counted as often as it runs.

    XLA counts a loop's body once. Steps of a dispatch, updates of D and chunks of attention are
    loops on accelerators, so the count is raised by what `matmuls` finds with and without them.
    On GPUs it leaves out what libraries do, such as cuDNN's convolutions: it is at least `matmuls`.

    Args:
      jaxpr: of the function that was compiled.
    """
    cost = compiled.cost_analysis()
    cost = cost[0] if isinstance(cost, list) else cost
    if not cost or "flops" not in cost:
        return None
    asked, once = matmuls(jaxpr), matmuls(jaxpr, loops=False)
    found = float(cost["flops"]) * (asked / once if once else 1.0)
    return max(asked, found) if jax.default_backend() == "gpu" else found


def matmuls(jaxpr: Any, *, loops: bool = True) -> float:
    """Counts the FLOPs of matrix products and convolutions that a function asks for, per device.

    Args:
      loops: multiply by the lengths of scans; else each body counts once.
    """
    jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
    total = 0.0
    for equation in jaxpr.eqns:
        name, parts = equation.primitive.name, jaxprs.inner(equation)
        if name == "dot_general":
            total += _dot(equation)
        elif name == "conv_general_dilated":
            total += _convolution(equation)
        elif name.startswith("dot_product_attention"):
            total += _attention(equation)
        elif name == "cond":
            total += max(matmuls(branch, loops=loops) for branch in parts)
        else:
            times = equation.params["length"] if name == "scan" and loops else 1
            total += times * sum(matmuls(part, loops=loops) for part in parts)
    return total


def _dot(equation: Any) -> float:
    (contracting, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    return 2.0 * math.prod(equation.outvars[0].aval.shape) * math.prod(left[i] for i in contracting)


def _attention(equation: Any) -> float:
    """cuDNN's: two products forwards and five backwards.

    The gradient calls the forward pass again, which XLA merges with the first call: what is counted
    for it stands for two of the five.
    """
    (b, t, n, width), s = equation.invars[0].aval.shape, equation.invars[1].aval.shape[1]
    return (2 if "fwd" in equation.primitive.name else 3) * 2.0 * b * n * t * s * width


def _convolution(equation: Any) -> float:
    kernel = equation.invars[1].aval.shape
    outputs = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
    # Zeros between dilated pixels are not multiplied.
    holes = math.prod(equation.params["lhs_dilation"] or (1,))
    size = math.prod(equation.outvars[0].aval.shape)
    return 2.0 * size * math.prod(kernel) / outputs / holes


def bytes_of(compiled: Any) -> dict[str, int]:
    """Memory of one call on one device: its arguments, and what it needs beside them at most."""
    memory = compiled.memory_analysis()
    if memory is None:
        return {}
    temporary, arguments = memory.temp_size_in_bytes, memory.argument_size_in_bytes
    return {
        "peak_bytes_per_device": int(temporary + arguments),
        "temporary_bytes_per_device": int(temporary),
    }


def jaxpr_of(program: Any, *arguments: Any) -> Any:
    return jax.make_jaxpr(program)(*arguments)
