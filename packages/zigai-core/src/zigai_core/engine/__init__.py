"""Runs a program: the paged cache, sessions, sampling, draft tokens and the generation loop."""
