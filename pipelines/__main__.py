"""`hubbub` and `python -m pipelines`: the same program."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line. A user's mistake is one line on standard error and exit code 2."""
    from pipelines import cli

    sys.exit(cli.run(sys.argv[1:]))


if __name__ == "__main__":
    main()
