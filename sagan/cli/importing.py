"""`sagan import`: a work directory from weights that another project trained."""

import argparse
import re
from pathlib import Path

from sagan.config.arguments import positive
from sagan.config.exit_codes import DONE

_KINDS = {
    "biggan_pytorch": "BigGAN-PyTorch: G.pth, G_ema.pth, D.pth, G_optim.pth, D_optim.pth",
    "studiogan": "StudioGAN: model=G-best-weights-step=N.pth, G_ema and D",
    "pretrained_biggan": "pytorch-pretrained-BigGAN: pytorch_model.bin",
}


def register(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the verb; `args.run(args)` returns the exit code."""
    verb = verbs.add_parser(
        "import",
        help="make a work directory from weights trained elsewhere",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Make a work directory from weights that another project trained. sample, "
        "eval,\nexport and train --init-from take it like any other.",
        epilog="kinds:\n" + "\n".join(f"  {name:18} {text}" for name, text in _KINDS.items()),
    )
    verb.add_argument("kind", metavar="KIND", help=", ".join(_KINDS))
    verb.add_argument(
        "words",
        nargs="+",
        metavar="FILE | section.field=value",
        help="files of weights (torch's, or safetensors), and what they leave open, such as "
        "model.batch_norm_epsilon=1e-5; with data.dir=DIR, classes are called as there",
    )
    verb.add_argument("--out", type=Path, required=True, metavar="WORKDIR", help="a new folder")
    verb.add_argument(
        "--statistics-batches",
        type=positive,
        metavar="N",
        help="compute batch statistics anew, over N batches (default: the source's own)",
    )
    verb.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    words = [word for word in args.words if _is_setting(word)]
    paths = [Path(word) for word in args.words if not _is_setting(word)]
    from sagan.tasks.gan import imports
    from sagan.tasks.gan.imports import filling
    from sagan.training import imported

    out = imported.require_new(args.out)
    found = imports.read(args.kind, paths, words)
    imported.write(found, out, statistics_batches=args.statistics_batches)
    print(filling.table(found.rows))
    print(f"{len(found.rows)} tensors are in {out}, at step {found.step}")
    return DONE


def _is_setting(word: str) -> bool:
    """Returns whether a word is `section.field=value`; names of files have = in them as well."""
    return re.match(r"(\w+\.\w+|name|seed)=", word) is not None
