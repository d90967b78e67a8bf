"""The arguments of `sagan bench`; its work is in `sagan/bench/`."""

import argparse
import signal
from pathlib import Path
from typing import Any

from sagan.config import ConfigError
from sagan.config.fields import require

_PARTS = ("checkpoint", "train", "players", "input", "sampling", "features", "guard", "start")
_USUAL = ("checkpoint", "train", "players", "input", "sampling")
_COMPARABLE = ("train", "sampling", "features")  # parts that are one rate


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the verb; `args.run(args)` returns the exit status."""
    verb = subparsers.add_parser(
        "bench",
        help="how fast this machine trains, samples, reads, saves",
        description="Without a mode: time the parts of training. --json prints one object.",
    )
    verb.add_argument("words", nargs="*", metavar="[CONFIG …] section.field=value")
    modes = verb.add_mutually_exclusive_group()
    modes.add_argument("--attention", action="store_true", help="forms of attention, 16 to 128 px")
    modes.add_argument(
        "--sweep", metavar="FIELD=A,B,C", help="the step's cost over values: train.batch_size=32,64"
    )
    modes.add_argument(
        "--beside",
        action="append",
        metavar="COMMAND",
        help="training, or the one part of --parts, by turns with a command that prints JSON with "
        "images_per_second; may be repeated",
    )
    modes.add_argument(
        "--against-cpu", action="store_true", help="the same step's numbers here and on the CPU"
    )
    modes.add_argument(
        "--against-float32",
        type=Path,
        metavar="DIR",
        help="train in float32 and bfloat16 with three seeds; do the scores differ? Resumes",
    )
    verb.add_argument(
        "--parts", type=_parts, default=_USUAL, metavar="A,B", help=f"of {', '.join(_PARTS)}"
    )
    verb.add_argument(
        "--weights", type=Path, metavar="FILE", help="of the network that --against-float32 uses"
    )
    verb.add_argument("--features", action="store_true", help="the Inception network too")
    verb.add_argument("--start", action="store_true", help="time to the first step, twice, too")
    verb.add_argument("--trace", type=Path, metavar="DIR", help="profile a few steps into DIR")
    verb.add_argument("--repeats", type=int, default=5, metavar="N", help="of each (default 5)")
    verb.add_argument("--rounds", type=int, default=3, metavar="N", help="of --beside (default 3)")
    verb.add_argument("--batch-size", type=int, default=1, metavar="N", help="of --attention")
    verb.add_argument("--out", type=Path, metavar="FILE.png", help="a plot of what was measured")
    verb.add_argument("--json", action="store_true", help="print JSON on stdout, nothing else")
    verb.set_defaults(run=_bench)


def _parts(text: str) -> tuple[str, ...]:
    chosen = tuple(part.strip() for part in text.split(","))
    unknown = [part for part in chosen if part not in _PARTS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r}; allowed: {', '.join(_PARTS)}")
    return chosen


def _bench(args: argparse.Namespace) -> int:
    for name in ("repeats", "rounds", "batch_size"):
        value = getattr(args, name)
        require(value >= 1, f"--{name.replace('_', '-')} {value}; allowed: >= 1")
    names = [word for word in args.words if "=" not in word] or ["digits"]
    overrides = [word for word in args.words if "=" in word]
    from sagan.config import presets

    configs = [presets.load(name, overrides) for name in names]
    moded = args.attention or args.sweep or args.beside or args.against_cpu or args.against_float32
    require(len(names) == 1 or not moded, "only one config with --sweep, --beside, --against-…")
    require(not (args.trace and moded), "--trace goes with no other mode")
    if args.weights and not args.against_float32:
        raise ConfigError("--weights goes with --against-float32")
    from sagan.bench import programs, report

    report.check_picture(args.out)
    signal.signal(signal.SIGTERM, programs.end_all)
    words = [names[0], *overrides]
    if args.attention:
        return _attention(args, configs[0])
    if args.sweep:
        return _sweep(args, configs[0])
    if args.beside:
        return _beside(args, words)
    if args.against_cpu:
        from sagan.bench import agree

        result = agree.against_cpu(words)
        report.show([result], as_json=args.json)
        return 0 if result["agree"] else 1
    if args.against_float32:
        return _gate(args, words)
    return _measure(args, configs, names, overrides)


def _attention(args: argparse.Namespace, config: Any) -> int:
    from sagan.bench import attention, report

    result = attention.measure(
        batch_size=args.batch_size, dtype=config.model.dtype, repeats=args.repeats
    )
    report.show([result], as_json=args.json)
    if args.out:
        attention.draw(result, args.out)
    return 0


def _sweep(args: argparse.Namespace, config: Any) -> int:
    from sagan.bench import report, sweep

    sweep.configs(config, args.sweep)  # what was typed is checked before anything is compiled
    result = sweep.run(config, args.sweep, args.repeats)
    report.show([result], as_json=args.json)
    if args.out:
        sweep.draw(result, args.out)
    return 0


def _beside(args: argparse.Namespace, words: list[str]) -> int:
    from sagan.bench import beside, report

    parts = ("train",) if args.parts == _USUAL else args.parts
    require(
        len(parts) == 1 and parts[0] in _COMPARABLE,
        f"--parts {','.join(parts)}; allowed with --beside: one of {', '.join(_COMPARABLE)}",
    )
    result = beside.run(words, args.beside, parts[0], rounds=args.rounds, repeats=args.repeats)
    report.show([result], as_json=args.json)
    if args.out:
        rates = {"sagan": result[parts[0]][beside.RATE]}
        rates |= {row["command"]: row[beside.RATE] for row in result["beside"]}
        report.bars(args.out, rates, "images per second")
    return 0


def _gate(args: argparse.Namespace, words: list[str]) -> int:
    from sagan.bench import gate, report

    require(args.out is None, "--out: --against-float32 draws nothing")
    try:
        result = gate.run(words, args.against_float32, weights=args.weights)
    except gate.Stopped as error:
        return error.status
    report.show([result], as_json=args.json)
    return 0 if result["within_noise"] else 1


def _measure(args: argparse.Namespace, configs: list[Any], names: list[str], overrides: Any) -> int:
    parts = set(args.parts) | {name for name in ("features", "start") if getattr(args, name)}
    require(not args.trace or "train" in parts, "--trace needs the part train")
    require(args.out is None or len(configs) == 1, "--out goes with one config")
    from sagan.bench import measure, report, start

    # Before this process takes the devices, which may serve one process only.
    starts = [start.measure([name, *overrides]) if "start" in parts else None for name in names]
    results = []
    for config, started in zip(configs, starts, strict=True):
        result = measure.measure(config, repeats=args.repeats, parts=tuple(parts), trace=args.trace)
        results.append(result | ({"start": started} if started else {}))
    report.show(results, as_json=args.json)
    if args.out:
        rates = {name: value for name, value in _rates(results[0])}
        if not rates:
            raise ConfigError("--out: these parts give no images per second")
        report.bars(args.out, rates, "images per second")
    return 0


def _rates(result: Any, name: str = "") -> Any:
    """Lists every images_per_second in a result, by where it is."""
    for key, value in result.items():
        if key == "images_per_second" and "feed" not in result:
            yield name, value
        elif isinstance(value, dict):
            yield from _rates(value, f"{name} {key}".strip())
