"""`python -m armchair` is `armchair`."""

import sys

from armchair.cli import main

if __name__ == "__main__":
    sys.exit(main())
