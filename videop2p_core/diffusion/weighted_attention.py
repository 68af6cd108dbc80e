"""Attention in which some keys count more than others, on any kernel and without a map.

With weights w the softmax of the logits l + log w is A (w V) / A w, A the plain map: both are attentions of the same
queries and keys. A weight multiplies what a token is looked at, and every row still sums to 1, unlike the published
re-weighting (arXiv 2208.01626, section 3.3).
"""

from collections.abc import Callable

from torch import Tensor


def weighted_attention(attend: Callable[[Tensor], Tensor], v: Tensor, weights: Tensor) -> Tensor:
    """softmax(l + log w) V, from two calls of attend(values) = softmax(l) values.

    v [..., keys, channels], weights [keys], 0 or more and not all 0 -> as `attend` has it. The weights are divided by
    their largest, which changes nothing and keeps values within half precision.
    """
    share = (weights / weights.max()).to(v)[:, None]
    return attend(share * v) / attend(share.expand(v.shape).contiguous())
