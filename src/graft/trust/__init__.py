"""Whether the result can be believed: the guard and the audit."""
