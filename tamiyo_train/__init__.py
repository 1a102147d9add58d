"""The training side: hosts with slots, blueprints, the seed life cycle, the governor and the policy. Needs torch."""
