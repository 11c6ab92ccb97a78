"""``python -m pld_edu.check``: the command on its own."""

import argparse
import sys

from .command import add_arguments, run

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="pld-edu check")
    add_arguments(parser)
    sys.exit(run(parser.parse_args()))
