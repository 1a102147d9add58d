"""Run-time episodes of many devices at once: boards, budgets and links as the runtime meets them, to teach policies."""
