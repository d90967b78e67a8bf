"""Measures memory and time of each form of attention on feature maps of several sizes."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from sagan.bench import report
from sagan.bench.timing import rate, say, spread, times
from sagan.models.layers import attend
from sagan.models.layers.attention import SelfAttention
from sagan.models.layers.flash_attention import kernel_for
from sagan.parallel import flops, platform

SIZES = (16, 32, 64, 128)
CHANNELS = 64
BLOCK = 16


def measure(*, batch_size: int, dtype: str, repeats: int) -> dict[str, Any]:
    """Times value and gradient of one layer (the released variant) at every size, in every form.

    Returns: `rows`. `temporary_bytes` is what the compiled program needs beside its arguments.
      `difference_from_full` is the relative difference (2-norm) of the gradients from those of
      `full`; only the forms that compute the same function have it.
    """
    rows = []
    for size in SIZES:
        full = None
        for form in _forms(size, dtype):
            say(f"attention {form} at {size} px")
            row, gradients = _one(form, size, batch_size, dtype, repeats)
            full = gradients if form == "full" else full
            if form in attend.EXACT:
                row["difference_from_full"] = _difference(gradients, full)
            rows.append({"form": form, "size": size} | row)
    return {
        "devices": f"1 x {jax.devices()[0].device_kind}",
        "batch_size": batch_size,
        "channels": CHANNELS,
        "block": BLOCK,
        "dtype": dtype,
        "rows": rows,
    }


def _forms(size: int, dtype: str) -> list[str]:
    """Lists the forms that have an implementation of their own on these devices."""
    query, key = (jax.ShapeDtypeStruct((1, n, n, CHANNELS // 2), dtype) for n in (size, size // 2))
    kernel = kernel_for(query, key, key, platform.current())
    return [form for form in attend.FORMS if form != "flash" or kernel]


def _difference(one: Any, other: Any) -> float:
    flat, expected = (np.asarray(ravel_pytree(x)[0], np.float64) for x in (one, other))
    return float(np.linalg.norm(flat - expected) / np.linalg.norm(expected))


def _one(
    form: str, size: int, batch_size: int, dtype: str, repeats: int
) -> tuple[dict[str, Any], Any]:
    layer = SelfAttention("released", form, BLOCK, dtype=jnp.dtype(dtype))
    x = jax.random.normal(jax.random.key(0), (batch_size, size, size, CHANNELS), dtype)
    params = jax.jit(layer.init)(jax.random.key(1), x[:, :4, :4])["params"]

    def loss(params: Any, x: jax.Array) -> jax.Array:
        return (layer.apply({"params": params}, x).astype(jnp.float32) ** 2).mean()  # type: ignore

    # gamma is 0 at first. If the compiler knew that, it could leave out half of the gradient.
    params = params | {"gamma": jnp.float32(0.5)}
    compiled = jax.jit(jax.grad(loss, (0, 1))).lower(params, x).compile()
    found = flops.bytes_of(compiled)
    seconds = times(lambda: jax.block_until_ready(compiled(params, x)), repeats, form)
    return {
        "temporary_bytes": found.get("temporary_bytes_per_device"),
        **{k: v for k, v in spread(seconds).items() if "least" not in k and "greatest" not in k},
        "images_per_second": rate(batch_size, seconds)["images_per_second"],
    }, compiled(params, x)


def draw(result: dict[str, Any], path: Path) -> None:
    """Plots, for each form of attention, memory (MiB) and time (ms) against the map's side (px).

    Args:
      result: what `measure` returned.
      path: where the picture is written, `.png` or `.svg`.
    """
    panels: dict[str, Any] = {"temporary memory, MiB": {}, "time, ms": {}}
    for form in dict.fromkeys(row["form"] for row in result["rows"]):
        rows = [row for row in result["rows"] if row["form"] == form]
        sizes = [row["size"] for row in rows]
        if all(row["temporary_bytes"] for row in rows):
            memory = [row["temporary_bytes"] / 2**20 for row in rows]
            panels["temporary memory, MiB"][form] = (sizes, memory)
        panels["time, ms"][form] = (sizes, [1e3 * row["seconds_median"] for row in rows])
    about = (
        f"one attention layer, forwards and backwards: batch {result['batch_size']}, "
        f"{result['channels']} channels, {result['dtype']}, {result['devices']}"
    )
    report.curves(path, panels, "side of the feature map, px", title=about)
