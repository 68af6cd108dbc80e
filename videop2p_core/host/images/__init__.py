"""Pictures, videos and figures that the nodes show."""
