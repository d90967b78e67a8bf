"""Traces training steps without running them, and shares the traces of networks between steps."""

import functools

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from sagan.config import plugins
from sagan.parallel.devices import AXIS


def around_step(task, batches, keys=3):
    """Traces one step. Returns the shapes of the state before it, after it, and of its scalars."""
    state = jax.eval_shape(
        lambda key: task.init(list(jax.random.split(key, keys))), jax.random.key(0)
    )
    return state, *after_step(task, state, batches)


def after_step(task, state, batches):
    """Traces a step on one device. Returns the shapes of the state after it, and of its scalars."""
    auto = (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((1,), (AXIS,), axis_types=auto, devices=jax.devices()[:1])
    step = jax.shard_map(
        lambda state, batches, key: task.step(state, batches, jnp.int32(0), key),
        mesh=mesh,
        in_specs=P(),
        out_specs=P(),
        check_vma=False,
    )
    return jax.eval_shape(step, state, batches, jax.random.key(0))


def kinds(tree):
    """Returns the shape and the type of each leaf."""
    return jax.tree.map(lambda x: (x.shape, x.dtype), tree)


class TracedOnce:
    """Stands for a network in a training step, and traces it only the first time it is applied."""

    def __init__(self, network):
        self.init = network.init
        self._apply = jax.jit(network.apply, static_argnames=("train", "mutable"))

    def apply(self, variables, *inputs, train, mutable=()):
        """Applies the network, with the arguments that its own `apply` takes."""
        if mutable:
            return self._apply(variables, *inputs, train=train, mutable=tuple(mutable))
        return self._apply(variables, *inputs, train=train)


def traced_once(networks):
    """Returns the same networks, each of which is traced only the first time it is applied."""
    return networks._replace(
        generator=TracedOnce(networks.generator), discriminator=TracedOnce(networks.discriminator)
    )


@functools.cache
def networks_of(model):
    """Returns the networks of a model. Equal models get the same objects, which are traced once."""
    module = plugins.load("models", model.name, field="model.name")
    return traced_once(module.build(model, AXIS))
