"""A text to measure with."""

PASSAGE = """\
The harbour of the old town lies open to the west. In the morning the boats come back with their catch, and
the market opens before the sun has dried the stones. A fisherman counts baskets: 48 of herring, 17 of cod.
"The wind will turn," says the woman who mends the nets, "so bring them in before noon." Behind the church a
teacher writes on the blackboard: if 3 boats carry 24 baskets each, how many baskets do they carry together?
One child answers at once, 72, and looks out of the window again.

def total(boats: int, baskets: int) -> int:
    return boats * baskets
"""
"""A passage of prose, figures and code, for comparisons without a text of the user's."""
