"""Inspection of trained models: what their attention computes."""
