from comfyui_videop2p.tools.pack import use_host

use_host()
