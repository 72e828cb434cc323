"""Learning: the loop, frozen features, the rivals that every fusion is held against."""
