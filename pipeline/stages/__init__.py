"""The stages of the Ray Data pipeline and what they hold."""
