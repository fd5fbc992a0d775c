"""Backbones: frozen networks that see frames, cut into a trunk and a tail, and the files that they are read from."""
