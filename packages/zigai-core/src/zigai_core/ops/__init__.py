"""Operations with their numpy definitions, the graph builder, common blocks, RoPE, and the numpy backend."""
