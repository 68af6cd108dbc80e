"""The binding of the method to ComfyUI: the only part of the core that imports it."""
