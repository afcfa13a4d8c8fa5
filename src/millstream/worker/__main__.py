"""``python -m millstream.worker``: one worker process; its order comes on standard input. Nodes start it."""

import gc
import sys

gc.disable()  # what is imported stays: a seventh of the start went into looking for garbage in it

from millstream.worker._process import main  # noqa: E402

gc.freeze()
gc.enable()

if __name__ == "__main__":
    sys.exit(main())
