"""Runs requests on a program: scheduling, paged state, prefixes, sampling, draft tokens and streams."""
