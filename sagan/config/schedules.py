"""Values that change while a training runs.

A field that allows it takes a number, or the text `linear:START:END:IMAGES` or
`cosine:START:END:IMAGES`: the value moves from START to END while the discriminator sees IMAGES
real images, and stays there (`sagan.tasks.gan.optimizer.value` computes it). "cosine" is half a
period of a cosine, flat at both ends.
"""

from typing import Annotated, Literal, NamedTuple, get_args

from sagan.config.fields import ConfigError, Limits, fits

Kind = Literal["linear", "cosine"]


class Schedule(NamedTuple):
    """A value that moves from `start` to `end` over `images` real images, and then stays there."""

    kind: Kind
    start: float
    end: float
    images: float


def parse(value: int | float | str, field: str = "value") -> float | Schedule:
    """Reads a config value that is a number, or the text of a schedule (see above).

    Args:
      field: the config key of the value, such as `optim.beta2`; the error names it.

    Raises: ConfigError if a text is neither a number nor a schedule.
    """
    if not isinstance(value, str):
        return float(value)
    kind, *numbers = value.split(":")
    try:
        parsed = [float(number) for number in numbers]
    except ValueError:
        parsed = []
    if kind not in get_args(Kind) or len(parsed) != 3 or not all(fits(x, float) for x in parsed):
        raise ConfigError(
            f"{field}={value!r}; allowed: a number, linear:START:END:IMAGES, "
            "or cosine:START:END:IMAGES"
        )
    if parsed[2] < 1:
        raise ConfigError(f"{field}={value!r}; allowed: >= 1 image")
    return Schedule(kind, *parsed)  # type: ignore


class EndsWithin(NamedTuple):
    """Limits of a field that takes a number or a schedule: both ends must be within them."""

    limits: Limits

    def check(self, key: str, value: int | float | str) -> None:
        """Raises: ConfigError if `value`, or an end of the schedule it is, is outside."""
        found = parse(value, key)
        for end in found[1:3] if isinstance(found, Schedule) else (found,):
            self.limits.check(key, end)

    def text(self) -> str:
        return f"{self.limits.text()}; or a schedule"


NotNegativeSchedule = Annotated[float | str, EndsWithin(Limits(at_least=0))]
FractionSchedule = Annotated[float | str, EndsWithin(Limits(at_least=0, below=1))]
