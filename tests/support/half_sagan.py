"""SAGAN's generator against a small discriminator, for tests of what is done with generators.

It is used as `model.name=support.half_sagan`, and trained in half of the time.
"""

from support import dense_pair

from sagan.models import Networks, sagan

Config, check = sagan.Config, sagan.check


def build(config: Config, axis_name=None, axis_index_groups=None, platform=None) -> Networks:
    networks = sagan.build(config, axis_name, axis_index_groups, platform)
    return networks._replace(discriminator=dense_pair.Discriminator(config))
