"""Mechanisms that keep a state of fixed size and meet the text token by token."""
