"""A stand-in for comfy-aimdo over the pretend CUDA device: dynamic VRAM of ComfyUI without a GPU.

Weights have a place of their own in device memory, given when they are first asked for ("fault") and taken back when
memory is asked for, by other weights or by torch's tensors, as the real one does by pages. Where there is no room a
fault is refused and the host streams the weight for this call alone. PRETEND_AIMDO_ROOM: bytes that all weights
together may hold, unlimited by default.
"""
