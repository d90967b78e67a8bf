"""Devices and processes: the only place that says how one program runs on many of them.

The program is written for one device, with a named axis `data` and explicit collectives.
`Devices.compile` maps it over all devices of all processes, as `jit(shard_map)` (the default) or
as `pmap`. Both compile the same per-device program, so they give the same bits, and in both the
state is one replicated array, which restores on any topology.
"""

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from sagan.config import Config, ConfigError

AXIS = "data"


class Devices:
    """All devices of all processes, as one axis.

    Attributes:
      form: `shard_map` or `pmap`.
      count: devices in all; `local_count` of them belong to this process.
      first: position along the axis of this process's first device.

    Args:
      devices: some of them instead of all, in one process.
    """

    def __init__(self, form: str = "shard_map", devices: Sequence[Any] | None = None):
        # Ordered by process, so that a process's devices are neighbours along the axis.
        devices = sorted(devices or jax.devices(), key=lambda d: (d.process_index, d.id))
        self.form = form
        self.count = len(devices)
        processes = [d.process_index for d in devices]
        self.local_count = processes.count(jax.process_index())
        self.first = processes.index(jax.process_index())
        self._mesh = jax.sharding.Mesh(np.array(devices), (AXIS,), axis_types=(AxisType.Auto,))
        self._replicated = NamedSharding(self._mesh, PartitionSpec())
        self._local = devices[self.first : self.first + self.local_count]
        self._local_mesh = jax.sharding.Mesh(
            np.array(self._local), (AXIS,), axis_types=(AxisType.Auto,)
        )

    def create(self, make: Callable[[], Any]) -> Any:
        """Computes a pytree once per process, identically, as one replicated global array each."""
        return self.create_ahead(make).result()

    def create_ahead(self, make: Callable[[], Any]) -> Future[Any]:
        """Begins what `create` does: it is compiled and run in a thread."""
        options = _options_to_run_once(self._local[0].platform)
        lowered = jax.jit(make, out_shardings=self._replicated, compiler_options=options).lower()
        return _in_thread(lambda: lowered.compile()())

    def abstract(self, make: Callable[[], Any]) -> Any:
        """Gives the shapes, dtypes and shardings of what `create` would make."""
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self._replicated),
            jax.eval_shape(make),
        )

    def replicate(self, tree: Any) -> Any:
        """Puts host arrays, the same in every process, on every device."""

        def put(x: Any) -> jax.Array:
            x = np.asarray(x)
            return jax.make_array_from_process_local_data(self._replicated, x, x.shape)

        return jax.tree.map(put, tree)

    def leave(self, tree: Any) -> Any:
        """Takes a carried tree back to replicated global arrays."""
        if self.form == "shard_map" or jax.process_count() == 1:
            return tree
        return self.replicate(self.fetch(tree))  # pmap gives each process arrays of its own

    def local(self, tree: Any) -> Any:
        """Gives a carried tree as arrays on this process's first device alone."""
        return jax.tree.map(lambda x: x.addressable_data(0), tree)

    def fetch(self, tree: Any) -> Any:
        """Copies a carried tree to the host: numpy arrays."""
        return jax.device_get(self.local(tree))

    def shard(self, batch: Any, axis: int) -> Any:
        """Spreads this process's part of a global batch over its devices.

        Args:
          batch: host arrays whose `axis` is this process's share of the global batch.
          axis: position of the batch axis; in front of it are steps and discriminator updates.
        """

        def put(x: np.ndarray) -> jax.Array:
            to = self.abstract_shard(x, axis)
            if self.form == "shard_map":
                return jax.make_array_from_process_local_data(to.sharding, x, to.shape)
            return jax.device_put(x.reshape(to.shape), to.sharding)

        # A global array of many processes is assembled by a transfer JAX counts as implicit.
        with jax.transfer_guard("allow"):
            return jax.tree.map(put, batch)

    def abstract_shard(self, part: Any, axis: int) -> Any:
        """Gives shape, dtype and sharding of the array that `shard` makes of one.

        Args:
          part: shape and dtype of this process's part.
        """
        before, size, after = part.shape[:axis], part.shape[axis], part.shape[axis + 1 :]
        if self.form == "shard_map":
            mesh, sizes = self._mesh, (size // self.local_count * self.count,)
        else:
            mesh, sizes = self._local_mesh, (self.local_count, size // self.local_count)
        spec = NamedSharding(mesh, PartitionSpec(*[None] * axis, AXIS))
        return jax.ShapeDtypeStruct((*before, *sizes, *after), part.dtype, sharding=spec)

    def describe_memory(self) -> dict[str, int] | None:
        """Gives the first device's memory statistics, where it keeps any."""
        return self._local[0].memory_stats()

    def compile(self, program: Callable[..., Any], batch_axis: int) -> Callable[..., Any]:
        """Maps `program(state, data, batch) -> (state, scalars)` over all devices.

        Args:
          program: for one device, under the axis name `AXIS`; it must make its outputs the same
            on all of them. `state` is donated; `data` is replicated; `batch` is split.
          batch_axis: the axis of `batch` that `shard` was called with.
        """
        if self.form == "pmap":
            return jax.pmap(
                program,
                axis_name=AXIS,
                # The state whole on every device, not stacked: stripping a device axis would be
                # fused differently, and the last bits would differ.
                in_axes=(None, None, batch_axis),
                out_axes=(None, None),  # type: ignore[arg-type]
                donate_argnums=(0,),
                devices=self._local if jax.process_count() == 1 else None,
            )
        whole, split = PartitionSpec(), PartitionSpec(*[None] * batch_axis, AXIS)
        mapped = jax.shard_map(
            program,
            mesh=self._mesh,
            in_specs=(whole, whole, split),
            out_specs=(whole, whole),
            check_vma=False,  # gradients of the local loss, averaged by an explicit pmean
        )
        return jax.jit(mapped, donate_argnums=(0,))

    @property
    def compiles_ahead(self) -> bool:
        """Whether `compile_ahead` can: over processes, pmap wants the arrays themselves."""
        return self.form == "shard_map" or jax.process_count() == 1


def compile_ahead(compiled: Any, *arguments: Any) -> Future[Any]:
    """Traces what `Devices.compile` gave, and compiles it in a thread: a later call finds it.

    Args:
      arguments: what the call will take, or shapes with shardings.

    Returns: a future that is done when the program is.
    """
    return _in_thread(compiled.lower(*arguments).compile)


def _in_thread(work: Callable[[], Any]) -> Future[Any]:
    """Starts what waits for XLA alone: two threads of Python would slow each other down."""
    threads = ThreadPoolExecutor(1, "compile")
    future = threads.submit(work)
    threads.shutdown(wait=False)
    return future


def _options_to_run_once(backend: str) -> dict[str, bool | int]:
    """Returns compiler options for a program that runs once: on a CPU, compiling is most of it."""
    if backend != "cpu":
        return {}
    return {"xla_backend_optimization_level": 1, "xla_llvm_disable_expensive_passes": True}


def check_split(config: Config, devices: Devices) -> None:
    """Raises: ConfigError if the batch, or batch norm's groups, do not divide over the devices."""
    parts = devices.count * config.train.accumulate_steps
    if config.train.batch_size % parts:
        raise ConfigError(
            f"train.batch_size={config.train.batch_size} is not divisible by {devices.count} "
            f"devices x train.accumulate_steps={config.train.accumulate_steps}"
        )
    group = config.model.batch_norm_group
    if group is not None and (group < 1 or devices.count % group):
        raise ConfigError(
            f"model.batch_norm_group={group} does not divide the {devices.count} devices"
        )


def first_index(per_device: int) -> jax.Array:
    """Gives, inside a mapped program, the global index of this device's first batch element."""
    return jax.lax.axis_index(AXIS) * per_device


mean_over_devices = functools.partial(jax.lax.pmean, axis_name=AXIS)
