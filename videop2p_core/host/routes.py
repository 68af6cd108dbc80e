"""All that the browser asks of the pack."""

from .cost import cost_route
from .prompts import difference_route


def add_routes() -> None:
    """Let the host's server answer, where there is one."""
    difference_route.add_routes()
    cost_route.add_routes()
