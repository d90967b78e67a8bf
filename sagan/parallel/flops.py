"""Counts the arithmetic, the memory and the messages of a program."""

import math
from typing import Any

import jax

from sagan.parallel import jaxprs
from sagan.parallel.platform import Platform


def of_compiled(compiled: Any, jaxpr: Any, platform: Platform) -> float | None:
    """Returns the FLOPs of one call on one device, or None if XLA does not count them.

    Except on CPUs, XLA does not count the calls of libraries and of kernels written by hand, so
    there the result is at least `matmuls`.

    Args:
      jaxpr: of the function that was compiled.
      platform: that it was compiled for.
    """
    count = _counted_by_xla(compiled, jaxpr, "flops")
    if count is None or platform.backend == "cpu":
        return count
    return max(matmuls(jaxpr), count)


def traffic(compiled: Any, jaxpr: Any) -> float | None:
    """Returns the bytes that one call reads and writes on one device; None if XLA does not count.

    Args: as `of_compiled`.
    """
    return _counted_by_xla(compiled, jaxpr, "bytes accessed")


def _counted_by_xla(compiled: Any, jaxpr: Any, name: str) -> float | None:
    """Returns a count of XLA's, with loops.

    XLA counts the body of a loop once, however often it runs. Its count is therefore multiplied by
    the ratio of `matmuls` with and without the lengths of the loops.
    """
    cost = compiled.cost_analysis()
    cost = cost[0] if isinstance(cost, list) else cost
    if not cost or name not in cost:
        return None
    products, products_once = matmuls(jaxpr), matmuls(jaxpr, loops=False)
    return float(cost[name]) * (products / products_once if products_once else 1.0)


def matmuls(jaxpr: Any, *, loops: bool = True) -> float:
    """Counts the FLOPs of the matrix products and convolutions in a function, for one device.

    Args:
      loops: count the body of a scan as often as it runs, instead of once.
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
        elif name == "pallas_call":
            # A Pallas kernel runs its function once for each point of its grid.
            grid = equation.params["grid_mapping"].grid
            total += math.prod(grid) * sum(matmuls(part, loops=loops) for part in parts)
        else:
            times = equation.params["length"] if name == "scan" and loops else 1
            total += times * sum(matmuls(part, loops=loops) for part in parts)
    return total


def _dot(equation: Any) -> float:
    (contracting, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    return 2.0 * math.prod(equation.outvars[0].aval.shape) * math.prod(left[i] for i in contracting)


def _attention(equation: Any) -> float:
    """Returns the FLOPs of one call of cuDNN's attention.

    Its forward pass has two matrix products, and its backward pass five.
    """
    (b, t, n, width), s = equation.invars[0].aval.shape, equation.invars[1].aval.shape[1]
    return (2 if "fwd" in equation.primitive.name else 5) * 2.0 * b * n * t * s * width


def _convolution(equation: Any) -> float:
    kernel = equation.invars[1].aval.shape
    outputs = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
    # The zeros that dilation puts between pixels are not multiplied.
    dilation = math.prod(equation.params["lhs_dilation"] or (1,))
    size = math.prod(equation.outvars[0].aval.shape)
    return 2.0 * size * math.prod(kernel) / outputs / dilation


def messages(jaxpr: Any) -> list[int]:
    """Lists the bytes of the all-reduces in a function, for one device, one after another.

    Those that do not need each other's result count as one, since XLA combines them. Gathering from
    all devices counts as summing half as much, which takes the same time.
    """
    jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
    found: list[int] = []
    before: dict[Any, int] = {}  # the number of messages that a value has waited for
    for equation in jaxpr.eqns:
        name, parts = equation.primitive.name, jaxprs.inner(equation)
        size = sum(x.aval.size * x.aval.dtype.itemsize for x in equation.outvars)
        if name.startswith(("psum", "pmax", "pmin")):
            here = [size]
        elif name.startswith("all_gather"):
            here = [size // 2]
        elif name == "cond":
            here = max((messages(branch) for branch in parts), key=sum)
        else:
            times = equation.params["length"] if name == "scan" else 1
            here = times * [size for part in parts for size in messages(part)]
        waited = max(
            (before.get(x, 0) for x in equation.invars if not hasattr(x, "val")), default=0
        )
        found += [0] * (waited + len(here) - len(found))
        for place, size in enumerate(here, waited):
            found[place] += size
        before |= dict.fromkeys(equation.outvars, waited + len(here))
    return found


def bytes_of(compiled: Any) -> dict[str, int]:
    """Returns the memory of one call on one device: with its arguments, and without them.

    Empty if XLA does not report it.
    """
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
