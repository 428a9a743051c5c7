"""Meshes of devices, the sharding of arrays, and how heads are divided."""
