"""``python -m loadtune``, where the command is not on the path."""

import sys

from loadtune.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
