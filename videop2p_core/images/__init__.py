"""Figures and pictures of clips."""
