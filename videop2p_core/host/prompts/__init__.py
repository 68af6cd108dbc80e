"""Prompts as CLIP reads them, in a graph and while they are typed."""
