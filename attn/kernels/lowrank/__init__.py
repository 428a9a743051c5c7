"""Mechanisms that never form the T × S map."""
