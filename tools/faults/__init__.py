"""What goes wrong while the pack works, on purpose: `python dev.py faults`."""

from ..pack import use_host

use_host()
