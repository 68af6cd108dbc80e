"""The paper's comparisons (arXiv 2303.04761, section 4) on the demo world, whose ground truth is exact."""
