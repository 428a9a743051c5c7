"""Mechanisms that keep a state of fixed size and meet the sequence token by token."""
