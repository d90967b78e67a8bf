"""`sagan prepare`: downloads a data set and writes it so that training can read it."""

import argparse

from sagan.config import Config, presets
from sagan.config.exit_codes import DONE
from sagan.config.fields import require


def register(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the verb; `args.run(args)` returns the exit code."""
    verb = verbs.add_parser(
        "prepare",
        help="download and prepare a data set of tensorflow-datasets",
        description="Download a data set of tensorflow-datasets and write it as array_record, "
        "which data.name=tfds/DATASET reads without TensorFlow. Preparing needs TensorFlow.",
    )
    verb.add_argument("dataset", metavar="DATASET", help="such as cifar10")
    verb.add_argument(
        "words", nargs="*", metavar="data.dir=DIR", help="default: ~/tensorflow_datasets"
    )
    verb.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    other = [word for word in args.words if not word.startswith("data.dir=")]
    require(not other, f"{' '.join(other)}; allowed: data.dir=DIR")
    where = presets.override(Config(), args.words).data.dir
    from sagan.data import preparing

    name = args.dataset.removeprefix("tfds/")
    folder = preparing.prepare(name, where)
    said = "".join(f" {word}" for word in args.words)
    print(f"prepared: {folder}\nuse it with: data.name=tfds/{name}{said}")
    return DONE
