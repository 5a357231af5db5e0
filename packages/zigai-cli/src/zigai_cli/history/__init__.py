"""Stored conversations: one SQLite file, searched, exported, and kept up to date by a chat."""
