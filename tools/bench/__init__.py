"""What the method costs: `python dev.py bench`.

Every module of the bench is imported through here, in whichever process it measures.
"""

from ..pack import use_host

use_host()

from comfy.cli_args import args  # noqa: E402

# Read when the host's other modules are imported: on a CPU fused attention is not its own choice.
args.use_pytorch_cross_attention = True
