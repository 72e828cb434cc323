"""The shelf of fusions: tokens of all views -> tokens of the record. See ``polysense list fusions``."""
