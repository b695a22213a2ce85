"""``python -m graft`` is ``graft``, also where the folder of scripts is not on the path."""

import sys

from graft.cli import main

if __name__ == "__main__":
    sys.exit(main())
