"""Meshes of devices, how arrays lie on them, and how heads are divided among them."""
