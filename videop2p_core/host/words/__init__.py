"""What words do outside of an edit: weights inside the text attention of a model, masks of where they look."""
