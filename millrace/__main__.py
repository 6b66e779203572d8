"""``python -m millrace``, and the console script."""

import os
import sys

from millrace.cli.main import run


def main() -> None:
    """Run the command line of this process and exit with its code."""
    sys.exit(run(sys.argv[1:], os.environ))


if __name__ == "__main__":
    main()
