"""SAGAN's generator with a small discriminator, for tests that use only the generator.

Its name in a config is `model.name=support.half_sagan`. Training it takes half as long as SAGAN.
"""

from support import dense_pair

from sagan.models import Networks, sagan

Config, check = sagan.Config, sagan.check


def build(config: Config, axis_name=None, axis_index_groups=None, platform=None) -> Networks:
    networks = sagan.build(config, axis_name, axis_index_groups, platform)
    return networks._replace(discriminator=dense_pair.Discriminator(config))
