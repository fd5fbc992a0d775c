"""Where it changes: the prototype of what is seen at the places that move."""

from __future__ import annotations

from kshot.heads.prototype import Prototype


class Where(Prototype):
    """The prototype head on frames that are pooled with weights by how much each place changes in the clip.

    Such embeddings are made by `kshot.backbones.backbone.Backbone.encode_from` with `changing`; the formula of the
    weights is `kshot.backbones.places.weights`. Temporal differences show where something moves (Wang et al., TSN, ECCV
    2016, arXiv 1608.00859; TDN, CVPR 2021, arXiv 2012.10071); ours is the pooled form, and nothing learns. A prepared
    clip is (1, D).

    Args:
        scale: factor on the cosine, -1..1, before a softmax.
    """

    by_change = True
    least_frames = 2
