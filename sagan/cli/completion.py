"""`sagan completion`: prints a script with which the shell completes words of `sagan`."""

import argparse
from pathlib import Path
from typing import Any

from sagan.config.exit_codes import DONE

_CONFIG = "_sagan_config"  # the shell's function that completes [CONFIG] section.field=value


def register(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the verb; `args.run(args)` returns the exit code."""
    verb = verbs.add_parser(
        "completion",
        help="print a script that makes the shell complete sagan's words",
        description='bash: eval "$(sagan completion bash)" in ~/.bashrc. '
        "zsh: sagan completion zsh > DIR/_sagan, in a DIR of $fpath.",
    )
    verb.add_argument("shell", choices=("bash", "zsh"))
    verb.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    import shtab

    from sagan import cli
    from sagan.config import Config, as_json, presets

    parser = cli.build_parser()
    for action in _actions(parser):
        if action.dest == "words":
            action.complete = {"bash": _CONFIG, "zsh": _CONFIG}
        elif action.type is Path:
            action.complete = shtab.FILE
    fields = " ".join(f"{key}=" for key, _ in as_json.leaves(Config()))
    words = f"{' '.join(presets.preset_names())} {fields}"
    preamble: Any = {
        "bash": f'{_CONFIG}() {{ compgen -f -W "{words}" -- "$1"; }}',
        "zsh": f"{_CONFIG}() {{ compadd -S '' -- {words}; _files; }}",
    }
    print(shtab.complete(parser, shell=args.shell, preamble=preamble))
    return DONE


def _actions(parser: argparse.ArgumentParser) -> list[Any]:
    """Returns the arguments of all verbs."""
    found: list[Any] = []
    for action in parser._actions:
        found.append(action)
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                found += _actions(inner)
    return found
