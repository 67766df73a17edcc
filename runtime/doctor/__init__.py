"""What is installed here, what of it works, and what to type for the rest: `kd-deploy doctor`."""
