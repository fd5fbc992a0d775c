"""Activations: what enters the tail, computed once for each clip and stored."""
