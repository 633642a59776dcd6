"""The imperative line: when to look, one look, and a person's word."""
