"""The pack's own logger, whose level can be set apart from ComfyUI's."""

import logging

LOG = logging.getLogger("videop2p")
