"""The command ``bench``: what losses cost on this machine."""

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to a parser."""
    parser.description = (
        "Time, forward and backward, and memory of cross-entropy, KD, DIST, DKD and PLD: as "
        "published, as in pld_edu.losses, as in pld_edu.fast. A few minutes for all shapes."
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default: cpu")
    parser.add_argument(
        "--shapes",
        nargs="+",
        type=shape,
        metavar="ROWSxCLASSES",
        help="default: 128x10 128x100 512x100 256x1000 1024x1000 64x21841 16x128256",
    )
    parser.add_argument("--rounds", type=int, default=9, help="medians are over so many (9)")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch on the CPU (1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows as JSON")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw times and memory")


def shape(text: str) -> tuple[int, int]:
    """``128x100`` as (128, 100)."""
    rows, _, classes = text.partition("x")
    if not (rows.isdecimal() and classes.isdecimal() and int(rows) > 0 and int(classes) > 1):
        raise argparse.ArgumentTypeError(
            f"a shape is ROWSxCLASSES, at least 1x2, like 128x100; got {text!r}"
        )
    return int(rows), int(classes)


def run(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Carry the command out.

    Returns
    -------
    int
        The exit status: 0, 2 for what cannot be run here, 130 if interrupted.
    """
    from .benchmark import SHAPES
    from .benchmark import run as measure
    from .figure import costs
    from .report import report, to_json

    for path in (options.json, options.figure):
        if path and not path.parent.is_dir():
            parser.error(f"there is no folder {path.parent} for {path.name}; make it first")
    try:
        result = measure(
            options.shapes or SHAPES,
            rounds=options.rounds,
            device=options.device,
            threads=options.threads,
        )
    except ValueError as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        print("\nInterrupted: nothing was written.", file=sys.stderr)
        return 130
    print(report(result))
    if options.json:
        options.json.write_text(to_json(result), encoding="utf-8")
    if options.figure:
        costs(result["rows"]).savefig(options.figure)
    return 0
