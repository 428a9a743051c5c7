"""Mechanisms that score a part of the keys."""
