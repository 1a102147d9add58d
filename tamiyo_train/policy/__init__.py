"""Who decides: actions and their masks, heuristics, the policy network and how it is taught."""
