"""Tokenizers for ZigAI, made from a `TokenizerSpec`; only the kind that a model asks for is imported."""
