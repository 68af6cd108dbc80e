"""What the pack relies on of ComfyUI, read from its own code; `python dev.py seam` writes it down."""
