"""What the pack relies on of ComfyUI, looked up when it is loaded."""
