"""Benchmarks of cyevent beside its peers, run from a checkout: `python -m perf.chain` and
`python -m perf.timers`. README.md says what each measures and what it needs."""
