"""Three ways to resize images to what the network reads. Scores differ between them.

`tf`: bilinear as in TensorFlow 1 (`ResizeBilinear`, align_corners=False), which aligns corners of
  pixels and does not antialias. Used by the original FID and Inception Score, and torch-fidelity.
`torch`: bilinear with centres of pixels aligned, without antialiasing. Used by pytorch-fid.
`clean`: Pillow's bicubic on float channels, with antialiasing, clipped to [0, 255]. Used by
  clean-fid.
"""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, UInt8

RESIZERS = ("tf", "torch", "clean")


def bilinear_matrix(length: int, out: int, resizer: str) -> Float[np.ndarray, "{out} {length}"]:
    """Returns the matrix that resamples `length` points to `out`: two weights a row, of sum 1.

    Positions are computed in float32, as both libraries do.

    Source: TensorFlow's `image_resizer_state.h` (legacy scaler); PyTorch's `interpolate`.
    """
    scale = np.float32(length / out)
    at = np.arange(out, dtype=np.float32)
    if resizer == "tf":
        position = at * scale
    else:
        position = np.maximum((at + np.float32(0.5)) * scale - np.float32(0.5), 0)
    low = np.minimum(position.astype(np.int64), length - 1)
    high = np.minimum(low + 1, length - 1)
    fraction = position - low.astype(np.float32)
    matrix = np.zeros((out, length), np.float32)
    rows = np.arange(out)
    matrix[rows, low] += 1 - fraction
    matrix[rows, high] += fraction
    return matrix


def bilinear(
    images: UInt8[Array, "B H W C"], size: int, resizer: str
) -> Float[Array, "B {size} {size} C"]:
    """Resizes with the coordinates of `tf` or `torch`; values stay in [0, 255]."""
    x = images.astype(jnp.float32)
    _, height, width, _ = x.shape
    if width != size:
        across = bilinear_matrix(width, size, resizer)
        x = jnp.einsum("pw,bhwc->bhpc", across, x, precision=lax.Precision.HIGHEST)
    if height != size:
        down = bilinear_matrix(height, size, resizer)
        x = jnp.einsum("oh,bhpc->bopc", down, x, precision=lax.Precision.HIGHEST)
    return x


def clean(
    images: UInt8[np.ndarray, "B H W C"], size: int
) -> Float[np.ndarray, "B {size} {size} C"]:
    """Resizes on the host with Pillow, one channel at a time; values stay in [0, 255].

    Source: Parmar, Zhang and Zhu, On Aliased Resizing (arXiv:2104.11222).
    """
    from PIL import Image

    batch, _, _, channels = images.shape
    out = np.empty((batch, size, size, channels), np.float32)
    for i in range(batch):
        for c in range(channels):
            channel = Image.fromarray(images[i, :, :, c].astype(np.float32))
            resized = channel.resize((size, size), Image.Resampling.BICUBIC)
            out[i, :, :, c] = np.clip(np.asarray(resized), 0, 255)
    return out


def normalise(x: Float[Array, "B H W C"], resizer: str) -> Float[Array, "B H W C"]:
    """Scales [0, 255] to about [-1, 1], as the library of each resizer does.

    `tf` and `clean`: (x - 128) / 128, as in the graph. `torch`: 2 x / 255 - 1.
    """
    return x / 127.5 - 1.0 if resizer == "torch" else (x - 128.0) / 128.0
