"""Files: what is saved, the layouts of others, and writing that never leaves half a file."""
