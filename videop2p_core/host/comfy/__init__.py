"""What ComfyUI hands over and takes back: conditionings, latents, noise predictions, weights, progress."""
