"""Between text and tokens: text streams, reasoning, chat templates, control tokens in user text."""
