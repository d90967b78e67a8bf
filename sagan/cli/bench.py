"""`sagan bench`: its arguments, and which of them go together. The work is in `sagan/bench/`."""

import argparse
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sagan.config import ConfigError
from sagan.config.arguments import positive
from sagan.config.fields import require

_PARTS = ("checkpoint", "train", "players", "input", "sampling", "features", "guard", "start")
_USUAL = ("checkpoint", "train", "players", "input", "sampling")
_COMPARABLE = ("train", "sampling", "features")  # parts with a single rate
# The options of each mode; None is without a mode.
_OPTIONS: dict[str | None, tuple[str, ...]] = {
    None: ("parts", "features", "start", "trace", "repeats", "out", "json"),
    "attention": ("batch_size", "repeats", "out", "json"),
    "sweep": ("repeats", "out", "json"),
    "rows": ("repeats", "json"),
    "compile_for": ("json",),
    "pods": ("json",),
    "beside": ("parts", "rounds", "repeats", "out", "json"),
    "against_cpu": ("json",),
    "against_float32": ("weights", "json"),
    "suite": ("stages", "limit", "dry_run"),
}


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the verb; `args.run(args)` returns the exit status."""
    verb = subparsers.add_parser(
        "bench",
        help="measure how fast this machine trains, samples, reads, saves",
        description="Without a mode: time the parts of training. --json prints one object.",
    )
    verb.add_argument("words", nargs="*", metavar="[CONFIG …] section.field=value")
    modes = verb.add_mutually_exclusive_group()
    modes.add_argument("--attention", action="store_true", help="time attention at 16 to 128 px")
    modes.add_argument(
        "--sweep", metavar="FIELD=A,B,C", help="time the training step for values of a field"
    )
    modes.add_argument(
        "--rows",
        action="store_true",
        help="time the training step with each loss, penalty, regulariser, augmentation and "
        "conditioning of GANs",
    )
    modes.add_argument(
        "--compile-for",
        metavar="MACHINE",
        help="compile the training step for chips that are not here, such as v5e:4x4 or h100:8: "
        "memory, collectives, and a prediction",
    )
    modes.add_argument(
        "--pods", action="store_true", help="predict the training step on TPU slices and GPU nodes"
    )
    modes.add_argument(
        "--beside",
        action="append",
        metavar="COMMAND",
        help="time training (or the one part in --parts) in turns with a command that prints JSON "
        "with images_per_second; may be repeated",
    )
    modes.add_argument(
        "--against-cpu", action="store_true", help="compare the numbers of a step with the CPU's"
    )
    modes.add_argument(
        "--against-float32",
        type=Path,
        metavar="DIR",
        help="train in float32 and bfloat16 with three seeds and compare scores; resumes",
    )
    modes.add_argument(
        "--suite",
        type=Path,
        metavar="DIR",
        help="run all of these on one GPU, train and score, and write a page into DIR; resumes. "
        "Settings are suite.NAME=VALUE: see sagan/bench/stages.py",
    )
    add = verb.add_argument
    add("--parts", type=_parts, metavar="A,B", help=f"what to time: {', '.join(_PARTS)}")
    add("--features", action="store_true", help="also time the Inception network")
    add("--start", action="store_true", help="also time two starts until the first step")
    add("--trace", type=Path, metavar="DIR", help="profile a few steps into DIR")
    add("--repeats", type=positive, metavar="N", help="repeats of each timing (default 5)")
    add("--out", type=Path, metavar="FILE.png", help="plot what was measured")
    add("--json", action="store_true", help="print JSON on stdout, nothing else")
    add("--batch-size", type=positive, metavar="N", help="batch of --attention (default 1)")
    add("--rounds", type=positive, metavar="N", help="turns of --beside (default 3)")
    add("--weights", type=Path, metavar="FILE", help="scoring network of --against-float32")
    add("--stages", metavar="A,B", help="stages of --suite (default: all)")
    add("--limit", type=positive, metavar="S", help="most seconds of --suite (default: a day)")
    add("--dry-run", action="store_true", help="only print the commands of --suite")
    verb.set_defaults(run=_bench)


def _parts(text: str) -> tuple[str, ...]:
    chosen = tuple(part.strip() for part in text.split(","))
    unknown = [part for part in chosen if part not in _PARTS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r}; allowed: {', '.join(_PARTS)}")
    return chosen


def _bench(args: argparse.Namespace) -> int:
    mode = next((name for name in _OPTIONS if name and getattr(args, name)), None)
    _refuse_others(args, mode)
    if mode == "suite":
        return _suite(args)
    names = [word for word in args.words if "=" not in word] or ["digits"]
    overrides = [word for word in args.words if "=" in word]
    require(len(names) == 1 or mode is None, f"{' '.join(names)}; {_flag(mode)} takes one config")
    from sagan.bench import children, report
    from sagan.config import presets

    configs = [presets.load(name, overrides) for name in names]
    report.check_picture(args.out)
    signal.signal(signal.SIGTERM, children.end_all)
    args.repeats = args.repeats or 5
    if mode is None:
        return _measure(args, configs, names, overrides)
    measured = {
        "attention": _attention,
        "sweep": _sweep,
        "rows": _rows,
        "compile_for": _compile_for,
        "pods": _pods,
    }
    if mode in measured:
        return measured[mode](args, configs[0])
    words = [names[0], *overrides]
    if mode == "beside":
        return _beside(args, words)
    return (_against_cpu if mode == "against_cpu" else _against_float32)(args, words)


def _refuse_others(args: argparse.Namespace, mode: str | None) -> None:
    """Raises: ConfigError if an option was given that the mode would ignore."""
    allowed = _OPTIONS[mode]
    for name in {name for names in _OPTIONS.values() for name in names} - set(allowed):
        if getattr(args, name):
            raise ConfigError(
                f"{_flag(name)} has no effect {'with ' if mode else 'without '}"
                f"{_flag(mode) if mode else 'a mode that uses it'}; allowed here: "
                + ", ".join(map(_flag, allowed))
            )


def _flag(name: str | None) -> str:
    return f"--{name.replace('_', '-')}" if name else ""


def _attention(args: argparse.Namespace, config: Any) -> int:
    from sagan.bench import attention, report

    result = attention.measure(
        batch_size=args.batch_size or 1, dtype=config.model.dtype, repeats=args.repeats
    )
    report.show([result], as_json=args.json)
    if args.out:
        attention.draw(result, args.out)
    return 0


def _sweep(args: argparse.Namespace, config: Any) -> int:
    from sagan.bench import report, sweep

    result = sweep.run(config, args.sweep, args.repeats)
    report.show([result], as_json=args.json)
    if args.out:
        sweep.draw(result, args.out)
    return 0


def _rows(args: argparse.Namespace, config: Any) -> int:
    from sagan.bench import report, rows

    report.show([rows.run(config, args.repeats)], as_json=args.json)
    return 0


def _compile_for(args: argparse.Namespace, config: Any) -> int:
    # A TPU that is here is not needed, and may be in use.
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    from sagan.bench import absent, report

    try:
        found = absent.compile_for(args.compile_for, config)
    except absent.DoesNotFit as error:
        print(f"sagan: {config.name} does not fit on {args.compile_for}: {error}", file=sys.stderr)
        return 1
    report.show([found], as_json=args.json)
    return 0


def _pods(args: argparse.Namespace, config: Any) -> int:
    from sagan.bench import report, traced
    from sagan.launch import cost

    rows = traced.predictions(config, [cost.machine(name) for name in cost.SHOWN])
    report.show([{"config": config.name, "rows": rows}], as_json=args.json)
    return 0


def _beside(args: argparse.Namespace, words: list[str]) -> int:
    from sagan.bench import beside, report

    part, *more = args.parts or ("train",)
    require(
        not more and part in _COMPARABLE,
        f"--parts {','.join([part, *more])}; allowed here: one of {', '.join(_COMPARABLE)}",
    )
    rounds = args.rounds or 3
    result = beside.run(words, args.beside, part, rounds=rounds, repeats=args.repeats)
    report.show([result], as_json=args.json)
    if args.out:
        rates = {"sagan": result[part][beside.RATE]}
        rates |= {row["command"]: row[beside.RATE] for row in result["beside"]}
        report.bars(args.out, rates, "images per second")
    return 0


def _against_cpu(args: argparse.Namespace, words: list[str]) -> int:
    from sagan.bench import against_cpu, report

    result = against_cpu.against_cpu(words)
    report.show([result], as_json=args.json)
    return 0 if result["agree"] else 1


def _against_float32(args: argparse.Namespace, words: list[str]) -> int:
    from sagan.bench import precision, report

    try:
        result = precision.run(words, args.against_float32, weights=args.weights)
    except precision.Stopped as error:
        return error.status
    report.show([result], as_json=args.json)
    return 0 if result["within_noise"] else 1


def _suite(args: argparse.Namespace) -> int:
    from sagan.bench import stages, suite

    chosen = args.stages.split(",") if args.stages else stages.STAGES
    unknown = [name for name in chosen if name not in stages.STAGES]
    require(not unknown, f"--stages {','.join(unknown)}; allowed: {', '.join(stages.STAGES)}")
    settings, overrides = stages.read_settings(args.words)
    limit = args.limit or suite.LIMIT_SECONDS
    return suite.run(
        args.suite, settings, overrides, stages=chosen, limit_seconds=limit, dry_run=args.dry_run
    )


def _measure(
    args: argparse.Namespace, configs: Sequence[Any], names: Sequence[str], overrides: Sequence[str]
) -> int:
    parts = set(args.parts or _USUAL)
    parts |= {name for name in ("features", "start") if getattr(args, name)}
    require(not args.trace or "train" in parts, "--trace needs train among --parts")
    require(not args.out or len(configs) == 1, f"--out takes one config; got {' '.join(names)}")
    from sagan.bench import measure, report, start

    # Starts are timed before this process takes the devices, which may serve one process only.
    starts = [start.measure([name, *overrides]) if "start" in parts else None for name in names]
    results = []
    for config, started in zip(configs, starts, strict=True):
        result = measure.measure(config, repeats=args.repeats, parts=tuple(parts), trace=args.trace)
        results.append(result | ({"start": started} if started else {}))
    report.show(results, as_json=args.json)
    if args.out:
        rates = dict(_rates(results[0]))
        require(bool(rates), "--out: these parts have no images per second to draw")
        report.bars(args.out, rates, "images per second")
    return 0


def _rates(result: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Yields every images_per_second in a result, with the names of the parts around it."""
    for key, value in result.items():
        if key == "images_per_second" and "feed" not in result:
            yield name, value
        elif isinstance(value, dict):
            yield from _rates(value, f"{name} {key}".strip())
