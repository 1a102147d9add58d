"""The ten stages, what each demands, and the course that leads through them."""
