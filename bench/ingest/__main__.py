"""`python -m bench.ingest`."""

import sys

from bench.ingest import main

sys.exit(main(sys.argv[1:]))
