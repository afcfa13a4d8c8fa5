"""``python -m millstream.worker``: one worker process; its order comes on standard input. Nodes start it."""

import sys

from millstream.worker._process import main

if __name__ == "__main__":
    sys.exit(main())
