"""ComfyUI's folders, and what is saved to and loaded from them."""
