"""The shipped workflows: written as Python once, kept as the two JSON forms that ComfyUI reads."""
