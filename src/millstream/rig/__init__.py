"""What the demo and `millstream torture` share: a whole plant on one machine, as child processes."""

from millstream.rig._files import new_secret, write_document, write_private
from millstream.rig._processes import STOP_TIMEOUT_S, Child
from millstream.rig._progress import Progress, percentile

__all__ = [
    "Child",
    "Progress",
    "STOP_TIMEOUT_S",
    "new_secret",
    "percentile",
    "write_document",
    "write_private",
]
