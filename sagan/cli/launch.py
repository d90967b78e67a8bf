"""`sagan launch TARGET`: the targets add their arguments themselves, in `sagan/launch/`."""

import argparse
import os

from sagan.config import Config, ConfigError
from sagan.launch import cost, planning, show


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the verb `launch` with its targets; `args.run(args)` returns the exit status."""
    verb = subparsers.add_parser(
        "launch",
        help="start a training on this machine, a cluster or a cloud",
        description="Start a training. The same run id is the same work directory, so launching "
        "again resumes. docs/launching.md shows each target from the beginning.",
    )
    targets = verb.add_subparsers(dest="target", metavar="TARGET", required=True)
    for name in planning.TARGETS:
        target = planning.target(name)
        parser = targets.add_parser(name, help=target.HELP, description=target.HELP)
        planning.add_common_arguments(parser)
        target.add_arguments(parser)
        parser.set_defaults(run=_launch)


def _launch(args: argparse.Namespace) -> int:
    """Starts the training, or prints how with `--dry-run`.

    Returns:
      The training's exit code where the target waits for it (`local`, `tpu-vm`), otherwise that of
      the submission.
    """
    plan = planning.plan_for(args)
    if not args.dry_run:
        return plan.start(plan)
    print(show(plan), end="", flush=True)
    if plan.machine:
        print(_prediction(planning.launch_for(args).resolved, plan.machine))
    return 0


def _prediction(config: Config, machine: str) -> str:
    """Returns, as a comment, how long one step of the training is predicted to take."""
    # Nothing runs on this machine. If it has an accelerator, it stays free.
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    from sagan.bench import traced

    try:
        (row,) = traced.predictions(config, [cost.machine(machine)])
    except ConfigError as error:
        return f"\n# no prediction for {machine}: {error}"
    found = ", ".join(f"{name} {value}" for name, value in row.items() if name != "machine")
    return (
        f"\n# predicted for {machine}, not measured: {found}\n"
        f"# to compile the step for it here: sagan bench --compile-for {machine} …"
    )
