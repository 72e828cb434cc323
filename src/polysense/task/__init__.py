"""The shelf of tasks: targets, head, loss, answer, scores. See ``polysense list tasks``."""
