"""How the benchmarks and profiles of ``tools/analysis`` take times and memory."""
