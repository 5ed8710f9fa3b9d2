"""Where two runs over one input disagree, and what each of them cost."""
