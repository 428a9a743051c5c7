"""Run folders as typed data: written and read here."""
