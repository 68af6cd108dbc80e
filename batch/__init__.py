"""A season of clips: a table of edits in, a folder of edited clips out, through real ComfyUI processes."""
