"""From float graphs to int8 ones: ranges, what each part loses, what is done about it, and other kernels."""
