"""Devices: the only place that decides how one program runs on many of them.

The training program is written for one device, with a named axis `data` and explicit collectives.
`Devices.compile` maps it over all devices of all processes, as `jit(shard_map)` (the default) or
as `pmap`. Both compile the same per-device program, so they give the same bits. In both, the state
is one replicated array, which restores on any number of devices and processes.
"""

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from sagan.config import ConfigError

AXIS = "data"


class Devices:
    """Devices in a row, along the axis `data`.

    Attributes:
      form: `shard_map` or `pmap`.
      count: number of devices; `local_count` of them belong to this process.
      first: position along the axis of this process's first device.

    Args:
      devices: some devices in one process; by default, all devices of all processes.
    """

    def __init__(self, form: str = "shard_map", devices: Sequence[Any] | None = None):
        # Ordered by process, so that the devices of one process are neighbours along the axis.
        devices = sorted(devices or jax.devices(), key=lambda d: (d.process_index, d.id))
        self.form = form
        self.count = len(devices)
        processes = [d.process_index for d in devices]
        self.local_count = processes.count(jax.process_index())
        self.first = processes.index(jax.process_index())
        self._local = devices[self.first : self.first + self.local_count]
        self._mesh, self._local_mesh = _mesh(devices), _mesh(self._local)
        self._replicated = NamedSharding(self._mesh, PartitionSpec())

    def create(self, make: Callable[[], Any]) -> Any:
        """Computes the pytree `make()` in every process, as replicated global arrays."""
        return self.create_in_background(make).result()

    def create_in_background(self, make: Callable[[], Any]) -> Future[Any]:
        """Traces `make`, then compiles and runs it in a thread; returns the future of `create`."""
        options = _options_to_run_once(self._local[0].platform)
        lowered = jax.jit(make, out_shardings=self._replicated, compiler_options=options).lower()
        return _in_thread(lambda: lowered.compile()())

    def abstract(self, make: Callable[[], Any]) -> Any:
        """Returns the shapes, dtypes and shardings of what `create` would return."""
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self._replicated),
            jax.eval_shape(make),
        )

    @property
    def replicated(self) -> Any:
        """The sharding of an array that every device has a copy of."""
        return self._replicated

    def replicate(self, tree: Any) -> Any:
        """Puts host arrays, which are equal in all processes, on every device."""

        def put(x: Any) -> jax.Array:
            x = np.asarray(x)
            return jax.make_array_from_process_local_data(self._replicated, x, x.shape)

        return jax.tree.map(put, tree)

    def to_global(self, tree: Any) -> Any:
        """Returns the state that a mapped program returned as replicated global arrays."""
        if self.form == "shard_map" or jax.process_count() == 1:
            return tree
        return self.replicate(self.fetch(tree))  # pmap returns arrays of this process alone

    def local(self, tree: Any) -> Any:
        """Returns the copy of replicated arrays on this process's first device."""
        return jax.tree.map(lambda x: x.addressable_data(0), tree)

    def fetch(self, tree: Any) -> Any:
        """Copies replicated arrays to the host, as numpy arrays."""
        return jax.device_get(self.local(tree))

    def shard(self, batch: Any, axis: int) -> Any:
        """Returns global arrays, of which each device holds its part of the batch.

        Args:
          batch: host arrays with this process's part of the global batch.
          axis: the batch axis; axes before it, such as steps, are not split.
        """

        def put(x: np.ndarray) -> jax.Array:
            to = self.abstract_shard(x, axis)
            if self.form == "shard_map":
                return jax.make_array_from_process_local_data(to.sharding, x, to.shape)
            return jax.device_put(x.reshape(to.shape), to.sharding)

        # JAX counts the transfer that assembles a global array of many processes as implicit.
        with jax.transfer_guard("allow"):
            return jax.tree.map(put, batch)

    def abstract_shard(self, part: Any, axis: int) -> Any:
        """Returns the shape, dtype and sharding of what `shard` makes of one array.

        Args:
          part: anything with the shape and dtype of this process's part.
        """
        before, size, after = part.shape[:axis], part.shape[axis], part.shape[axis + 1 :]
        if self.form == "shard_map":
            mesh, sizes = self._mesh, (size // self.local_count * self.count,)
        else:
            mesh, sizes = self._local_mesh, (self.local_count, size // self.local_count)
        sharding = NamedSharding(mesh, PartitionSpec(*[None] * axis, AXIS))
        return jax.ShapeDtypeStruct((*before, *sizes, *after), part.dtype, sharding=sharding)

    def describe_memory(self) -> dict[str, int] | None:
        """Returns the memory statistics of this process's first device; None if it has none."""
        return self._local[0].memory_stats()

    def compile(self, program: Callable[..., Any], batch_axis: int) -> Callable[..., Any]:
        """Maps `program(state, data, batch) -> (state, scalars)` over all devices.

        Args:
          program: written for one device, with the axis name `AXIS`; its results must be equal on
            all devices. `state` is donated, `data` is replicated, and `batch` is split.
          batch_axis: the axis of `batch` that `shard` was called with.
        """
        if self.form == "pmap":
            return jax.pmap(
                program,
                axis_name=AXIS,
                # The state is passed whole to every device. Stacked along a device axis, it would
                # be fused differently, and the last bits would differ from shard_map's.
                in_axes=(None, None, batch_axis),
                out_axes=(None, None),  # type: ignore[arg-type]
                donate_argnums=(0,),
                devices=self._local if jax.process_count() == 1 else None,
            )
        split = PartitionSpec(*[None] * batch_axis, AXIS)
        mapped = jax.shard_map(
            program,
            mesh=self._mesh,
            in_specs=(PartitionSpec(), PartitionSpec(), split),
            out_specs=(PartitionSpec(), PartitionSpec()),
            check_vma=False,  # gradients of the local loss, averaged by an explicit pmean
        )
        return jax.jit(mapped, donate_argnums=(0,))

    def compile_rows(self, function: Callable[..., Any], num_whole: int) -> Callable[..., Any]:
        """Maps a function whose results have one row for each row of its last argument.

        Args:
          function: `function(*whole, rows) -> rows`, with `num_whole` replicated arguments.
        """
        mapped = jax.shard_map(
            function,
            mesh=self._mesh,
            in_specs=(*[PartitionSpec()] * num_whole, PartitionSpec(AXIS)),
            out_specs=PartitionSpec(AXIS),
            check_vma=False,
        )
        return jax.jit(mapped)

    @property
    def compiles_in_background(self) -> bool:
        """Whether shapes suffice to compile; pmap over several processes needs the arrays."""
        return self.form == "shard_map" or jax.process_count() == 1


def compile_in_background(compiled: Any, *arguments: Any) -> Future[Any]:
    """Traces what `Devices.compile` returned, and compiles it in a thread for later calls.

    Args:
      arguments: of the later calls, or their shapes with shardings.

    Returns: a future that is done when the program is compiled.
    """
    return _in_thread(compiled.lower(*arguments).compile)


def check_split(
    num_devices: int, *, batch_size: int, accumulate_steps: int, batch_norm_group: int | None
) -> None:
    """Raises: ConfigError if the batch, or batch norm's groups, do not divide over the devices."""
    if batch_size % (num_devices * accumulate_steps):
        raise ConfigError(
            f"train.batch_size={batch_size} is not divisible by {num_devices} "
            f"devices x train.accumulate_steps={accumulate_steps}"
        )
    group = batch_norm_group
    if group is not None and (group < 1 or num_devices % group):
        raise ConfigError(
            f"model.batch_norm_group={group} does not divide the {num_devices} devices"
        )


def first_index(per_device: int) -> jax.Array:
    """Returns, inside a mapped program, the global index of this device's first batch element."""
    return jax.lax.axis_index(AXIS) * per_device


mean_over_devices = functools.partial(jax.lax.pmean, axis_name=AXIS)


def _mesh(devices: Sequence[Any]) -> Mesh:
    return Mesh(np.array(devices), (AXIS,), axis_types=(AxisType.Auto,))


def _in_thread(work: Callable[[], Any]) -> Future[Any]:
    """Runs `work` in a thread. It should mostly wait for XLA: Python runs one thread at a time."""
    threads = ThreadPoolExecutor(1, "compile")
    future = threads.submit(work)
    threads.shutdown(wait=False)
    return future


def _options_to_run_once(backend: str) -> dict[str, bool | int]:
    """Returns options with which XLA:CPU compiles quickly, for a program that runs once."""
    if backend != "cpu":
        return {}
    return {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
