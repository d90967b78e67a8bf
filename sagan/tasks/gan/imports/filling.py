"""Arrays of another project's network, put where the parameters of ours are.

A project's file says which of its layers is which of ours; what is common to all is here: layouts
of arrays, spectral norm as the source's evaluation computes it, and what was not used or filled.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sagan.files import tables
from sagan.models.layers.spectral import NORMALIZED
from sagan.tasks.gan.imports import power

Arrays = dict[str, np.ndarray]
Params = dict[str, jax.Array]  # by path; kept by jax, so that saving does not copy them
Shapes = Mapping[str, tuple[int, ...]]
Change = Callable[[np.ndarray], np.ndarray]


class Move(NamedTuple):
    """Where a parameter of the source is now, and how it was arranged."""

    path: str
    arranged: Change
    shape: tuple[int, ...]  # before


class Network(NamedTuple):
    """The parameters of a network of ours, by path.

    Attributes:
      params: as trained, not divided by anything.
      sigmas: by path of the spectrally normalised parameters, the source's own.
      u: of the same, the vectors that the next power iteration starts from.
      statistics: batch norm's means and variances, (C,) or (sets, C).
      moves: by key, of each array of the source that is a parameter; None if it is not the same
        parameter any more.
    """

    params: Params
    sigmas: dict[str, float]
    u: Arrays
    statistics: Params
    moves: dict[str, Move | None]

    def normalized(self) -> Params:
        """Returns the parameters, divided by their sigmas where they have one."""
        return {
            path: x / np.float32(self.sigmas[path]) if path in self.sigmas else x
            for path, x in self.params.items()
        }


class Filling:
    """Takes arrays out of a source and puts them into a network of ours.

    Args:
      name: of the network in tables and errors.
      arrays: of the source, by key. They are taken out of this dict, so that large networks are
        not held twice.
      params, statistics: the shapes that our network needs.
      iterates: the source's evaluation takes a power iteration before it uses its sigma; else it
        uses the stored pair u, v.
    """

    def __init__(
        self,
        name: str,
        arrays: Arrays,
        params: Shapes,
        statistics: Shapes,
        *,
        iterates: bool = True,
    ):
        self.network = Network({}, {}, {}, {}, {})
        self.rows: list[tuple[str, str, str]] = []
        self._name, self._left, self._iterates = name, arrays, iterates
        self._needed = {"params": params, "statistics": statistics}
        self._wrong: list[str] = []

    def has(self, key: str) -> bool:
        """Returns whether the source has an array that was not used yet."""
        return key in self._left

    def needs(self, ours: str) -> bool:
        """Returns whether our network has a parameter."""
        return ours in self._needed["params"]

    def drop(self, *endings: str) -> None:
        """Drops arrays of the source that are not needed, by the ends of their keys."""
        for key in [key for key in self._left if key.endswith(endings)]:
            self.rows.append((f"{self._name} {key}", "not needed", _shape(self._left.pop(key))))

    def layer(
        self, theirs: str, ours: str, rows: Change | None = None, columns: Change | None = None
    ) -> None:
        """Takes a convolution (out, in, H, W) or a linear layer (out, in), and its bias.

        Args:
          rows: arranges outputs: the first axis of weight, bias and u.
          columns: arranges inputs of a linear layer: the last axis of the turned weight's rows.
        """
        rows, turn = rows or _same, columns or _same

        def arranged(weight: np.ndarray) -> np.ndarray:
            weight = rows(weight)
            return weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else turn(weight.T)

        kernel = f"{ours}/kernel"
        self._weight(theirs, kernel, arranged, lambda matrix, u: rows(u))
        if self.needs(f"{ours}/bias"):
            self.plain(f"{theirs}.bias", f"{ours}/bias", rows)

    def embedding(self, theirs: str, ours: str) -> None:
        """Takes an embedding (K, C), of which sources normalise (K, C), and we (C, K)."""
        self._weight(theirs, ours, _same, power.turned_u)

    def table(self, theirs: str, ours: str, *, turned: bool, plus: int) -> None:
        """Takes a norm's class table (K, C), or turned (C, K), and adds a number to it."""

        def arranged(weight: np.ndarray) -> np.ndarray:
            return (weight.T if turned else weight) + np.float32(plus)

        found = self._take_weight(theirs)
        if found is not None:
            key, weight, sigma, _ = found
            move = Move(ours, (lambda w: w.T) if turned else _same, weight.shape)
            moved = move if sigma == 1 else None
            self._put(key, ours, arranged(weight / np.float32(sigma)), moved=moved)

    def plain(self, theirs: str, ours: str, change: Change | None = None) -> None:
        """Takes an array as it is, or changed."""
        if theirs in self._left:
            change, array = change or _same, self._left.pop(theirs)
            self._put(theirs, ours, change(array), moved=Move(ours, change, array.shape))

    def gate(self, theirs: str, ours: str) -> None:
        """Takes a number, stored as () or (1,)."""
        self.plain(theirs, ours, lambda x: x.reshape(()))

    def statistics(self, mean: str, var: str, ours: str, divisor: str = "") -> None:
        """Takes batch norm's statistics; sums if the number at `divisor` is not 0."""
        count = 1.0
        if mean in self._left and divisor in self._left:
            count = max(float(self._left.pop(divisor).reshape(-1)[0]), 0) or 1.0
        for key, part in ((mean, "mean"), (var, "var")):
            if key in self._left:
                path = f"{ours}/statistics/{part}"
                self._put(key, path, self._left.pop(key) / np.float32(count), kind="statistics")

    def problems(self) -> list[str]:
        """Lists keys that were not used, parameters that were not filled, and wrong shapes."""
        empty = [
            path
            for kind, found in (
                ("params", self.network.params),
                ("statistics", self.network.statistics),
            )
            for path in sorted(self._needed[kind].keys() - found.keys())
        ]
        plain = []
        if self.network.u:
            kernels = [path for path in self.network.params if path.split("/")[-1] in NORMALIZED]
            plain = sorted(set(kernels) - self.network.u.keys())
        found = (
            ("wrong shapes", self._wrong),
            ("parameters without spectral norm, which others have", plain),
            ("keys that were not used", sorted(self._left)),
            ("parameters that were not filled", empty),
        )
        return [f"{self._name}, {what}: {', '.join(names)}" for what, names in found if names]

    def _weight(
        self, theirs: str, ours: str, arranged: Change, next_u: Callable[..., np.ndarray]
    ) -> None:
        found = self._take_weight(theirs)
        if found is None:
            return
        key, weight, sigma, u = found
        if not self._put(key, ours, arranged(weight), moved=Move(ours, arranged, weight.shape)):
            return
        if u is not None:
            self.network.sigmas[ours] = sigma
            matrix = weight.reshape(len(weight), -1)
            self.network.u[ours] = np.ascontiguousarray(next_u(matrix, u), np.float32)

    def _take_weight(self, theirs: str) -> tuple[str, np.ndarray, float, np.ndarray | None] | None:
        """Returns (key, weight, sigma, u); sigma is 1 and u None without spectral norm."""
        key = next(
            (k for k in (f"{theirs}.weight", f"{theirs}.weight_orig") if k in self._left), None
        )
        if key is None:
            return None
        weight = np.asarray(self._left.pop(key), np.float32)
        u, v = None, self._left.pop(f"{theirs}.weight_v", None)
        for name in ("u0", "weight_u"):
            if f"{theirs}.{name}" in self._left:
                u = np.asarray(self._left.pop(f"{theirs}.{name}"), np.float32).reshape(-1)
        self._left.pop(f"{theirs}.sv0", None)  # a log value of the last training step
        if u is None:
            return key, weight, 1.0, None
        matrix = weight.reshape(len(weight), -1)
        for name, vector, size in zip("uv", (u, v), matrix.shape, strict=True):
            if vector is not None and vector.shape != (size,):
                self._wrong.append(f"{theirs}'s {name} is {vector.shape}, needed {(size,)}")
                return key, weight, 1.0, None
        if self._iterates or v is None:
            return key, weight, power.sigma_of(matrix, u), u
        return key, weight, float(u @ (matrix @ v)), u

    def _put(
        self,
        key: str,
        ours: str,
        array: np.ndarray,
        *,
        moved: Move | None = None,
        kind: str = "params",
    ) -> bool:
        needed = self._needed[kind].get(ours)
        if needed != array.shape:
            what = "nothing of this name" if needed is None else f"needed {needed}"
            self._wrong.append(f"{key} is {array.shape} as {ours}, {what}")
            return False
        kept = jnp.asarray(np.ascontiguousarray(array, np.float32).reshape(array.shape))
        if kind == "statistics":
            self.network.statistics[ours] = kept
        else:
            self.network.params[ours] = kept
            self.network.moves[key] = moved
        self.rows.append((f"{self._name} {key}", ours, _shape(array)))
        return True


def table(rows: list[tuple[str, str, str]]) -> str:
    """Returns the table of what became of each array."""
    return tables.table(rows, ("tensor of the source", "here", "shape"))


def first_map(side: int) -> Change:
    """Returns what turns the outputs of a first layer from the order c, h, w into h, w, c."""

    def change(x: np.ndarray) -> np.ndarray:
        rest = x.shape[1:]
        maps = x.reshape(len(x) // side**2, side, side, *rest)
        return np.moveaxis(maps, 0, 2).reshape(len(x), *rest)

    return change


def _same(x: np.ndarray) -> np.ndarray:
    return x


def _shape(x: np.ndarray) -> str:
    return " x ".join(map(str, x.shape)) or "number"
