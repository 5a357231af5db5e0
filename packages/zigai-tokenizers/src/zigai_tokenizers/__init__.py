"""Tokenizers for ZigAI, built from a `TokenizerSpec`. Only the kind that a model needs is imported."""
