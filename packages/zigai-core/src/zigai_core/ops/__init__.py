"""Operations with their numpy definitions, the graph builder, decoder blocks, RoPE and the numpy backend."""
