"""What a step costs, beside what its users could pick instead: `python -m benchmarks.step`, `make bench`."""
