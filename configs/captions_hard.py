"""Captions of scenes of handwritten digits, with hard attention, on two CPU cores.

Run: sagan train captions_hard
Hardware: two CPU cores; nothing to download (the digits come with scikit-learn).
Expect: as `captions`, but each word looks at one place alone; scores at the end.
"""

from sagan.config import Config, preset, replace


def get_config() -> Config:
    return replace(
        preset("captions"),
        name="captions_hard",
        model=dict(attention="hard"),
        optim=dict(learning_rate="cosine:2e-3:0:160000"),
        train=dict(steps=2500, reinforce_weight=1.0),
        sample=dict(every_steps=500),
        checkpoint=dict(every_steps=500),
    )
