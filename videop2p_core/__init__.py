"""The method of Video-P2P (arXiv 2303.04761), with torch alone."""
